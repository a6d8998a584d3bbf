"""Routes on real sessions: what is wanted is what FRR holds, whatever happens on the way.

Needs root, FRR and network namespaces. Section numbers of traps are those of docs on ExaBGP 5.0.15.
"""

import os
import random
import signal
from typing import Any

import pytest

from tests.wire.bgp_lab import Agent, Attributes, Key, Lab, Router
from tests.wire.doing import wait_for


def start(lab: Lab, routers: int = 1, families: tuple[int, ...] = (4, 6), **changes: Any) -> Agent:
    """Routers 1..n, the speaker, and a session for each router and family."""
    lab.speaker.start()
    neighbors = []
    for number in range(1, routers + 1):
        router = lab.router(number)
        router.start()
        neighbors += [router.neighbor(family, **changes) for family in families]
    agent = lab.speaker.agent()
    agent.neighbors(*neighbors)
    agent.established(*(n["address"] for n in neighbors))
    return agent


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # repeatable, not secret


def prefix(peer: str, number: int) -> str:
    return f"2001:db8::{number:x}/128" if ":" in peer else f"192.0.2.{number}/32"


def attributes(rng: random.Random) -> Attributes:
    if rng.random() < 0.35:
        return None
    return {"med": rng.choice((1, 2, 3)), "communities": [[65001, rng.choice((7, 8))]]}


def burst(
    rng: random.Random, peers: list[str], operations: int, prefixes: int
) -> list[tuple[Key, Attributes]]:
    return [
        ((peer, prefix(peer, rng.randint(1, prefixes))), attributes(rng))
        for peer in (rng.choice(peers) for _ in range(operations))
    ]


def say_one_by_one(agent: Agent, operations: list[tuple[Key, Attributes]]) -> dict[Key, Attributes]:
    for key, value in operations:
        agent.want({key: value})
    return dict(operations)


def peers_of(*routers: Router) -> list[str]:
    return [address for r in routers for address in (r.v4, r.v6)]


def test_a_route_is_confirmed_when_the_router_has_it_and_gone_when_withdrawn(lab: Lab) -> None:
    agent = start(lab)
    router = lab.routers[1]
    wants: dict[Key, Attributes] = {
        (router.v4, "192.0.2.1/32"): {"communities": [[65001, 100], [65535, 0]], "med": 5},
        (router.v6, "2001:db8::1/128"): {"large_communities": [[65001, 1, 2]]},
    }
    agent.want(wants)
    agent.settled(wants)
    lab.equal(wants)
    assert router.path("192.0.2.1/32")["community"]["list"] == ["65001:100", "gracefulShutdown"]
    assert router.path("2001:db8::1/128")["largeCommunity"]["list"] == ["65001:1:2"]
    gone: dict[Key, Attributes] = dict.fromkeys(wants)
    agent.want(gone)
    agent.settled(gone)
    lab.equal({})


@pytest.mark.parametrize("seed", range(4))
def test_pipelined_commands_on_the_same_prefix_end_in_the_wanted_state(lab: Lab, seed: int) -> None:
    agent = start(lab, routers=2)
    peers = peers_of(*lab.routers.values())
    rng = dice(seed)
    wants: dict[Key, Attributes] = {}
    for _ in range(3):
        wants |= say_one_by_one(agent, burst(rng, peers, operations=200, prefixes=30))
        agent.settled(wants)
        lab.equal(wants)


def test_an_agent_killed_in_a_burst_changes_nothing_and_the_next_one_settles(lab: Lab) -> None:
    agent = start(lab, routers=2)
    peers = peers_of(*lab.routers.values())
    rng = dice(9)
    wants = say_one_by_one(agent, burst(rng, peers, operations=100, prefixes=30))
    agent.close()
    agent = lab.speaker.agent()
    wants |= {(r[0], r[1]): None for r in agent.journal["routes"] if (r[0], r[1]) not in wants}
    wants |= dict(burst(rng, peers, operations=100, prefixes=30))
    agent.want(wants)
    agent.settled(wants)
    lab.equal(wants)
    assert not [entry for entry in agent.session_log if entry[1] != "Established"]


def test_a_killed_child_comes_back_with_every_route(lab: Lab) -> None:
    agent = start(lab)
    peers = peers_of(lab.routers[1])
    rng = dice(3)
    wants = say_one_by_one(agent, burst(rng, peers, operations=60, prefixes=30))
    old = lab.speaker.exabgp()
    os.kill(old, signal.SIGKILL)
    wants |= say_one_by_one(agent, burst(rng, peers, operations=60, prefixes=30))
    wait_for(lambda: lab.speaker.exabgp() not in (0, old), "a new child")
    agent.settled(wants)
    lab.equal(wants)


def test_a_killed_helper_loses_no_route_and_no_session(lab: Lab) -> None:
    agent = start(lab)
    peers = peers_of(lab.routers[1])
    rng = dice(4)
    wants = say_one_by_one(agent, burst(rng, peers, operations=150, prefixes=30))
    os.kill(lab.speaker.helper(), signal.SIGKILL)
    wants |= say_one_by_one(agent, burst(rng, peers, operations=150, prefixes=30))
    agent.settled(wants)
    lab.equal(wants)
    assert lab.routers[1].session()["connectionsDropped"] == 0


def test_a_bounced_session_gets_all_routes_again_and_none_that_was_withdrawn_meanwhile(lab: Lab) -> None:
    agent = start(lab)
    router = lab.routers[1]
    wants: dict[Key, Attributes] = {(router.v4, prefix(router.v4, n)): {"med": n} for n in range(1, 40)}
    agent.want(wants)
    agent.settled(wants)
    router.vtysh("clear bgp *")
    changed = {key: (None if number % 3 == 0 else {"med": 99}) for number, key in enumerate(wants)}
    agent.want(changed)
    agent.settled(changed)
    lab.equal(changed)


def test_commands_stay_right_under_repeated_session_clears(lab: Lab) -> None:
    agent = start(lab, routers=2)
    peers = peers_of(*lab.routers.values())
    rng = dice(11)
    wants: dict[Key, Attributes] = {}
    for turn in range(8):
        wants |= say_one_by_one(agent, burst(rng, peers, operations=120, prefixes=30))
        lab.routers[1 + turn % 2].vtysh("clear bgp *" if turn % 3 else "clear bgp * soft")
    agent.settled(wants, limit=30)
    lab.equal(wants)
