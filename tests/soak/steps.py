"""What a soak does, step by step: a function of the seed alone, so that a seed replays.

In:  a seed. Out: Steps, each with its words; the objects as they should stand (Wanted), as a user wrote them.
Elsewhere: carrying them out is world.py; whether all is as it should be, truth.py.

No step looks at the cluster: what it would see depends on time, and another run would take another way.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PARTS: Final = (
    "agent",
    "parent",
    "pod",
    "exabgp",
    "helper",
    "reflex",
    "controller",
    "controller-b",
    "router-1",
    "router-2",
)
PAUSED: Final = tuple(part for part in PARTS if part != "pod")
STOPPED: Final = ("agent", "pod", "controller", "controller-b")  # in order, as an upgrade does
WITHIN: Final = {  # what ends with it
    "pod": ("agent", "parent", "exabgp", "helper", "reflex"),
    "parent": ("exabgp", "helper", "reflex"),
    "exabgp": ("helper",),
}
# Answers of the API server that do not arrive for a while, by who waits for them: one watch, or everything.
HEARD: Final = {
    "speaker": ("virtualips", "speakerconfigurations", "speakerorders", "secrets", "nodes", "all"),
    "controller": ("services", "endpointslices", "virtualips", "ipaddresspools", "bgpadvertisements", "all"),
    "controller-b": ("services", "endpointslices", "virtualips", "bgppeers", "all"),
}
POOLS: Final = {
    "a": ("10.253.0.0/28", "10.253.0.0/28", "10.253.0.0/27", "10.253.0.4-10.253.0.15"),
    "b": ("10.253.1.0/29",),
    "c": ("10.253.2.0/30", "10.253.2.0/31"),
}
SERVICES: Final = 16
NODES: Final = ("n1", "n2")  # the speaker is on the first
SPACE: Final = "soak"
EXCLUDED: Final = "node.kubernetes.io/exclude-from-external-load-balancers"


@dataclass(frozen=True)
class Step:
    kind: str  # put, remove, endpoints, node, password, kill, stop, pause, resume, apiserver, wait
    name: str  # of the object ("services/web-3"), of the part, or who hears what ("speaker:virtualips")
    body: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.body if self.body is not None else ''}".strip()


@dataclass
class Wanted:
    """Objects by "kind/name"."""

    objects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    passwords: dict[str, str] = field(default_factory=dict)  # the routers', by peer
    gone: set[str] = field(default_factory=set)  # nodes

    def of(self, kind: str) -> list[str]:
        return sorted(name.partition("/")[2] for name in self.objects if name.startswith(f"{kind}/"))

    def password(self, peer: str) -> str:
        """What both ends must have."""
        spec = self.objects.get(f"peers/{peer}", {}).get("spec", {})
        if "passwordSecret" not in spec:
            return ""
        word: str = self.objects[f"secrets/tor-{peer}"]["stringData"]["password"]
        return word


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
    yield put("profiles", "soak", {"spec": {"receiveInterval": 300, "transmitInterval": 300}})
    for peer in ("r1", "r2"):
        yield secret(peer, "first")


def settle(wanted: Wanted) -> Iterator[Step]:
    """Before a quiet point: whatever is paused goes on, nodes are back, and both ends have one password."""
    steps = [Step("resume", part) for part in sorted(wanted.paused)]
    steps += [Step("node", name, {}) for name in sorted(wanted.gone)]
    for peer in ("r1", "r2"):
        word = wanted.password(peer)
        if wanted.passwords.get(peer, "") != word:
            steps.append(Step("password", peer, {"word": word}))
    for step in steps:
        _follow(wanted, step)
        yield step


def put(kind: str, name: str, body: Mapping[str, Any]) -> Step:
    return Step("put", f"{kind}/{name}", body)


def pool(name: str, which: int = 0) -> dict[str, Any]:
    return {"spec": {"addresses": [POOLS[name][which]]}}


def secret(peer: str, word: str) -> Step:
    body = {"type": "kubernetes.io/basic-auth", "stringData": {"password": word}}
    return put("secrets", f"tor-{peer}", body)


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
        case "kill" | "stop":
            wanted.paused -= {step.name, *WITHIN.get(step.name, ())}
        case "node" if (step.body or {}).get("gone"):
            wanted.gone.add(step.name)
        case "node":
            wanted.gone.discard(step.name)
        case "password":
            wanted.passwords[step.name] = (step.body or {})["word"]


def _next(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    kinds: dict[Callable[[random.Random, Wanted], Iterator[Step]], int] = {
        _service: 22,
        _endpoints: 22,
        _gone: 8,
        _advertisement: 9,
        _peer: 5,
        _password: 3,
        _pool: 4,
        _order: 8,
        _node: 3,
        _kill: 7,
        _stop: 2,
        _pause: 6,
        _unheard: 6,
        _api: 2,
        _wait: 6,
    }
    (kind,) = dice.choices(list(kinds), list(kinds.values()))
    yield from kind(dice, wanted)


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
            "type": "LoadBalancer" if dice.random() < 0.95 else "NodePort",
            "externalTrafficPolicy": dice.choice(("Cluster", "Cluster", "Local")),
            "ports": [{"name": "web", "port": 80 + dice.randrange(3), "protocol": "TCP"}],
        },
    }
    if f"slices/{name}" not in wanted.objects:
        yield Step("endpoints", f"slices/{name}", {"on": ["n1"], "states": ["ready"]})
    yield put("services", name, body)


def _endpoints(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    if known := wanted.of("services"):
        on = dice.choice(((), ("n1",), ("n2",), ("n1", "n2"), ("n1", "n1")))
        states = [dice.choice(("ready", "ready", "terminating", "unready")) for _ in on]
        yield Step("endpoints", f"slices/{dice.choice(known)}", {"on": list(on), "states": states})


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
    if dice.random() < 0.3:
        notes |= {"metalbgp.io/drain": "cordon", "metalbgp.io/drain-delay": "1s"}
    yield put("advertisements", name, {"metadata": {"annotations": notes}, "spec": spec})


def _peer(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    name = dice.choice(("r1", "r2", "r2"))
    if name == "r2" and f"peers/{name}" in wanted.objects and dice.random() < 0.3:
        yield Step("remove", f"peers/{name}")
        return
    spec: dict[str, Any] = {"holdTime": dice.choice(("9s", "30s", "90s"))}
    if dice.random() < 0.4:
        spec["passwordSecret"] = {"name": f"tor-{name}"}
    if dice.random() < 0.3:
        spec["enableGracefulRestart"] = True
    if name == "r2" and dice.random() < 0.5:
        spec["bfdProfile"] = "soak"
    yield put("peers", name, {"spec": spec})


def _password(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    """Either end first, or only ours: the router's follows before the next quiet point."""
    peer, word = dice.choice(("r1", "r2")), f"word-{dice.randrange(4)}"
    both = [secret(peer, word), Step("password", peer, {"word": word})]
    dice.shuffle(both)
    if "passwordSecret" not in wanted.objects.get(f"peers/{peer}", {}).get("spec", {}):
        both = [secret(peer, word)]
    yield from both if dice.random() < 0.6 else [secret(peer, word)]


def _pool(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    name = dice.choice(("a", "b", "c", "c"))
    if name != "a" and f"pools/{name}" in wanted.objects and dice.random() < 0.7:
        yield Step("remove", f"pools/{name}")
    else:
        yield put("pools", name, pool(name, dice.randrange(len(POOLS[name]))))


def _order(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    if (known := wanted.of("orders")) and dice.random() < 0.6:
        yield Step("remove", f"orders/{dice.choice(known)}")
        return
    spec: dict[str, Any] = {}
    if dice.random() < 0.3:
        spec["expiresIn"] = dice.randrange(1, 8)  # seconds: world.py knows what time it is
    action, on = dice.choice(("Hold", "Hold", "Shut", "Drain")), dice.choice(("", "", *NODES))
    match action:
        case "Hold":
            spec["address"] = target = f"10.253.{dice.randrange(2)}.{dice.randrange(8)}"
        case "Shut":
            spec["peer"] = target = dice.choice(("r1", "r2"))
        case _:
            spec["node"] = target = dice.choice(NODES)
    if action != "Drain" and on:
        spec["node"] = on
    yield put("orders", f"{action.lower()}-{target}", {"spec": {"action": action, **spec}})


def _node(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    if dice.random() < 0.2:
        yield Step("node", NODES[0], {"gone": True})
    else:
        body = {"excluded": dice.random() < 0.3, "cordoned": dice.random() < 0.5}
        yield Step("node", NODES[0], body)


def _kill(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    yield Step("kill", dice.choice(PARTS))


def _stop(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    yield Step("stop", dice.choice(STOPPED))


def _pause(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    if wanted.paused and dice.random() < 0.6:
        yield Step("resume", dice.choice(sorted(wanted.paused)))
    else:
        yield Step("pause", dice.choice(PAUSED))


def _unheard(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    """Two watches of one process arrive in any order when one of them is held back."""
    who = dice.choice(("speaker", "speaker", "controller", "controller-b"))
    yield Step("pause", f"{who}:{dice.choice(HEARD[who])}")


def _api(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    """It is killed, or answers nothing, for some seconds; meanwhile a process of ours may begin anew."""
    away = {"seconds": round(dice.uniform(0, 6), 1), "kill": dice.choice(("", "agent", "pod", "controller"))}
    yield Step("apiserver", dice.choice(("restart", "silence")), away)


def _wait(dice: random.Random, wanted: Wanted) -> Iterator[Step]:
    """Hold times end, Leases expire; all else happens within a second or two."""
    yield Step("wait", "", {"seconds": round(dice.choice((0.2, 1.0, 3.0, 11.0)) * dice.random(), 1)})
