"""What a change costs and when it is on the wire: one Service, one attribute of 1,000, one peer; and idling.

In:  a Chain. Out: Lines. Times on the wire are the kernel's (tcpdump at the router); "seen" is the moment at
     which a watch of our own showed the object that the speaker acts upon, so that API server and controller
     do not count where the figure is the speaker's.
"""

import socket
import statistics
import threading
import time
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from types import TracebackType
from typing import Any, Final

import msgspec

from bench.aims import Line
from bench.api import Api
from bench.chain import MERGE, PATIENCE, PEERS, Chain, accepted, established
from bench.load import POOL
from bench.phases import percentile
from bench.routes import Capture
from bench.wire import Update
from tests.apiserver import NAMESPACE
from tests.wire.bgp_lab import Router
from tests.wire.doing import wait_for

VIPS: Final = "/apis/metalbgp.io/v1alpha1/virtualips"
ADVERTISEMENT: Final = f"/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}/bgpadvertisements/{POOL}"
CHANGE: Final = {"spec": {"holdTime": "6s"}}
QUIET: Final = 0.25
IDLE: Final = 30.0  # seconds that are measured


class Seen:
    """When each VirtualIP was first seen in each phase."""

    def __init__(self, api: Api) -> None:
        version = api.get(f"{VIPS}?limit=1")["metadata"]["resourceVersion"]
        self._connection, self._events = api.watch(VIPS, version)
        self._socket = self._connection.sock
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.first: dict[tuple[str, str, str], float] = {}  # uid, address, phase

    def _read(self) -> None:
        with suppress(OSError, HTTPException, ValueError):
            for line in self._events:
                now = time.time()
                found = msgspec.json.decode(line)["object"]
                spec = found.get("spec", {})
                key = (found["metadata"].get("uid", ""), spec.get("address", ""), spec.get("phase", ""))
                self.first.setdefault(key, now)

    def __enter__(self) -> "Seen":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)


def one_change(it: Chain, count: int = 40) -> list[Line]:
    """From the VirtualIP that a watch shows to the UPDATE at the first and at the last router."""
    names = [f"one-{n}" for n in range(count)]
    one, two = it.routers[:2]
    with Seen(it.api) as seen, Capture(it.places[0]) as first, Capture(it.places[1]) as second:
        for name in names:
            it.load.create(name)
            time.sleep(QUIET)  # asking routers meanwhile would cost what is measured
            wait_for(lambda: accepted(one) == accepted(two) == 1, f"the route of {name}", PATIENCE)
            it.load.delete(name)
            time.sleep(QUIET)
            wait_for(lambda: accepted(one) == accepted(two) == 0, f"the end of {name}", PATIENCE)
    moments: dict[str, list[float]] = {"bound": [], "releasing": []}
    last: list[float] = []
    for (_, address, phase), when in seen.first.items():
        if phase in moments:
            times = [
                _first(capture.updates, f"{address}/32", phase == "bound", when - QUIET / 2)
                for capture in (first, second)
            ]
            moments[phase].append((min(times) - when) * 1000)
            if phase == "bound":
                last.append((max(times) - when) * 1000)
    if not len(last) == len(moments["releasing"]) == count:
        raise AssertionError(f"{len(last)} of {count} VirtualIPs were seen")
    bound, releasing = moments["bound"], moments["releasing"]
    return [
        Line("one change → UPDATE on the wire, in the speaker, p50", percentile(bound, 0.5), "ms", 10),
        Line("… p95", percentile(bound, 0.95), "ms"),
        Line("… at the second of two routers, p50", percentile(last, 0.5), "ms"),
        Line(
            "one withdrawal → UPDATE on the wire, in the speaker, p50",
            percentile(releasing, 0.5),
            "ms",
            10,
        ),
        Line("… p95", percentile(releasing, 0.95), "ms"),
    ]


def many(it: Chain, count: int) -> None:
    """So many Services, announced to both routers."""
    it.load.create_all([f"many-{n}" for n in range(count)], 8)
    for router in it.routers[:2]:
        wait_for(partial(_has, router, count), f"{count} routes", 5 * PATIENCE)


def attribute(it: Chain, count: int) -> list[Line]:
    """A community is added to the one advertisement of all Services."""
    before = it.writes()
    with Capture(it.places[0]) as first, Capture(it.places[1]) as second:
        began = time.time()
        it.api.call("PATCH", ADVERTISEMENT, {"spec": {"communities": ["65001:77"]}}, MERGE)
        for router in it.routers[:2]:
            wait_for(partial(_all_with, router, "65001:77", count), "the community on all routes", PATIENCE)
        time.sleep(1)  # what a writer still has in mind
        after = it.writes()
    changed = {kind: after[kind] - before.get(kind, 0) for kind in after}
    ends = []
    withdrawn = 0
    for updates in (first.updates, second.updates):
        seen = {u.prefix: u.time for u in updates if u.announced}
        assert len(seen) == count  # noqa: S101 - the router has them, so the wire had
        ends.append(max(seen.values()) - began)
        withdrawn += sum(not u.announced for u in updates)
    ours = changed["bgpadvertisements"] - 1  # the first was the user
    what = f"an attribute of {count:,} routes"
    return [
        Line(f"{what}: writes of the configuration", changed["speakerconfigurations"], "", 1),
        Line(
            f"{what}: writes of VirtualIPs and Services", changed["virtualips"] + changed["services"], "", 0
        ),
        Line(f"{what}: conditions of the advertisement, written", ours, ""),
        Line(f"{what}: all replaced at two routers", max(ends), "s", 2.0),
        Line(f"{what}: withdrawals on the wire", withdrawn, "", 0),
    ]


def idle(it: Chain, count: int) -> list[Line]:
    """All processes of the speaker, with nothing to do but keepalives every 3 s."""
    time.sleep(10)
    before, began = it.cpu(), time.monotonic()
    time.sleep(IDLE)
    after, took = it.cpu(), time.monotonic() - began
    share = {name: (after[name] - before[name]) / took * 100 for name in after}
    lines = [Line(f"idle with {count:,} routes to two routers, of a core", sum(share.values()), "%", 3.0)]
    return lines + [Line(f"… {name}", value, "%") for name, value in sorted(share.items())]


def peers(it: Chain, rounds: int = 5) -> list[Line]:
    """A third router's peer is added, changed and removed; the others must not notice."""
    third = it.routers[2]
    path = f"{PEERS}/r{third.number}"
    drops = _drops(it.routers[:2])
    times: dict[str, list[float]] = {"added": [], "changed": [], "removed": []}

    def timed(what: str, ask: Any, done: Any) -> None:
        began = time.monotonic()
        ask()
        wait_for(done, f"a peer {what}", PATIENCE)
        times[what].append(time.monotonic() - began)

    for _ in range(rounds):
        wait_for(
            lambda: third.session()["bgpState"] in ("Active", "Connect"), "a router that waits", PATIENCE
        )
        timed("added", lambda: it.api.create(PEERS, it.peer(third)), lambda: established(third))
        wait_for(lambda: accepted(third) == accepted(it.routers[0]), "its routes", PATIENCE)
        timed("changed", lambda: it.api.call("PATCH", path, CHANGE, MERGE), lambda: _hold(third) == 6000)
        wait_for(lambda: accepted(third) == accepted(it.routers[0]), "its routes", PATIENCE)
        timed("removed", lambda: it.api.delete(path), lambda: not established(third))
    lines = []
    for what, seen in times.items():
        lines += [
            Line(f"a peer {what} → in force at the router, p50", statistics.median(seen), "s", 0.5),
            Line("… slowest", max(seen), "s"),
        ]
    return [*lines, Line("other sessions that ended", _drops(it.routers[:2]) - drops, "", 0)]


def _first(updates: list[Update], prefix: str, announced: bool, since: float) -> float:
    return next(
        u.time for u in updates if u.prefix == prefix and u.announced is announced and u.time >= since
    )


def _drops(routers: list[Router]) -> int:
    return sum(int(router.session()["connectionsDropped"]) for router in routers)


def _hold(router: Router) -> int:
    session = router.session()
    return int(session.get("bgpTimerHoldTimeMsecs", 0)) if session["bgpState"] == "Established" else 0


def _has(router: Router, count: int) -> bool:
    return accepted(router) == count


def _all_with(router: Router, community: str, count: int) -> bool:
    text = router.vtysh(f"show bgp ipv4 unicast community {community} json")
    return len(msgspec.json.decode(text).get("routes", {})) == count
