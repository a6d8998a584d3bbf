"""What it costs the speaker when a router sends it a whole table: nothing that lasts.

In:  a laboratory of tests/wire with a speaker, the number of routes.
Out: Flood: CPU, memory before, at the peak and after, and what became of our own routes meanwhile.
The router is a real FRR that originates the routes and holds them back until a prefix list lets them go, so
that the flood begins when everything else stands.
"""

import json
import statistics
import time
from typing import Final

from msgspec import Struct

from bench.aims import Line
from bench.processes import peak, resident, seconds, start_peak
from tests.wire.bgp_lab import SPEAKER, Agent, Attributes, Key, Lab, Router
from tests.wire.doing import run, wait_for

GROUPS: Final = 20  # of attributes; FRR takes minutes to read a file in which routes have 1,000 route maps
OWN: Final = 100
LIST: Final = "flood"  # FRR lets nothing pass by a prefix list that is not there
PATIENCE: Final = 120.0  # seconds


class Flood(Struct, frozen=True):
    """`times` times so many routes, one after the other."""

    routes: int
    times: int
    seconds: float  # from the first to the last that was read
    cpu: float  # of ExaBGP, seconds
    cpu_parent: float
    before: float  # resident memory of ExaBGP, MiB
    peak: float
    after: float
    changes: tuple[float, ...]  # ms from wanted to confirmed of our own changes meanwhile
    lost: int  # of our own routes, at the router
    drops: int  # sessions that ended

    def lines(self) -> list[Line]:
        said = f"{self.routes:,} routes from a router, {self.times} times"
        return [
            Line(f"{said}: until all were read", self.seconds),
            Line(f"{said}: CPU of ExaBGP", self.cpu, aim=0.1),
            Line(f"{said}: CPU of the parent", self.cpu_parent, aim=0.1),
            Line("memory of ExaBGP before", self.before, "MiB"),
            Line("memory of ExaBGP: what the peak added", max(0.0, self.peak - self.before), "MiB", 2.0),
            Line("memory of ExaBGP: what stayed", max(0.0, self.after - self.before), "MiB", 1.0),
            Line("our own changes meanwhile, p50", statistics.median(self.changes), "ms", 10.0),
            Line("our own routes lost at the router", self.lost, "", 0),
            Line("sessions ended", self.drops, "", 0),
        ]


def originate(router: Router, routes: int) -> None:
    """Start the router with so many routes of its own, told to nobody yet."""
    maps = "".join(f"route-map g{n} permit 10\n set community 65101:{n}\n!\n" for n in range(GROUPS))
    networks = "\n".join(
        f"  network 100.{64 + n // 65536}.{n // 256 % 256}.{n % 256}/32 route-map g{n % GROUPS}"
        for n in range(routes)
    )
    lines = f" address-family ipv4 unicast\n{networks}\n exit-address-family"
    router.start(neighbor_lines=(f"prefix-list {LIST} out",), lines=lines, before=maps)
    wait_for(lambda: _held(router) >= routes, f"{routes} routes in the router itself", PATIENCE)


def flood(lab: Lab, agent: Agent, router: Router, routes: int, times: int = 5) -> Flood:
    """Let them go, and see what happens; the session stands, the router was started by originate()."""
    own: dict[Key, Attributes] = {(router.v4, f"192.0.2.{n}/32"): {"med": 1} for n in range(OWN)}
    agent.want(own)
    agent.settled(own)
    wait_for(lambda: _accepted(router) == OWN, "our own routes at the router")
    changes = [_changed(agent, router)]  # what a first change loads is no part of the flood
    child = lab.speaker.exabgp()
    before, start, parent = resident(child), seconds(child), seconds(lab.speaker.pid)
    start_peak(child)
    fewest = OWN
    began = time.perf_counter()
    for number in range(times):
        again = router.session()["messageStats"]["updatesSent"] + GROUPS
        if number:
            router.vtysh(f"clear bgp ipv4 unicast {router.ours4} soft out")
        else:
            router.vtysh("configure terminal", f"ip prefix-list {LIST} seq 5 permit any")
        while not _all_sent(router, routes, again) or _under_way(router):
            if time.perf_counter() - began > PATIENCE:
                raise AssertionError(f"the router did not send {routes} routes: {router.session()}")
            changes.append(_changed(agent, router))
            fewest = min(fewest, _accepted(router))
    took = time.perf_counter() - began
    return Flood(
        routes=routes,
        times=times,
        seconds=took,
        cpu=seconds(child) - start,
        cpu_parent=seconds(lab.speaker.pid) - parent,
        before=before,
        peak=peak(child),
        after=resident(child),
        changes=tuple(changes[1:]),
        lost=OWN - fewest,
        drops=router.session()["connectionsDropped"],
    )


def _changed(agent: Agent, router: Router) -> float:
    """Milliseconds from wanted to confirmed on the wire, of a route that comes and goes again."""
    key = (router.v4, "198.51.100.1/32")
    asked = time.perf_counter()
    agent.want({key: {"med": 1}})
    agent.until(lambda: agent.routes.get(key) == "confirmed", "our own change")
    took = (time.perf_counter() - asked) * 1000
    agent.want({key: None})
    agent.until(lambda: agent.routes.get(key) == "withdrawn", "and back")
    return took


def _held(router: Router) -> int:
    """Routes that the router has taken in from its own configuration."""
    return int(json.loads(router.vtysh("show bgp ipv4 unicast summary json")).get("tableVersion", 0))


def _accepted(router: Router) -> int:
    """How many of our routes the router holds, without the one that comes and goes."""
    taken = router.session()["addressFamilyInfo"]["ipv4Unicast"].get("acceptedPrefixCounter", 0)
    return min(OWN, int(taken))


def _all_sent(router: Router, routes: int, updates: int) -> bool:
    """The router has put its last route into its socket."""
    session = router.session()
    family, stats = session["addressFamilyInfo"]["ipv4Unicast"], session["messageStats"]
    sent = family.get("sentPrefixCounter", 0) >= routes and stats["updatesSent"] >= updates
    return sent and not family.get("packetQueueLength", 0) and not stats["depthOutq"]


def _under_way(router: Router) -> bool:
    """Whether a kernel holds bytes that the other end has not read."""
    return any(
        int(count)
        for namespace in (router.namespace, SPEAKER)
        for line in run("ip", "netns", "exec", namespace, "ss", "-tnH", "state", "established").splitlines()
        for count in line.split()[:2]
    )
