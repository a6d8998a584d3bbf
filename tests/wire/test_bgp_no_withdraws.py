"""What changes without changing a route is not seen on the wire, and what changes a route replaces it.

The whole product without kubelets (bench/chain.py). The judges are a scripted router (iBGP, both families),
which remembers every prefix of every UPDATE, and the wire of a real FRR beside it. One file, one cluster:
each step begins where the last one ended.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from bench.api import ApiError
from bench.chain import MERGE, OURS, PATIENCE, PEERS, Chain, chain
from bench.load import POOL
from bench.routes import Capture
from tests.apiserver import NAMESPACE
from tests.wire.bgp_lab import BGPD
from tests.wire.bgp_scripted import Scripted, opening
from tests.wire.doing import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not BGPD.exists(), reason="needs root and FRR")

METALLB = f"/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}"
ADVERTISEMENTS, POOLS = f"{METALLB}/bgpadvertisements", f"{METALLB}/ipaddresspools"
OWN = "/apis/metalbgp.io/v1alpha1"
SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
NAMES = tuple(f"s{number}" for number in range(6))


class Wire:
    """The cluster and what its routers hear."""

    def __init__(self, it: Chain) -> None:
        self.it, self.api = it, it.api
        self.odd = Scripted(it.lab, 3)
        self.odd.asn = OURS
        self.odd.open = opening(OURS, self.odd.v4, 90)
        self.odd.start()
        self._marks = 0

    def put(self, path: str, kind: str, name: str, spec: Mapping[str, Any], notes: Any = None) -> None:
        metadata = {"name": name, "namespace": NAMESPACE, "annotations": notes or {}}
        body = {"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec}
        self.api.apply(f"{path}/{name}", body)

    def pool(self, name: str) -> None:
        self.put(POOLS, "IPAddressPool", name, {"addresses": ["198.51.100.0/24", "2001:db8::/120"]})

    def advertise(self, name: str, notes: Any = None, **spec: Any) -> None:
        self.put(ADVERTISEMENTS, "BGPAdvertisement", name, spec, notes)

    def service(self, name: str, half: str) -> None:
        ports = [{"port": 80}]
        spec = {"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "ports": ports}
        self.endpoints(name, 1)
        self.api.create(SERVICES, {"metadata": {"name": name, "labels": {"half": half}}, "spec": spec})

    def endpoints(self, name: str, count: int) -> None:
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"port": 80}],
            "endpoints": [
                {"addresses": [f"10.244.1.{n}"], "nodeName": "n1", "conditions": {"ready": True}}
                for n in range(1, count + 1)
            ],
        }
        try:
            self.api.call("PUT", f"{SLICES}/{name}", body)
        except ApiError as error:
            if error.status != 404:
                raise
            self.api.create(SLICES, body)

    def addresses(self, name: str) -> set[str]:
        found = self.api.get(f"{SERVICES}/{name}")["status"]["loadBalancer"].get("ingress") or []
        return {one["ip"] for one in found}

    def prefixes(self, *names: str) -> set[str]:
        """Once they all have their two addresses."""
        wait_for(lambda: all(len(self.addresses(name)) == 2 for name in names), "addresses", PATIENCE)
        each = {address for name in names for address in self.addresses(name)}
        return {f"{address}/{128 if ':' in address else 32}" for address in each}

    def vips(self) -> list[dict[str, Any]]:
        return [item["spec"] for item in self.api.get(f"{OWN}/virtualips")["items"]]

    def every_vip(self, what: str, good: Callable[[dict[str, Any]], bool]) -> None:
        wait_for(lambda: all(good(vip) for vip in self.vips()), what, PATIENCE)

    def told(self, what: str, good: Callable[[dict[str, Any]], bool]) -> None:
        """Until the speakers' configuration says so."""
        path = f"{OWN}/namespaces/{NAMESPACE}/speakerconfigurations/{NAMESPACE}"
        wait_for(lambda: good(self.api.get(path)["spec"]), f"{what} in force", PATIENCE)

    def marked(self) -> set[str]:
        """A Service that comes now and goes again: when its routes have come and gone, what was before has.

        A claim names the configuration that it was planned with, so a speaker announces it with that one.
        """
        self._marks += 1
        name = f"mark{self._marks}"
        self.service(name, "one")
        mine = self.prefixes(name)
        wait_for(lambda: mine <= set(self.odd.table()), "the mark's routes", PATIENCE)
        self.api.delete(f"{SERVICES}/{name}")
        wait_for(lambda: not mine & set(self.odd.table()), "their end", PATIENCE)
        return mine


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with chain(routers=2) as it:
        wire = Wire(it)
        for left in (f"{ADVERTISEMENTS}/{POOL}", f"{POOLS}/{POOL}"):
            it.api.delete(left)
        for name, address, asn in (
            ("odd4", wire.odd.v4, OURS),
            ("odd6", wire.odd.v6, OURS),
            ("frr6", it.routers[0].v6, it.routers[0].asn),
        ):
            spec = {"myASN": OURS, "peerASN": asn, "peerAddress": address}
            body = {"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "spec": spec}
            it.api.apply(f"{PEERS}/{name}", {**body, "metadata": {"name": name, "namespace": NAMESPACE}})
        wire.pool("production")
        wire.advertise("all")
        for number, name in enumerate(NAMES):
            wire.service(name, ("one", "two")[number % 2])
        wire.odd.holds(wire.prefixes(*NAMES), PATIENCE)
        yield wire


def quiet(wire: Wire, *steps: Callable[[], Any]) -> None:
    """After each step: not one UPDATE about anything but the mark."""
    held = wire.odd.table()
    sessions = wire.odd.sessions
    for number, step in enumerate(steps):
        wire.odd.heard.clear()
        with Capture(wire.it.places[0]) as captured:
            step()
            mine = wire.marked()
        assert {one.prefix for one in wire.odd.heard} == mine, f"step {number}"
        assert {u.prefix for u in captured.updates} == mine, f"step {number}"
    assert wire.odd.table() == held and wire.odd.sessions == sessions
    assert set(wire.it.routers[0].table(6)) == {p for p in held if ":" in p}


def test_a_renamed_pool_is_not_seen_on_the_wire(wire: Wire) -> None:
    def rename(new: str, old: str) -> None:
        wire.pool(new)  # it waits, for the other one has its addresses
        wire.api.delete(f"{POOLS}/{old}")
        wire.told("the new name", lambda spec: {p["name"] for p in spec["pools"]} == {new})
        wire.every_vip("claims of the new pool", lambda vip: vip["pool"] == new)

    quiet(wire, lambda: rename("renamed", "production"), lambda: rename("production", "renamed"))


def test_an_advertisement_split_in_two_and_services_that_move_between_them_are_not_seen_on_the_wire(
    wire: Wire,
) -> None:
    def select(half: str) -> list[dict[str, Any]]:
        return [{"matchLabels": {"half": half}}]

    def split() -> None:
        wire.advertise("one", serviceSelectors=select("one"))
        wire.advertise("two", serviceSelectors=select("two"))
        wire.told("three", lambda spec: len(spec["bgpAdvertisements"]) == 3)

    def take_the_whole_away() -> None:
        wire.api.delete(f"{ADVERTISEMENTS}/all")
        wire.every_vip("claims of a half", lambda vip: names(vip) <= {"one", "two"})

    def move(name: str, half: str) -> None:
        wire.api.call("PATCH", f"{SERVICES}/{name}", {"metadata": {"labels": {"half": half}}}, MERGE)
        mine = wire.addresses(name)
        wire.every_vip(
            "the claim of the other half", lambda vip: vip["address"] not in mine or names(vip) == {half}
        )

    def whole_again() -> None:
        wire.advertise("all")
        wire.told("the whole", lambda spec: len(spec["bgpAdvertisements"]) == 3)
        for half in ("one", "two"):
            wire.api.delete(f"{ADVERTISEMENTS}/{half}")
        wire.every_vip("claims of the whole", lambda vip: names(vip) == {"all"})

    quiet(
        wire,
        split,
        take_the_whole_away,
        lambda: move("s0", "two"),
        lambda: move("s1", "one"),
        whole_again,
    )


def names(vip: Mapping[str, Any]) -> set[str]:
    """Advertisements behind a claim."""
    return {name for one in vip["holders"].values() for name in one.get("bgp", ())}


def test_endpoints_and_ports_that_change_nothing_are_not_seen_on_the_wire(wire: Wire) -> None:
    def more_endpoints() -> None:
        for name in NAMES:
            wire.endpoints(name, 5)

    def another_port() -> None:
        wire.api.call("PATCH", f"{SERVICES}/s2", {"spec": {"ports": [{"port": 8080}]}}, MERGE)

    quiet(wire, more_endpoints, another_port)


def test_any_attribute_that_changes_is_an_implicit_replace(wire: Wire) -> None:
    notes: dict[str, str] = {}
    spec: dict[str, Any] = {}
    mine = wire.prefixes(*NAMES)
    for note, value in (
        ("", {"communities": ["65001:77", "no-export"]}),
        ("med", "50"),
        ("extended-communities", "target:64512:30"),
        ("", {"communities": ["large:65001:1:2"]}),
        ("prepend", "3"),
        ("backup-nodes", "!nowhere"),
        ("", {"communities": []}),
    ):
        before = wire.odd.table()
        if note:
            notes[f"metalbgp.io/{note}"] = str(value)
        else:
            spec |= dict(value)  # type: ignore[call-overload]  # without a note it is fields
        wire.odd.heard.clear()
        with Capture(wire.it.places[0]) as captured:
            wire.advertise("all", notes, **spec)
            if note == "prepend":  # to eBGP peers alone
                wait_for(lambda: path(wire) == "65001 65001 65001 65001", "a longer path", PATIENCE)
            else:
                wait_for(lambda was=before: changed(wire, was) == mine, f"{note or value} on all", PATIENCE)
            marks = wire.marked()
        assert {p for p in wire.odd.withdrawn() if p not in marks} == set(), f"{note or value}"
        seen = {u.prefix for u in captured.updates if u.announced}
        assert {u.prefix for u in captured.updates if not u.announced} <= marks, f"{note or value}"
        assert mine <= seen, f"{note or value}"
    assert wire.odd.sessions == 2


def changed(wire: Wire, before: Mapping[str, bytes]) -> set[str]:
    return {prefix for prefix, said in wire.odd.table().items() if before.get(prefix, said) != said}


def path(wire: Wire) -> str:
    (first, *_) = sorted(p for p in wire.odd.table() if ":" not in p)
    return str(wire.it.routers[0].path(first)["aspath"]["string"])


def test_a_controller_or_an_agent_that_starts_anew_is_not_seen_on_the_wire(wire: Wire) -> None:
    quiet(wire, lambda: wire.it.again("controller"), lambda: wire.it.again("speaker"))
