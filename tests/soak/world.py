"""The cluster of a soak: a real API server, two controllers, one speaker, two routers; it obeys Steps.

In:  bench/chain.py's Chain; Steps. Out: what the cluster and the routers hold, for truth.py.
Elsewhere: which step comes next is steps.py.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Any, Final

import msgspec

from bench.api import ApiError
from bench.chain import PEERS, Chain, chain
from metalbgp.cluster import decode
from metalbgp.config import compiled, orders, virtualip
from metalbgp.config.objects import READERS
from tests.apiserver import NAMESPACE
from tests.soak.steps import NODES, SPACE, Step, Wanted, resume, steps
from tests.soak.truth import Held, differences
from tests.wire.bgp_lab import children, cmdline

METALLB: Final = f"/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}"
OURS: Final = "/apis/metalbgp.io/v1alpha1"
SERVICES: Final = f"/api/v1/namespaces/{SPACE}/services"
SLICES: Final = f"/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices"
PLACES: Final = {
    "pools": (f"{METALLB}/ipaddresspools", "metallb.io/v1beta1", "IPAddressPool"),
    "advertisements": (f"{METALLB}/bgpadvertisements", "metallb.io/v1beta1", "BGPAdvertisement"),
    "peers": (PEERS, "metallb.io/v1beta2", "BGPPeer"),
    "services": (SERVICES, "v1", "Service"),
    "slices": (SLICES, "discovery.k8s.io/v1", "EndpointSlice"),
    "orders": (f"{OURS}/namespaces/{NAMESPACE}/speakerorders", OURS.removeprefix("/apis/"), "SpeakerOrder"),
}
SHARED: Final = "metallb.universe.tf/allow-shared-ip"
QUIET: Final = 90.0  # seconds in which everything must have become true; alone it takes one or two
REFLEX: Final = f"{sys.executable} -m metalbgp.reflex"


class Twice(threading.Thread):
    """Hears every Service as it changes, and tells of an address that two show."""

    def __init__(self, it: Chain) -> None:
        super().__init__(daemon=True)
        self._it = it
        self._shown: dict[str, dict[str, str]] = {}  # Service → address → its sharing key when it got it
        self._keys: dict[str, str] = {}  # Service → its sharing key now: whoever has one may be joined
        self.found: list[str] = []
        self.ended = False

    def run(self) -> None:
        while not self.ended:
            with suppress(OSError, HTTPException, ApiError, ValueError, KeyError):
                self._follow()

    def _follow(self) -> None:
        listed = self._it.api.get(SERVICES)
        names = {item["metadata"]["name"] for item in listed["items"]}
        for name in self._shown.keys() - names:
            del self._shown[name]
        for item in listed["items"]:
            self._heard("MODIFIED", item)
        connection, lines = self._it.api.watch(SERVICES, listed["metadata"]["resourceVersion"])
        with suppress(Exception):
            for line in lines:
                event = json.loads(line)
                self._heard(event["type"], event["object"])
        connection.close()

    def _heard(self, kind: str, item: Mapping[str, Any]) -> None:
        name = item["metadata"]["name"]
        key = (item["metadata"].get("annotations") or {}).get(SHARED, "")
        before = self._shown.pop(name, {})
        now = {} if kind == "DELETED" else {address: before.get(address, key) for address in ingress(item)}
        for address in now.keys() - before.keys():
            self.found += [
                f"{address} is given to {name}, and {other} has it"
                for other, shown in self._shown.items()
                if address in shown and not (key and key in (shown[address], self._keys[other]))
            ]
        self._shown[name], self._keys[name] = now, key


class World:
    def __init__(self, it: Chain) -> None:
        self.it = it
        self.twice = Twice(it)
        it.api.create("/api/v1/namespaces", {"metadata": {"name": SPACE}})
        it.api.create("/api/v1/nodes", {"metadata": {"name": NODES[1]}})
        self.twice.start()

    # ------------------------------------------------------------------ steps

    def do(self, step: Step) -> None:
        kind, _, name = step.name.partition("/")
        match step.kind:
            case "put":
                self._put(kind, name, dict(step.body or {}))
            case "endpoints":
                self._endpoints(name, list((step.body or {})["on"]))
            case "remove":
                self.it.api.delete(f"{PLACES[kind][0]}/{name}")
            case "kill":
                self._kill(step.name)
            case "pause":
                self._signal(step.name, signal.SIGSTOP)
            case "resume":
                self._signal(step.name, signal.SIGCONT)
            case "apiserver":
                self.it.server.restart()

    def _put(self, kind: str, name: str, body: dict[str, Any]) -> None:
        path, version, word = PLACES[kind]
        metadata = {**body.get("metadata", {}), "name": name}
        whole = {"apiVersion": version, "kind": word, **body, "metadata": metadata}
        if kind == "peers":
            router = self.it.routers[int(name[1:]) - 1]
            whole = self.it.peer(router, **body["spec"])
        self.it.api.apply(f"{path}/{name}", whole)

    def _endpoints(self, service: str, on: list[str]) -> None:
        endpoints = [
            {"addresses": [f"10.1.0.{at + 1}"], "nodeName": node, "conditions": {"ready": True}}
            for at, node in enumerate(on)
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

    def _pid(self, part: str) -> int:
        speaker = self.it.lab.speaker
        match part:
            case "agent":
                return self.it.own["speaker"].pid
            case "controller" | "controller-b":
                return self.it.own[part].pid
            case "exabgp":
                return speaker.exabgp()
            case "helper":
                return speaker.helper()
            case "reflex":
                found = [pid for pid in children(speaker.pid) if b"metalbgp.reflex" in cmdline(pid)]
                return found[0] if found else 0
            case "router":
                return int((self.it.routers[0].folder / "bgpd.pid").read_text())
        raise AssertionError(part)

    def _signal(self, part: str, number: int) -> None:
        pid = self._pid(part)
        if pid:  # it may be on its way up again
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _kill(self, part: str) -> None:
        match part:
            case "agent":
                self.it.again("speaker")
            case "controller" | "controller-b":
                self.it.again(part)
            case "parent":  # and all its children: the container dies
                self.it.lab.speaker.kill()
                self.it.lab.speaker.start(METALBGP_REFLEX=REFLEX)
            case "router":
                router = self.it.routers[0]
                router.kill()
                router.start()
            case _:
                self._signal(part, signal.SIGKILL)

    # ------------------------------------------------------------------ what is

    def differences(self) -> list[str]:
        """None: a quiet point."""
        tables: dict[str, dict[str, int]] = {}
        for router in self.it.routers:
            tables[f"r{router.number}"] = {
                prefix: paths[0].get("metric", 0)
                for prefix, paths in json.loads(router.vtysh("show bgp ipv4 unicast json"))
                .get("routes", {})
                .items()
                if not paths[0].get("stale")
            }
        held = self._held()
        absent = tables.keys() - {one.name for one in held.configuration.peers}
        found = [f"router {name}: holds {tables[name]}, there is no peer" for name in absent if tables[name]]
        kept = {name: table for name, table in tables.items() if name not in absent}
        return found + list(differences(held, kept, NODES[0], time.time()))

    def _held(self) -> Held:
        services = [item for item in self._list(SERVICES) if item["spec"].get("type") == "LoadBalancer"]
        read: Callable[[Any], bytes] = msgspec.json.encode
        (configuration,) = [
            compiled.decode(read(item))
            for item in self._list(f"{OURS}/namespaces/{NAMESPACE}/speakerconfigurations")
        ]
        objects = [
            READERS[PLACES[kind][2]](read({**item, "kind": PLACES[kind][2]}))
            for kind in ("pools", "advertisements", "peers")
            for item in self._list(PLACES[kind][0])
        ]
        found = [decode.service(read(item)) for item in services]
        pieces = [decode.endpoint_slice(read(item)) for item in self._list(SLICES)]
        return Held(
            objects=tuple(objects),
            configuration=configuration,
            services=tuple(found),
            ingress={one.key: ingress(item) for one, item in zip(found, services, strict=True)},
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


def ingress(item: Mapping[str, Any]) -> tuple[str, ...]:
    found = item.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    return tuple(one["ip"] for one in found)


@contextmanager
def world() -> Iterator[World]:
    with chain(routers=2, controllers=2) as it:
        it.api.delete(f"{METALLB}/ipaddresspools/bench")
        it.api.delete(f"{METALLB}/bgpadvertisements/bench")
        made = World(it)
        try:
            yield made
        finally:
            made.twice.ended = True
            for part in ("agent", "controller", "controller-b", "exabgp", "router"):
                made._signal(part, signal.SIGCONT)


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
            for one in resume(wanted):
                done.append(f"  {one}")
                made.do(one)
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
        except (OSError, HTTPException, ApiError):
            if time.monotonic() > end:
                raise
            threading.Event().wait(0.2)
