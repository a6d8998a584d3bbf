"""python -m bench bgp: the figures of the BGP half, each beside its aim.

In:  root, FRR, an API server's binaries. Out: a table a figure group; 1 if an aim is missed.
"""

from collections.abc import Callable

from rich.console import Console

from bench import aims, noise
from bench.aims import Line
from bench.bounce import bounce
from bench.chain import chain
from bench.changes import attribute, idle, many, one_change, peers
from bench.inbound import flood, originate
from bench.processes import ahead
from tests.wire.bgp_lab import laboratory

SERVICES = 1000
BOUNCED = 10_000
RECEIVED = 100_000


def main(console: Console, say: Callable[[str], None], *, realtime: bool = False) -> int:
    console.print(f"  before {noise.measure()}", highlight=False)
    good = True
    for title, measure in (
        ("changes, with API server and controller", _changes),
        ("a session bounce", _bounce),
        ("what a router sends", _inbound),
    ):
        say(title)
        good = aims.show(console, title, measure(say, realtime)) and good
    console.print(f"  after  {noise.measure()}", highlight=False)
    return 0 if good else 1


def _changes(say: Callable[[str], None], realtime: bool) -> list[Line]:
    with chain(routers=3) as it:
        with ahead(realtime):
            yardstick = noise.measure()
            lines = one_change(it)
        say(f"one by one; {yardstick}")
        many(it, SERVICES)
        say(f"{SERVICES} Services are announced")
        with ahead(realtime):
            lines += attribute(it, SERVICES)
            lines += peers(it)
        say("peers came and went")
        return lines + idle(it, SERVICES)


def _bounce(say: Callable[[str], None], realtime: bool) -> list[Line]:
    del say
    with laboratory() as lab:
        routers = [lab.router(number) for number in (1, 2)]
        for router in routers:
            router.start()
        lab.speaker.start()
        agent = lab.speaker.agent()
        agent.neighbors(*(router.neighbor() for router in routers))
        agent.established(*(router.v4 for router in routers))
        return bounce(lab, agent, routers, BOUNCED, realtime=realtime)


def _inbound(say: Callable[[str], None], realtime: bool) -> list[Line]:
    with laboratory() as lab:
        router = lab.router(1)
        originate(router, RECEIVED)
        say(f"the router has {RECEIVED:,} routes")
        lab.speaker.start()
        agent = lab.speaker.agent()
        agent.neighbors(router.neighbor())
        agent.established(router.v4)
        with ahead(realtime):
            return flood(lab, agent, router, RECEIVED).lines()
