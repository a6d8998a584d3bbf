"""Laws of the journal: whatever happens, the routers end with what is wanted, and we know that they do.

The judge is a model of ExaBGP with the faults that were measured (exabgp_model.py), on a virtual clock.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metalbgp.bgp import wire
from metalbgp.model.routes import Attributes
from tests.laws.bgp_world import PEERS, PREFIXES, settled

peers = st.sampled_from(PEERS)
wants = st.tuples(
    st.just("want"), peers, st.sampled_from(PREFIXES), st.sampled_from((None, None, 1, 2)) | st.just(1)
)
progress = st.one_of(
    st.tuples(st.just("take"), st.just(0)),
    st.tuples(st.just("send"), peers, st.integers(1, 3)),
    st.tuples(st.just("hear"), st.integers(1, 4)),
)
trouble = st.one_of(
    st.tuples(st.sampled_from(("up", "down")), peers),
    st.tuples(st.just("helper"), st.integers(0, 3)),
    st.tuples(st.just("child"), st.just(0)),
    st.tuples(st.sampled_from(("neighbors", "refused")), peers),
)
bounces = st.tuples(st.sampled_from(("up", "down")), peers)


@pytest.mark.parametrize("mended", [True, False])
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.one_of(wants, wants, progress, progress, bounces), min_size=40, max_size=120))
def test_any_interleaving_of_wants_and_bounces_ends_in_the_wanted_state(
    mended: bool, steps: list[tuple[Any, ...]]
) -> None:
    world = settled(mended=mended)
    for step in steps:
        world.do(step)
    world.settle()
    world.check()
    assert world.restarts == 0


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.one_of(wants, wants, progress, progress, trouble), min_size=40, max_size=120))
def test_lost_helpers_dead_children_changed_and_refused_peers_end_in_the_wanted_state_too(
    steps: list[tuple[Any, ...]],
) -> None:
    world = settled()
    for step in steps:
        world.do(step)
    world.settle()
    world.check()


def test_a_route_that_is_as_wanted_is_never_sent_again() -> None:
    world = settled()
    world.do(("want", PEERS[0], PREFIXES[0], 1))
    world.settle()
    before = len(world.written)
    world.do(("want", PEERS[0], PREFIXES[0], 1))
    world.settle()
    assert world.written[before:] == []


def test_a_router_that_reads_nothing_holds_up_no_other_and_does_not_cost_the_child() -> None:
    world = settled()
    many = [(PEERS[0], f"198.51.{n // 250}.{n % 250}/32", Attributes(med=n)) for n in range(1000)]
    world.act(world.machine.want(many, world.now))
    for _ in range(1000):  # everything is taken, and nothing of the first router's goes to the wire
        world.exabgp.step()
        world.exabgp.send(PEERS[1], 2)
        world.hear(5)
    world.do(("want", PEERS[1], PREFIXES[0], 1))
    for _ in range(10):
        world.exabgp.step()
        world.exabgp.send(PEERS[1], 2)
        world.hear(5)
    assert world.exabgp.peers[PEERS[1]].router == {PREFIXES[0]: "med 1"}
    for _ in range(60):  # 30 s: launch.py's time for it is twice the hold time
        world.now += 0.5
        world.act(world.machine.wake(world.now))
        world.exabgp.step()
        world.hear(5)
    assert world.restarts == 0
    world.settle()
    assert len(world.exabgp.peers[PEERS[0]].router) == 1000 and world.restarts == 0


def test_nothing_is_sent_to_a_session_that_is_down() -> None:
    world = settled()
    world.exabgp.down(PEERS[0])
    world.hear(5)
    before = len(world.written)
    for med in (1, 2, None, 3):
        world.do(("want", PEERS[0], PREFIXES[0], med))
    assert world.written[before:] == []
    assert world.machine.state(world.machine.routes[PEERS[0]][PREFIXES[0]]) == "waiting"


def test_what_nobody_wants_any_more_is_not_announced_when_a_session_comes_back() -> None:
    """ExaBGP replays what it holds: the router would have the dead route for a moment, and count it."""
    world = settled()
    for prefix in PREFIXES[:2]:
        world.do(("want", PEERS[0], prefix, 1))
    world.settle()
    world.exabgp.down(PEERS[0])
    world.hear(10)
    world.do(("want", PEERS[0], PREFIXES[0], None))
    while world.exabgp.step() or world.hear():
        pass
    assert PREFIXES[0] not in world.machine.routes[PEERS[0]]
    router = world.exabgp.peers[PEERS[0]].router
    world.exabgp.up(PEERS[0])
    while world.exabgp.send(PEERS[0], 1) or world.exabgp.step() or world.hear():
        assert PREFIXES[0] not in router
    assert router == {PREFIXES[1]: "med 1"}


def test_end_of_rib_follows_the_replay_for_each_session() -> None:
    world = settled()
    for prefix in PREFIXES:
        world.do(("want", PEERS[0], prefix, 1))
    world.settle()
    world.exabgp.down(PEERS[0])
    world.hear(10)
    world.exabgp.up(PEERS[0])
    world.hear(10)
    before = len(world.written)
    world.exabgp.send(PEERS[0], 3)
    world.hear(10)
    assert world.written[before:] == []
    world.settle()
    assert world.written[before:] == [f"neighbor {PEERS[0]} announce eor ipv4 unicast"]


def test_a_reload_is_asked_for_only_when_nothing_is_outstanding() -> None:
    world = settled()
    world.do(("want", PEERS[0], PREFIXES[0], 1))
    world.do(("neighbors", PEERS[1]))
    assert "reload" not in world.written[-2:]
    world.settle()
    assert world.written[-2:] == ["reload", "show neighbor configuration"]


def test_prefixes_that_share_their_attributes_share_a_command() -> None:
    world = settled()
    many = [(PEERS[0], f"198.51.{n // 250}.{n % 250}/32", Attributes(med=7)) for n in range(450)]
    before = len(world.written)
    world.act(world.machine.want(many, world.now))
    world.settle()
    assert len(world.written) - before <= 10
    assert len(world.exabgp.peers[PEERS[0]].router) == 450


def test_a_silent_child_is_restarted() -> None:
    world = settled()
    world.exabgp.helper = False  # it reads nothing and says nothing
    world.act(world.machine.want([(PEERS[0], PREFIXES[0], Attributes())], world.now))
    world.wanted[PEERS[0], PREFIXES[0]] = Attributes()
    for _ in range(60):
        world.now += 0.5
        world.act(world.machine.wake(world.now))
    assert world.restarts == 1
    world.settle()
    world.check()


def test_a_peer_that_goes_takes_its_routes_with_it_and_no_withdrawal_is_waited_for() -> None:
    """Without graceful restart: the end of the session is the end of its routes, however many they are."""
    world = settled(mended=True)
    for prefix in PREFIXES:
        for peer in PEERS:
            world.do(("want", peer, prefix, 1))
    world.settle()
    world.written.clear()
    world.do(("neighbors", PEERS[1]))
    world.settle()
    world.check()
    assert wire.RELOAD in world.written
    assert not [line for line in world.written if "withdraw" in line]
