"""What a measurement makes: a pool, a peer, an advertisement; Services with endpoints of their own.

In:  the API and a Place. Out: objects, and the moments at which they were made; `clean` takes all away.
Endpoints are written by hand (an EndpointSlice before its Service): no other controller's pace is measured.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, NamedTuple

from bench.api import Api, ApiError
from bench.place import Place

NAMESPACE: Final = "bench"
POOL: Final = "bench"
ADDRESSES: Final = "10.253.0.0/20"
_SLICES: Final = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
_SERVICES: Final = f"/api/v1/namespaces/{NAMESPACE}/services"


class Moment(NamedTuple):
    """time.time() before a request and after its answer."""

    before: float
    after: float


class Load:
    def __init__(self, api: Api, place: Place, system: str) -> None:
        self._api = api
        self._place = place
        self._configuration = f"/apis/metallb.io/v1beta1/namespaces/{system}"
        self._peers = f"/apis/metallb.io/v1beta2/namespaces/{system}/bgppeers"
        self._system = system
        self._own_peer = False

    def prepare(self) -> None:
        """Pool, advertisement, namespace; a peer only if there is none yet for the router."""
        with suppress(ApiError):
            self._api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        self._apply("ipaddresspools", "IPAddressPool", {"addresses": [ADDRESSES], "autoAssign": False})
        self._apply("bgpadvertisements", "BGPAdvertisement", {"ipAddressPools": [POOL]})
        peers = self._api.get(self._peers)["items"]
        if not any(peer["spec"].get("peerAddress") == self._place.router_address for peer in peers):
            self._own_peer = True
            spec = {
                "myASN": self._place.nodes_as,
                "peerASN": self._place.router_as,
                "peerAddress": self._place.router_address,
            }
            peer = {"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", **self._named(), "spec": spec}
            _until_served(lambda: self._api.apply(f"{self._peers}/{POOL}", peer))

    def create(self, name: str) -> Moment:
        """An endpoint and its Service; the moment is the Service's."""
        node = next(iter(self._place.nodes.values()))
        self._api.create(_SLICES, _slice(name, node))
        service = _service(name)
        before = time.time()
        self._api.create(_SERVICES, service)
        return Moment(before, time.time())

    def create_all(self, names: Sequence[str], threads: int) -> dict[str, Moment]:
        with ThreadPoolExecutor(threads) as pool:
            return dict(zip(names, pool.map(self.create, names), strict=True))

    def delete(self, name: str) -> Moment:
        """The Service, then its endpoint; the moment is the Service's."""
        before = time.time()
        self._api.delete(f"{_SERVICES}/{name}")
        after = time.time()
        self._api.delete(f"{_SLICES}/{name}")
        return Moment(before, after)

    def delete_all(self, names: Sequence[str], threads: int) -> dict[str, Moment]:
        with ThreadPoolExecutor(threads) as pool:
            return dict(zip(names, pool.map(self.delete, names), strict=True))

    def clean(self) -> None:
        """Whatever is left, also of a run that was interrupted."""
        names = [item["metadata"]["name"] for item in self._api.get(_SERVICES)["items"]]
        self.delete_all(names, 8)
        self._api.delete(f"{self._configuration}/bgpadvertisements/{POOL}")
        self._api.delete(f"{self._configuration}/ipaddresspools/{POOL}")
        if self._own_peer:
            self._api.delete(f"{self._peers}/{POOL}")
        self._api.delete(f"/api/v1/namespaces/{NAMESPACE}")

    def _apply(self, resource: str, kind: str, spec: dict[str, Any]) -> None:
        body = {"apiVersion": "metallb.io/v1beta1", "kind": kind, **self._named(), "spec": spec}
        _until_served(lambda: self._api.apply(f"{self._configuration}/{resource}/{POOL}", body))

    def _named(self) -> dict[str, Any]:
        return {"metadata": {"name": POOL, "namespace": self._system}}


def _until_served(action: Any, seconds: float = 60) -> None:
    """A webhook that has just started answers late; the CRDs of a fresh install likewise."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            action()
        except ApiError as error:
            if time.monotonic() > deadline or error.status not in (404, 500, 502, 503, 504):
                raise
            time.sleep(0.5)
        else:
            return


def _slice(name: str, node: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.1.250"], "nodeName": node, "conditions": {"ready": True}}],
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    }


def _service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": {"metallb.io/address-pool": POOL}},
        "spec": {
            "type": "LoadBalancer",
            "ports": [{"port": 80, "protocol": "TCP"}],
            "allocateLoadBalancerNodePorts": False,
        },
    }
