"""A router that takes neighbours from a range, and a session begun anew: neither end may be fooled."""

import select
import time

from tests.wire.bgp_lab import Agent, Attributes, Key, Lab, Router
from tests.wire.doing import run

RANGE = """ neighbor nodes peer-group
 neighbor nodes remote-as 65001
 bgp listen range 10.90.1.0/24 peer-group nodes
"""


def connections(router: Router) -> int:
    """Those that the router's kernel has accepted, also while bgpd looks away."""
    words = ("ss", "-Htn", "state", "established", "sport", "=", ":179")
    return len(run("ip", "netns", "exec", router.namespace, *words).splitlines())


def unknocked(router: Router) -> None:
    """For half a second: the mend waits for a whole one; without it, it knocks at once."""
    heard = time.monotonic()
    while True:
        found, late = connections(router), time.monotonic() - heard > 0.5
        assert late or found == 0  # on a busy machine a look may take until the second is over
        if late:
            break
        select.select([], [], [], 0.02)


def known_by_range(lab: Lab) -> tuple[Router, Agent, dict[Key, Attributes]]:
    """A session that the router knows by its range alone, and one route."""
    router = lab.router(1)
    router.start(peers=(), lines=RANGE)
    lab.speaker.start()
    agent = lab.speaker.agent()
    wants: dict[Key, Attributes] = {(router.v4, "192.0.2.1/32"): {}}
    agent.want(wants)
    agent.neighbors(router.neighbor())
    agent.established(router.v4)
    lab.equal(wants)
    return router, agent, wants


def test_a_session_begun_anew_is_never_one_that_the_router_has_forgotten(lab: Lab) -> None:
    """FRR drops a dynamic neighbor whose next connection comes before it has closed the last one.

    The kernel's connection stays, and keepalives with it: to us it is a session, to the router nothing.
    """
    router, agent, wants = known_by_range(lab)
    for turn in range(4):
        router.pause()
        try:
            agent.neighbors(router.neighbor(hold_time=20 + turn))
            agent.until(lambda: agent.sessions[router.v4]["state"] == "Connect", "the Cease is sent")
            unknocked(router)
        finally:
            router.go_on()
        agent.established(router.v4)
        lab.equal(wants)


def test_a_connection_that_is_reset_is_not_begun_anew_before_the_router_has_looked(lab: Lab) -> None:
    router, agent, wants = known_by_range(lab)
    for turn in range(3):
        router.pause()
        try:
            words = ("ss", "-K", "state", "established", "sport", "=", ":179")
            run("ip", "netns", "exec", router.namespace, *words)
            agent.until(lambda t=turn: agent.sessions[router.v4]["flaps"] == t + 1, "its end")
            unknocked(router)
        finally:
            router.go_on()
        agent.established(router.v4)
        lab.equal(wants)


def test_a_router_that_never_closes_is_dialled_again_all_the_same(lab: Lab) -> None:
    router = lab.router(1)
    router.start(peers=(), lines=RANGE)
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(router.neighbor())
    agent.established(router.v4)
    router.pause()
    try:
        agent.neighbors(router.neighbor(hold_time=20))
        agent.until(lambda: connections(router) == 1, "a new connection")
    finally:
        router.go_on()
