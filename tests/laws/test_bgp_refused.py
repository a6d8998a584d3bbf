"""Laws of a list of peers that ExaBGP's own check refuses: all but the guilty take effect; it is named."""

from metalbgp.bgp.effects import Check, Install, RoutesChanged, Write
from tests.laws.bgp_world import PEERS, PREFIXES, World, keeps, neighbor, settled


def test_of_a_new_list_all_take_effect_but_the_peer_that_exabgp_refuses() -> None:
    world = World(mended=True, refused={PEERS[1]})
    world.do(("want", PEERS[0], PREFIXES[0], 1))
    world.settle()
    world.check()
    assert PEERS[0] in world.exabgp.peers
    assert [(one.kind, one.peer) for one in world.problems] == [("neighbor-refused", PEERS[1])]
    assert "holdtime is odd" in world.problems[0].text
    assert world.checks == [2, 1, 1, 1], "the list; each of its new peers; the list without the one"


def test_a_peer_that_changes_into_what_is_refused_keeps_its_last_good_version() -> None:
    world = settled()
    world.do(("want", PEERS[1], PREFIXES[0], 1))
    world.settle()
    world.checks.clear()
    world.written.clear()
    world.do(("refused", PEERS[1]))
    world.settle()
    world.check()
    assert keeps(world.machine.lacking[PEERS[1]])
    assert world.checks == [2, 1], "what runs already is not checked again"
    assert world.written == [], "and the child, which runs what it ran, is not spoken to"
    world.do(("refused", PEERS[1]))
    world.settle()
    world.check()


def test_a_refused_peer_is_not_checked_again_until_it_changes() -> None:
    world = World(mended=True, refused={PEERS[1]})
    world.settle()
    world.checks.clear()
    world.do(("neighbors", PEERS[0]))
    world.settle()
    assert world.checks == [0]
    world.do(("refused", PEERS[1]))
    world.settle()
    world.check()
    assert world.checks == [0, 1]
    assert PEERS[1] in world.exabgp.peers


def test_routes_of_other_sessions_go_on_while_each_peer_is_checked_alone() -> None:
    world = settled()
    world.refused = set(PEERS)
    world.now += 1
    wanted = [neighbor(a, 77) for a in PEERS]
    effects = world.machine.neighbors(wanted, world.now)
    [install] = [effect for effect in effects if isinstance(effect, Install)]
    world.do(("want", PEERS[0], PREFIXES[1], 1))
    answers = world.machine.installed(install.generation, "no", world.now)
    assert [type(effect) for effect in answers] == [Check, Write, RoutesChanged], (
        "of the first; its answer is due"
    )
    world.act([effect for effect in answers if isinstance(effect, Write)])
    world.do(("want", PEERS[0], PREFIXES[0], 1))
    world.settle()
    assert world.exabgp.peers[PEERS[0]].router == {PREFIXES[0]: "med 1", PREFIXES[1]: "med 1"}


def test_peers_that_are_refused_only_together_are_tried_once_more_and_leave_all_as_it_was() -> None:
    """Each alone is good: the check was killed, or ExaBGP refuses something that no one peer is guilty of."""
    world = World(mended=True, together=True)
    world.settle()
    assert world.checks == [2, 1, 1, 2]
    assert [one.kind for one in world.problems] == ["reload"]
    assert not world.exabgp.peers and not world.machine.lacking
    world.together = False
    world.do(("neighbors", PEERS[1]))
    world.do(("neighbors", PEERS[1]))
    world.settle()
    world.check()
    assert set(world.exabgp.peers) == set(PEERS)


def test_routes_that_waited_for_a_list_go_on_when_there_is_no_room_for_it() -> None:
    world = settled()
    world.full = True
    world.do(("want", PEERS[0], PREFIXES[0], 1))  # its answer is due, so that the list has to wait
    world.do(("neighbors", PEERS[1]))
    world.do(("want", PEERS[0], PREFIXES[1], 1))
    world.settle()
    assert world.exabgp.peers[PEERS[0]].router == {PREFIXES[0]: "med 1", PREFIXES[1]: "med 1"}
    assert PEERS[1] in world.exabgp.peers
    world.full = False
    world.act(world.machine.install_again(world.now))
    world.settle()
    world.check()
