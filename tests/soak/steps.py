"""What a soak does, step by step: a function of the seed alone, so that a seed replays.

In:  a seed. Out: Steps, each with its words; the objects as they should stand (Wanted), as a user wrote them.
Elsewhere: carrying them out is world.py; whether all is as it should be, truth.py.

No step looks at the cluster: what it would see depends on time, and another run would take another way.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PARTS: Final = ("agent", "parent", "exabgp", "helper", "reflex", "controller", "controller-b", "router")
PAUSED: Final = ("agent", "exabgp", "controller", "controller-b", "router")
POOLS: Final = {"a": "10.253.0.0/28", "b": "10.253.1.0/29", "c": "10.253.2.0/30"}
SERVICES: Final = 16
NODES: Final = ("n1", "n2")  # the speaker is on the first
SPACE: Final = "soak"


@dataclass(frozen=True)
class Step:
    kind: str  # put, remove, endpoints, kill, pause, resume, apiserver
    name: str  # of the object ("services/web-3") or of the part
    body: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.body if self.body is not None else ''}".strip()


@dataclass
class Wanted:
    """Objects by "kind/name"."""

    objects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)

    def of(self, kind: str) -> list[str]:
        return sorted(name.partition("/")[2] for name in self.objects if name.startswith(f"{kind}/"))


def steps(seed: int, wanted: Wanted) -> Iterator[Step]:
    """For ever; `wanted` follows."""
    dice = random.Random(seed)  # noqa: S311  # to be repeated, not to be secret
    for step in begin():
        _follow(wanted, step)
        yield step
    while True:
        for step in _next(dice, wanted):
            _follow(wanted, step)
            yield step


def begin() -> Iterator[Step]:
    yield put("pools", "a", pool("a"))
    yield put("pools", "b", pool("b"))
    yield put("advertisements", "all", {"spec": {"ipAddressPools": ["a", "b"]}})


def resume(wanted: Wanted) -> Iterator[Step]:
    """Whatever is paused goes on: a quiet point."""
    for part in sorted(wanted.paused):
        step = Step("resume", part)
        _follow(wanted, step)
        yield step


def put(kind: str, name: str, body: Mapping[str, Any]) -> Step:
    return Step("put", f"{kind}/{name}", body)


def pool(name: str) -> dict[str, Any]:
    return {"spec": {"addresses": [POOLS[name]]}}


def _follow(wanted: Wanted, step: Step) -> None:
    match step.kind:
        case "put" | "endpoints":
            wanted.objects[step.name] = step.body or {}
        case "remove":
            wanted.objects.pop(step.name, None)
        case "pause":
            wanted.paused.add(step.name)
        case "resume":
            wanted.paused.discard(step.name)
        case "kill":
            wanted.paused.discard(step.name)


def _next(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    kind = dice.choices(
        ("service", "endpoints", "gone", "advertisement", "peer", "pool", "order", "kill", "pause", "api"),
        (25, 25, 10, 10, 6, 4, 6, 8, 5, 1),
    )[0]
    kinds: dict[str, Callable[[random.Random, Wanted], Iterator[Step]]] = {
        "service": _service,
        "endpoints": _endpoints,
        "gone": _gone,
        "advertisement": _advertisement,
        "peer": _peer,
        "pool": _pool,
        "order": _order,
        "kill": _kill,
        "pause": _pause,
        "api": _api,
    }
    yield from kinds[kind](dice, wanted)


def _service(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    name = f"web-{dice.randrange(SERVICES)}"
    notes: dict[str, str] = {}
    if dice.random() < 0.6:
        notes["metallb.io/address-pool"] = dice.choice(("a", "a", "b", "c"))
    if dice.random() < 0.2:
        notes["metallb.universe.tf/allow-shared-ip"] = dice.choice(("red", "blue"))
    if dice.random() < 0.15:
        notes["metallb.io/loadBalancerIPs"] = f"10.253.{dice.choice((0, 1, 7))}.{dice.randrange(8)}"
        notes.pop("metallb.io/address-pool", None)
    body = {
        "metadata": {"annotations": notes, "labels": {"tier": dice.choice(("gold", "lead"))}},
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": dice.choice(("Cluster", "Cluster", "Local")),
            "ports": [{"name": "web", "port": 80 + dice.randrange(3), "protocol": "TCP"}],
        },
    }
    if f"slices/{name}" not in wanted.objects:
        yield Step("endpoints", f"slices/{name}", {"on": ["n1"]})
    yield put("services", name, body)


def _endpoints(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    if known := wanted.of("services"):
        on = dice.choice(((), ("n1",), ("n2",), ("n1", "n2"), ("n1", "n1")))
        yield Step("endpoints", f"slices/{dice.choice(known)}", {"on": list(on)})


def _gone(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    if known := wanted.of("services"):
        yield Step("remove", f"services/{dice.choice(known)}")


def _advertisement(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    name = dice.choice(("all", "all", "gold", "wide"))
    if name != "all" and f"advertisements/{name}" in wanted.objects and dice.random() < 0.5:
        yield Step("remove", f"advertisements/{name}")
        return
    spec: dict[str, Any] = {
        "ipAddressPools": sorted({"a", dice.choice("abc")}),
        "communities": sorted({f"65001:{dice.randrange(3)}", f"65001:{dice.randrange(3)}"}),
    }
    notes = {"metalbgp.io/med": str(dice.randrange(1, 9))} if name == "all" else {}
    if name == "gold":
        spec["serviceSelectors"] = [{"matchLabels": {"tier": "gold"}}]
        spec["ipAddressPools"] = ["c"]
        notes = {"metalbgp.io/med": str(dice.randrange(1, 9))}
    if name == "wide":  # aggregates beside the addresses
        spec |= {"aggregationLength": 29, "ipAddressPools": ["b"]}
    elif dice.random() < 0.2:
        spec["peers"] = [dice.choice(("r1", "r2"))]
    yield put("advertisements", name, {"metadata": {"annotations": notes}, "spec": spec})


def _peer(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    name = dice.choice(("r1", "r2", "r2"))
    if name == "r2" and f"peers/{name}" in wanted.objects and dice.random() < 0.3:
        yield Step("remove", f"peers/{name}")
        return
    yield put("peers", name, {"spec": {"holdTime": dice.choice(("9s", "30s", "90s"))}})


def _pool(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    name = dice.choice(("b", "c", "c"))
    if f"pools/{name}" in wanted.objects:
        yield Step("remove", f"pools/{name}")
    else:
        yield put("pools", name, pool(name))


def _order(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    if (known := wanted.of("orders")) and dice.random() < 0.6:
        yield Step("remove", f"orders/{dice.choice(known)}")
        return
    if dice.random() < 0.7:
        address = f"10.253.{dice.randrange(2)}.{dice.randrange(8)}"
        yield put("orders", f"hold-{address}", {"spec": {"action": "Hold", "address": address}})
    else:
        yield put("orders", "shut-r2", {"spec": {"action": "Shut", "peer": "r2"}})


def _kill(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    yield Step("kill", dice.choice(PARTS))


def _pause(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    if wanted.paused and dice.random() < 0.6:
        yield Step("resume", dice.choice(sorted(wanted.paused)))
    else:
        yield Step("pause", dice.choice(PAUSED))


def _api(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    yield Step("apiserver", "restart")
