"""Prometheus metrics of the controller: MetalLB's names where they apply, and our own.

In:  verbs called where something happens; `pools` is asked at scrape time.
Out: a registry; web.py serves it. Catalogue: docs/metrics.md.
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class PoolUse(Struct, frozen=True):
    """How much of a pool is used; counts are exact, whatever the family (no 64-bit overflow)."""

    pool: str
    assigned_ipv4: int = 0
    assigned_ipv6: int = 0
    capacity_ipv4: int = 0
    capacity_ipv6: int = 0
    available_ipv4: int = 0  # for anybody: neither assigned nor reserved nor cooling
    available_ipv6: int = 0
    reserved: int = 0  # by AddressReservations, and nobody holds them
    cooling: int = 0  # given up, and not given to others yet


class _Pools(Collector):
    """metallb_allocator_*: read when scraped, so that a deleted pool's series end by themselves."""

    def __init__(self, pools: Callable[[], Iterable[PoolUse]]) -> None:
        self._pools = pools

    def collect(self) -> Iterator[GaugeMetricFamily]:
        def family(name: str, text: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"metallb_allocator_{name}", text, labels=["pool"])

        in_use = family("addresses_in_use_total", "Addresses in use, per pool")
        total = family("addresses_total", "Usable addresses, per pool")
        in_use_v4 = family("ipv4_addresses_in_use_total", "IPv4 addresses in use, per pool")
        total_v4 = family("ipv4_addresses_total", "Usable IPv4 addresses, per pool")
        in_use_v6 = family("ipv6_addresses_in_use_total", "IPv6 addresses in use, per pool")
        total_v6 = family("ipv6_addresses_total", "Usable IPv6 addresses, per pool")
        reserved = GaugeMetricFamily(
            "metalbgp_pool_reserved_addresses", "Reserved addresses that nobody holds", labels=["pool"]
        )
        cooling = GaugeMetricFamily(
            "metalbgp_pool_cooling_addresses", "Addresses given up and not given again yet", labels=["pool"]
        )
        for use in self._pools():
            in_use.add_metric([use.pool], use.assigned_ipv4 + use.assigned_ipv6)
            total.add_metric([use.pool], use.capacity_ipv4 + use.capacity_ipv6)
            in_use_v4.add_metric([use.pool], use.assigned_ipv4)
            total_v4.add_metric([use.pool], use.capacity_ipv4)
            in_use_v6.add_metric([use.pool], use.assigned_ipv6)
            total_v6.add_metric([use.pool], use.capacity_ipv6)
            reserved.add_metric([use.pool], use.reserved)
            cooling.add_metric([use.pool], use.cooling)
        yield from (in_use, total, in_use_v4, total_v4, in_use_v6, total_v6, reserved, cooling)


class ControllerMetrics:
    def __init__(self, pools: Callable[[], Iterable[PoolUse]]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Pools(pools))
        self.updates = Counter(
            "metallb_k8s_client_updates", "Kubernetes events handled", registry=self.registry
        )
        self.update_errors = Counter(
            "metallb_k8s_client_update_errors",
            "Kubernetes events whose handling failed",
            registry=self.registry,
        )
        self.config_loaded = Gauge(
            "metallb_k8s_client_config_loaded_bool",
            "1 once a configuration was compiled",
            registry=self.registry,
        )
        self.config_stale = Gauge(
            "metallb_k8s_client_config_stale_bool",
            "1 while an object is invalid and its last good version is in force",
            registry=self.registry,
        )
        self.leading = Gauge("metalbgp_leading", "1 on the replica that leads", registry=self.registry)
        self.queue = Gauge(
            "metalbgp_queue_depth", "Services that wait or are worked on", registry=self.registry
        )
        self.writes = Counter(
            "metalbgp_writes", "Writes to the API server", ["kind", "outcome"], registry=self.registry
        )
        self.contested = Counter(
            "metalbgp_statuses_contested",
            "Services whose status another controller keeps replacing, when that was noticed",
            registry=self.registry,
        )
        self.admission = Counter(
            "metalbgp_admission_answers",
            "Objects that the webhook judged: allowed, refused, or failed to judge",
            ["kind", "answer"],
            registry=self.registry,
        )
        self.to_address = Histogram(
            "metalbgp_service_to_address_seconds",
            "From the first sight of a Service to its address in the status",
            buckets=SECONDS,
            registry=self.registry,
        )
