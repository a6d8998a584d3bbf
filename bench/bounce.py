"""Sessions that end and come back: how soon the routers have all routes again.

In:  a laboratory of tests/wire with a speaker and routers. Out: seconds from the end of the sessions.
"""

import time
from functools import partial

from bench.aims import Line
from bench.chain import accepted
from bench.processes import ahead, seconds
from tests.wire.bgp_lab import Agent, Attributes, Key, Lab, Router
from tests.wire.doing import wait_for


def wanted(routers: list[Router], count: int) -> dict[Key, Attributes]:
    """Routes for each of them, all with the same attributes."""
    return {
        (router.v4, f"198.{18 + n // 65536}.{n // 256 % 256}.{n % 256}/32"): {"med": 7}
        for router in routers
        for n in range(count)
    }


def bounce(
    lab: Lab, agent: Agent, routers: list[Router], count: int, *, realtime: bool = False
) -> list[Line]:
    """All routers end their sessions at once, without graceful restart."""
    wants = wanted(routers, count)
    start = seconds(lab.speaker.exabgp()), seconds(lab.speaker.pid)
    began = time.perf_counter()
    agent.want(wants)
    _whole(agent, routers, count)
    first = time.perf_counter() - began
    agent.settled(wants, 60)
    cpu = seconds(lab.speaker.exabgp()), seconds(lab.speaker.pid)
    with ahead(realtime):
        began = time.perf_counter()
        for router in routers:
            router.vtysh("clear bgp ipv4 unicast *")
        _whole(agent, routers, count, dropped=1)
        took = time.perf_counter() - began
        agent.settled(wants, 60)
        told = time.perf_counter() - began
    what = f"{count:,} routes to {len(routers)} peers"
    return [
        Line(f"{what}, at first", first),
        Line("… CPU of ExaBGP", cpu[0] - start[0]),
        Line("… CPU of the parent", cpu[1] - start[1]),
        Line(f"{what} after a bounce", took, aim=3.0),
        Line("… until each is confirmed", told),
        Line("… CPU of ExaBGP", seconds(lab.speaker.exabgp()) - cpu[0]),
        Line("… CPU of the parent", seconds(lab.speaker.pid) - cpu[1]),
    ]


def _whole(agent: Agent, routers: list[Router], count: int, dropped: int = 0) -> None:
    """Every router has all routes; the agent goes on reading, as the real one does."""

    def there(router: Router) -> bool:
        agent.listen(0)
        return int(router.session()["connectionsDropped"]) >= dropped and accepted(router) == count

    for router in routers:
        wait_for(partial(there, router), f"{count} routes at router {router.number}", 60)
