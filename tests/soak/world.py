"""The cluster of a soak: a real API server, two controllers, one speaker, two routers; it obeys Steps.

In:  bench/chain.py's Chain; Steps. Out: what the cluster and the routers hold, for truth.py.
Elsewhere: which step comes next is steps.py; its processes are parts.py.
"""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any, Final

import msgspec

from bench.api import ApiError
from bench.chain import MERGE, PEERS, Chain, chain, make_node
from metalbgp.cluster import decode
from metalbgp.config import compiled, orders, virtualip
from metalbgp.config.objects import READERS
from metalbgp.model.orders import in_force, obeyed
from tests.apiserver import NAMESPACE, ApiServer
from tests.soak.parts import Parts, start_router
from tests.soak.shown import Shown
from tests.soak.steps import EXCLUDED, NODES, SPACE, Step, Wanted, settle, steps
from tests.soak.strait import Strait
from tests.soak.truth import Carried, Held, differences
from tests.wire.bgp_lab import Router

METALLB: Final = f"/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}"
OURS: Final = "/apis/metalbgp.io/v1alpha1"
SERVICES: Final = f"/api/v1/namespaces/{SPACE}/services"
SLICES: Final = f"/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices"
PLACES: Final = {
    "pools": (f"{METALLB}/ipaddresspools", "metallb.io/v1beta1", "IPAddressPool"),
    "advertisements": (f"{METALLB}/bgpadvertisements", "metallb.io/v1beta1", "BGPAdvertisement"),
    "peers": (PEERS, "metallb.io/v1beta2", "BGPPeer"),
    "profiles": (f"{METALLB}/bfdprofiles", "metallb.io/v1beta1", "BFDProfile"),
    "secrets": (f"/api/v1/namespaces/{NAMESPACE}/secrets", "v1", "Secret"),
    "services": (SERVICES, "v1", "Service"),
    "slices": (SLICES, "discovery.k8s.io/v1", "EndpointSlice"),
    "orders": (f"{OURS}/namespaces/{NAMESPACE}/speakerorders", OURS.removeprefix("/apis/"), "SpeakerOrder"),
}
SHARED: Final = "metallb.universe.tf/allow-shared-ip"
CONDITIONS: Final = {
    "ready": {"ready": True},
    "terminating": {"ready": False, "serving": True, "terminating": True},
    "unready": {"ready": False, "serving": False, "terminating": False},
}
QUIET: Final = 90.0  # seconds in which everything must have become true; alone it takes one or two


class Twice(threading.Thread):
    """Hears every Service as it changes, and tells of an address that two show."""

    def __init__(self, it: Chain) -> None:
        super().__init__(daemon=True)
        self._it = it
        self.shown = Shown()
        self.found: list[str] = []
        self.ended = False

    def run(self) -> None:
        while not self.ended:
            with suppress(OSError, HTTPException, ApiError, ValueError, KeyError):
                self._follow()

    def _follow(self) -> None:
        listed = self._it.api.get(SERVICES)
        names = {item["metadata"]["name"] for item in listed["items"]}
        self.shown.only(names)
        for item in listed["items"]:
            self._heard("MODIFIED", item)
        connection, lines = self._it.api.watch(SERVICES, listed["metadata"]["resourceVersion"])
        with suppress(Exception):
            for line in lines:
                event = json.loads(line)
                self._heard(event["type"], event["object"])
        connection.close()

    def _heard(self, kind: str, item: Mapping[str, Any]) -> None:
        key = (item["metadata"].get("annotations") or {}).get(SHARED, "")
        addresses = () if kind == "DELETED" else ingress(item)
        self.found += self.shown.heard(item["metadata"]["name"], key, addresses)


class World:
    def __init__(self, it: Chain, parts: Parts) -> None:
        self.it, self.parts = it, parts
        self.twice = Twice(it)
        it.api.create("/api/v1/namespaces", {"metadata": {"name": SPACE}})
        it.api.create("/api/v1/nodes", {"metadata": {"name": NODES[1]}})
        self.twice.start()

    # ------------------------------------------------------------------ steps

    def do(self, step: Step) -> None:
        kind, _, name = step.name.partition("/")
        body = dict(step.body or {})
        match step.kind:
            case "put":
                self._put(kind, name, body)
            case "endpoints":
                self._endpoints(name, body["on"], body["states"])
            case "remove":
                self.it.api.delete(f"{PLACES[kind][0]}/{name}")
            case "kill":
                self.parts.kill(step.name)
            case "stop":
                self.parts.stop(step.name)
            case "pause":
                self.parts.pause(step.name)
            case "resume":
                self.parts.resume(step.name)
            case "node":
                self._node(step.name, body)
            case "password":
                self.parts.password(step.name, body["word"])
            case "apiserver":
                self._api(step.name, body)
            case "wait":
                threading.Event().wait(body["seconds"])
            case _:
                raise AssertionError(step)

    def _put(self, kind: str, name: str, body: dict[str, Any]) -> None:
        path, version, word = PLACES[kind]
        metadata = {**body.get("metadata", {}), "name": name}
        whole = {"apiVersion": version, "kind": word, **body, "metadata": metadata}
        if kind == "peers":
            router = self.it.routers[int(name[1:]) - 1]
            whole = self.it.peer(router, **body["spec"])
        if "expiresIn" in body.get("spec", {}):
            spec = dict(body["spec"])
            end = datetime.now(UTC) + timedelta(seconds=spec.pop("expiresIn"))
            whole["spec"] = {**spec, "expires": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        self.it.api.apply(f"{path}/{name}", whole)

    def _endpoints(self, service: str, on: list[str], states: list[str]) -> None:
        endpoints = [
            {"addresses": [f"10.1.0.{at + 1}"], "nodeName": node, "conditions": CONDITIONS[state]}
            for at, (node, state) in enumerate(zip(on, states, strict=True))
        ]
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "web", "port": 80, "protocol": "TCP"}],
            "endpoints": endpoints,
        }
        self.it.api.apply(f"{SLICES}/{service}", body)

    def _node(self, name: str, body: Mapping[str, Any]) -> None:
        path = f"/api/v1/nodes/{name}"
        if body.get("gone"):
            self.it.api.delete(path)
            return
        labels = {EXCLUDED: "" if body.get("excluded") else None}
        changed = {"metadata": {"labels": labels}, "spec": {"unschedulable": body.get("cordoned", False)}}
        try:
            self.it.api.call("PATCH", path, changed, MERGE)
        except ApiError as error:
            if error.status != 404:
                raise
            make_node(self.it.api)
            self.it.api.call("PATCH", path, changed, MERGE)

    def _api(self, how: str, away: Mapping[str, Any]) -> None:
        server = self.it.server
        if how == "silence":
            server.send(signal.SIGSTOP)
        else:
            server.kill()
        try:
            if away["kill"]:
                self.parts.kill(away["kill"])
            threading.Event().wait(away["seconds"])
        finally:
            if how == "silence":
                server.send(signal.SIGCONT)
            else:
                server.restart()

    # ------------------------------------------------------------------ what is

    def differences(self) -> list[str]:
        """None: a quiet point."""
        tables = {f"r{router.number}": routes(router) for router in self.it.routers}
        held = self._held()
        absent = tables.keys() - {one.name for one in held.configuration.peers}
        found = [f"router {name}: holds {tables[name]}, there is no peer" for name in absent if tables[name]]
        kept = {name: table for name, table in tables.items() if name not in absent}
        if any(one.name == "r2" and one.bfd_profile for one in held.configuration.peers) and "r2" in kept:
            shut = obeyed(in_force(held.orders, time.time()), NODES[0]).shuts
            found += [] if "r2" in shut else path(self.it.routers[1])
        found += self.parts.left_over()
        return found + list(differences(held, kept, NODES[0], time.time()))

    def _held(self) -> Held:
        every = self._list(SERVICES)
        services = [item for item in every if item["spec"].get("type") == "LoadBalancer"]
        read: Callable[[Any], bytes] = msgspec.json.encode
        (configuration,) = [
            compiled.decode(read(item))
            for item in self._list(f"{OURS}/namespaces/{NAMESPACE}/speakerconfigurations")
        ]
        objects = [
            READERS[PLACES[kind][2]](read({**item, "kind": PLACES[kind][2]}))
            for kind in ("pools", "advertisements", "peers", "profiles")
            for item in self._list(PLACES[kind][0])
        ]
        found = [decode.service(read(item)) for item in services]
        pieces = [decode.endpoint_slice(read(item)) for item in self._list(SLICES)]
        return Held(
            objects=tuple(objects),
            configuration=configuration,
            services=tuple(found),
            ingress={one.key: ingress(item) for one, item in zip(found, services, strict=True)},
            others={
                item["metadata"]["name"]: ingress(item)
                for item in every
                if item["spec"].get("type") != "LoadBalancer"
            },
            slices=tuple(piece for piece in pieces if piece is not None),
            claims=tuple(virtualip.decode(read(item)) for item in self._list(f"{OURS}/virtualips")),
            nodes=tuple(decode.node(read(item)) for item in self._list("/api/v1/nodes")),
            namespaces={
                one.name: one
                for one in (decode.namespace(read(item)) for item in self._list("/api/v1/namespaces"))
            },
            orders=tuple(orders.decode(read(item)) for item in self._list(PLACES["orders"][0])),
        )

    def _list(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.it.api.get(path)["items"]
        return found

    def quiet(self, told: str) -> float:
        """Until everything is as it should be; the seconds that it took."""
        began = time.monotonic()
        while True:
            wrong = self._wrong()
            assert not self.twice.found, f"{told}: {self.twice.found[:3]}"
            if not wrong:
                return time.monotonic() - began
            assert time.monotonic() - began < QUIET, f"{told}:\n" + "\n".join(wrong[:20])
            threading.Event().wait(0.1)

    def _wrong(self) -> list[str]:
        try:
            return self.differences()
        except (OSError, HTTPException, ApiError, ValueError) as error:
            return [f"cannot be read: {error!r}"]


def routes(router: Router) -> dict[str, Carried]:
    """What the router holds of us, and holds for true."""
    shown = json.loads(router.vtysh("show bgp ipv4 unicast json detail")).get("routes", {})
    found: dict[str, Carried] = {}
    for prefix, parts in shown.items():
        (only,) = [part for part in parts if "peer" in part]
        if not only.get("stale"):
            found[prefix] = only.get("metric", 0), tuple(sorted(only.get("community", {}).get("list", ())))
    return found


def path(router: Router) -> list[str]:
    """BFD is to be up, as its router sees it."""
    shown = json.loads(router.vtysh("show bfd peers json"))
    states = [one["status"] for one in shown if one["peer"] == router.ours4]
    return [] if states == ["up"] else [f"router r{router.number}: BFD is {states}"]


def ingress(item: Mapping[str, Any]) -> tuple[str, ...]:
    found = item.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    return tuple(one["ip"] for one in found)


@contextmanager
def world() -> Iterator[World]:
    straits: list[Strait] = []

    def doors(server: ApiServer) -> Mapping[str, str]:
        straits.append(Strait(server, ("speaker", "controller", "controller-b")))
        return straits[0].doors

    with chain(routers=2, controllers=2, doors=doors, start=start_router) as it:
        it.api.delete(f"{METALLB}/ipaddresspools/bench")
        it.api.delete(f"{METALLB}/bgpadvertisements/bench")
        parts = Parts(it, straits[0])
        made = World(it, parts)
        try:
            yield made
        finally:
            made.twice.ended = True
            parts.go_on()
            straits[0].end()


def soak(seed: int, count: int, every: int) -> list[float]:
    """So many steps from the seed, with a quiet point after each `every`; what each of these took."""
    took: list[float] = []
    wanted = Wanted()
    with world() as made:
        done: list[str] = []
        for number, step in zip(range(1, count + 1), steps(seed, wanted), strict=False):
            done.append(f"{number} {step}")
            _patiently(made, step)
            if number % every and number != count:
                continue
            for one in settle(wanted):
                done.append(f"  {one}")
                _patiently(made, one)
            told = f"seed {seed}, step {number}; the last: {'; '.join(done[-every - 4 :])}"
            took.append(made.quiet(told))
            sys.stdout.write(f"step {number} of {count}: true after {took[-1]:.1f} s\n")
            sys.stdout.flush()
    return took


def _patiently(made: World, step: Step) -> None:
    """An API server that is on its way up refuses for a while."""
    end = time.monotonic() + QUIET
    while True:
        try:
            made.do(step)
            return
        except (OSError, HTTPException, ApiError) as error:
            wrong = isinstance(error, ApiError) and error.status == 422  # the step itself is
            if wrong or time.monotonic() > end:
                raise
            threading.Event().wait(0.2)
