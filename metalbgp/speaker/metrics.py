"""Prometheus metrics of the speaker: MetalLB's names where they apply, and our own.

In:  a Snapshot, asked for at scrape time, so that series end when what they speak of ends.
Out: a registry; web.py serves it. Catalogue: docs/metrics.md.
"""

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from metalbgp.model.orders import ACTIONS
from metalbgp.model.report import SessionReport

SECONDS = (0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Answered(Struct, frozen=True):
    """What the reflex counted for one address."""

    requests: int = 0
    replies: int = 0
    gratuitous: int = 0


class Snapshot(Struct, frozen=True):
    """What the collectors read."""

    node: str
    announced: tuple[tuple[str, str, str], ...] = ()  # (service, protocol, ip)
    sessions: tuple[SessionReport, ...] = ()
    updates: Mapping[str, int] = {}  # by ip:port
    answered: Mapping[str, Answered] = {}  # by ip
    realtime: bool = False
    l2_state: str = ""  # of this node: active, listening, no-key, …
    l2_candidate_for: int = 0
    l2_owned: int = 0
    l2_members: Mapping[str, str] = {}  # the other candidates, and what they are
    orders: Mapping[str, int] = {}  # in force here, by action
    view_age: float = 0.0  # seconds since the last sign of life of the API server
    unserved: int = 0  # Services whose last Pod here ended, by address
    own_pods: int = 0
    from_snapshot: bool = False
    snapshot_refused: str = ""  # reason
    snapshot_unwritten: bool = False


class _Speaker(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        now = self._snapshot()
        yield self._announced(now)
        yield from self._sessions(now)
        yield from self._layer2(now)
        yield from self._members(now)
        orders = GaugeMetricFamily(
            "metalbgp_orders", "SpeakerOrders in force on this node", labels=["action"]
        )
        for action in ACTIONS:
            orders.add_metric([action], now.orders.get(action, 0))
        yield orders
        yield GaugeMetricFamily(
            "metalbgp_realtime", "1 if the reflex has a realtime class", value=float(now.realtime)
        )
        yield GaugeMetricFamily(
            "metalbgp_unserved_services",
            "Local Services whose last Pod here was seen to end, while the controller has not said so",
            value=now.unserved,
        )
        yield GaugeMetricFamily("metalbgp_own_pods", "Pods of this node in view", value=now.own_pods)
        yield from self._view(now)

    @staticmethod
    def _view(now: Snapshot) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "metalbgp_view_age_seconds", "Age of what this speaker knows of the cluster", value=now.view_age
        )
        yield GaugeMetricFamily(
            "metalbgp_view_from_snapshot",
            "1 while it announces what was known before its start",
            value=float(now.from_snapshot),
        )
        refused = GaugeMetricFamily(
            "metalbgp_snapshot_refused", "1 if the one found at the start was no good", labels=["reason"]
        )
        if now.snapshot_refused:
            refused.add_metric([now.snapshot_refused], 1)
        yield refused
        yield GaugeMetricFamily(
            "metalbgp_snapshot_not_written",
            "1 while the snapshot cannot be written",
            value=float(now.snapshot_unwritten),
        )

    @staticmethod
    def _announced(now: Snapshot) -> GaugeMetricFamily:
        announced = GaugeMetricFamily(
            "metallb_speaker_announced",
            "Services announced from this node",
            labels=["service", "protocol", "node", "ip"],
        )
        for service, protocol, address in now.announced:
            announced.add_metric([service, protocol, now.node, address], 1)
        return announced

    @staticmethod
    def _sessions(now: Snapshot) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        up = GaugeMetricFamily("metallb_bgp_session_up", "1 is up, 0 is down", labels=["peer"])
        announced = GaugeMetricFamily(
            "metallb_bgp_announced_prefixes_total", "Prefixes confirmed on the wire", labels=["peer"]
        )
        pending = GaugeMetricFamily(
            "metallb_bgp_pending_prefixes_total", "Prefixes that should be announced", labels=["peer"]
        )
        flaps = CounterMetricFamily("metalbgp_bgp_session_flaps", "How often it ended", labels=["peer"])
        updates = CounterMetricFamily("metallb_bgp_updates", "UPDATE messages sent", labels=["peer"])
        for session in now.sessions:
            peer = f"[{session.address}]" if ":" in session.address else session.address
            peer = f"{peer}:{session.port}"
            up.add_metric([peer], float(session.state == "Established"))
            flaps.add_metric([peer], session.flaps)
            announced.add_metric([peer], session.routes_confirmed)
            pending.add_metric([peer], session.routes_wanted)
            updates.add_metric([peer], now.updates.get(session.address, 0))
        yield from (up, flaps, announced, pending, updates)
        yield from _Speaker._paths(now)
        held = GaugeMetricFamily(
            "metalbgp_withdrawals_held", "Withdrawals that wait for a person", labels=["peer"]
        )
        beyond = GaugeMetricFamily(
            "metalbgp_routes_beyond_maximum", "Routes not announced: the peer's maximum", labels=["peer"]
        )
        for session in now.sessions:
            held.add_metric([session.address], session.held)
            beyond.add_metric([session.address], session.beyond)
        yield from (held, beyond)

    @staticmethod
    def _paths(now: Snapshot) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        up = GaugeMetricFamily("metallb_bfd_session_up", "1 if BFD finds the path alive", labels=["peer"])
        downs = CounterMetricFamily(
            "metallb_bfd_session_down_events", "How often BFD found the path dead", labels=["peer"]
        )
        for session in now.sessions:
            if session.bfd:
                up.add_metric([session.address], float(session.bfd == "Up"))
                downs.add_metric([session.address], session.bfd_flaps)
        yield from (up, downs)

    @staticmethod
    def _layer2(now: Snapshot) -> Iterator[CounterMetricFamily]:
        requests = CounterMetricFamily(
            "metallb_layer2_requests_received", "ARP and NDP requests for owned addresses", labels=["ip"]
        )
        replies = CounterMetricFamily("metallb_layer2_responses_sent", "Answers sent", labels=["ip"])
        gratuitous = CounterMetricFamily(
            "metallb_layer2_gratuitous_sent", "Unasked announcements sent", labels=["ip"]
        )
        for address, counts in now.answered.items():
            requests.add_metric([address], counts.requests)
            replies.add_metric([address], counts.replies)
            gratuitous.add_metric([address], counts.gratuitous)
        yield from (requests, replies, gratuitous)

    @staticmethod
    def _members(now: Snapshot) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "metalbgp_l2_candidate_addresses",
            "L2 addresses that this node may own",
            value=now.l2_candidate_for,
        )
        yield GaugeMetricFamily(
            "metalbgp_l2_owned_addresses", "L2 addresses that this node answers for", value=now.l2_owned
        )
        state = GaugeMetricFamily(
            "metalbgp_l2_state", "1 for what this node is in L2 (docs/layer2.md)", labels=["state"]
        )
        if now.l2_state:
            state.add_metric([now.l2_state], 1)
        members = GaugeMetricFamily(
            "metalbgp_l2_member_live", "1 if the other candidate is heard and owns its share", labels=["node"]
        )
        for node, word in sorted(now.l2_members.items()):
            members.add_metric([node], float(word == "live"))
        yield from (state, members)


class SpeakerMetrics:
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Speaker(snapshot))
        self.updates = Counter(
            "metallb_k8s_client_updates", "Kubernetes events handled", registry=self.registry
        )
        self.update_errors = Counter(
            "metallb_k8s_client_update_errors",
            "Kubernetes events whose handling failed",
            registry=self.registry,
        )
        self.config_loaded = Gauge(
            "metallb_k8s_client_config_loaded_bool", "1 once a configuration is held", registry=self.registry
        )
        self.to_wire = Histogram(
            "metalbgp_wanted_to_wire_seconds",
            "From the event that asked for a route to its UPDATE on the wire",
            buckets=SECONDS,
            registry=self.registry,
        )
