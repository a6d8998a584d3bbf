"""Every fault of docs/layer2.md on a virtual clock, where bounds are exact.

The same faults on real links are tests/wire/test_l2_faults.py.
One file because it is read beside that page's table, row by row.
"""

import pytest

from metalbgp.l2.members import SLOW, Self
from metalbgp.l2.standing import Duty, Standing
from tests.laws.l2_world import VIP, VIP6, World, by_ethertype, is_beat

DETECT = 0.25
HEARTBEAT = 0.05
ASK = 0.13  # three questions and the time to answer them
INSTANT = 0.002


@pytest.fixture(params=[VIP, VIP6], ids=["ipv4", "ipv6"])
def address(request: pytest.FixtureRequest) -> bytes:
    return bytes(request.param)


def world(
    *names: str, candidates: str = "", addresses: tuple[bytes, ...] = (VIP,), revertive: bool = True
) -> World:
    made = World(*(names or ("n1", "n2", "n3")))
    made.start(candidates, addresses=addresses, revertive=revertive)
    return made


def test_the_first_of_the_candidates_owns_and_nobody_else(address: bytes) -> None:
    it = world(candidates="n2 n3 n1", addresses=(address,))
    assert it.owners(address) == {"n2"}


@pytest.mark.parametrize("fault", ["kill", "pause", "cut"])
def test_after_a_crash_a_stop_or_a_cut_the_next_one_answers(fault: str, address: bytes) -> None:
    it = world(addresses=(address,))
    since = it.now
    getattr(it, fault)("n1")
    it.run(2.0)
    assert it.moves(since, address)[-1] == "n2"
    assert it.nobody(since, address) <= DETECT + INSTANT
    assert it.several(since, address) == 0


@pytest.mark.parametrize(("fault", "end"), [("pause", "resume"), ("cut", "mend")])
def test_who_returns_takes_over_without_a_moment_of_two(fault: str, end: str) -> None:
    it = world()
    getattr(it, fault)("n1")
    it.run(2.0)
    since = it.now
    getattr(it, end)("n1")
    it.run(2.0)
    assert it.moves(since) == ["n2", "n1"]
    assert it.nobody(since) <= INSTANT
    assert it.several(since) == 0


def test_a_node_that_was_stopped_answers_nothing_before_it_has_listened() -> None:
    it = world()
    it.pause("n1")
    it.run(0.19)  # not long enough for anybody to notice
    it.resume("n1")
    it.run(1.0)
    assert it.moves(it.now - 1.19) == ["n1"]
    since = it.now
    it.pause("n1")
    it.run(0.21)  # the others are about to notice
    it.resume("n1")
    assert it.owners() == set()
    it.run(2.0)
    assert it.several(since) == 0
    assert it.hosts["n1"].node.members.stalls == 1


def test_a_clean_stop_leaves_no_moment_without_an_answer() -> None:
    it = world()
    since = it.now
    it.leave("n1")
    it.run(1.0)
    assert it.moves(since) == ["n1", "n2"]
    assert it.nobody(since) == 0
    assert it.several(since) <= 0.01  # the successor answers first, then we stop


def test_non_revertive_stays_where_it_is() -> None:
    it = world(revertive=False)
    it.kill("n1")
    it.run(1.0)
    since = it.now
    it.hosts["n1"].start()
    it.run(3.0)
    assert it.moves(since) == ["n2"]
    it.leave("n2")
    it.run(1.0)
    assert it.owners() == {"n1"}
    assert it.nobody(since) == 0


def test_non_revertive_stays_also_when_the_controller_lists_the_returning_node_again() -> None:
    it = World("n1", "n2", "n3")
    other = {VIP6: Duty(None, ("n1", "n2", "n3"))}  # by it the nodes know each other all the time
    listed = other | {VIP: Duty(None, ("n1", "n2", "n3"), revertive=False)}
    shorter = other | {VIP: Duty(None, ("n2", "n3"), revertive=False)}
    for host in it.hosts.values():
        host.duties = dict(listed)
        host.start()
    it.run(2.0)
    it.kill("n1")
    it.run(1.0)
    for name in ("n2", "n3"):  # its pod is not ready
        it.hosts[name].assign(shorter)
    it.hosts["n1"].duties = dict(other)
    it.hosts["n1"].start()
    it.run(2.0)
    since = it.now
    for name in ("n1", "n3", "n2"):
        it.hosts[name].assign(listed)
        it.run(0.2)
    it.run(3.0)
    assert it.moves(since) == ["n2"]
    assert it.several(since) == it.nobody(since) == 0


def test_two_nodes_are_enough_for_a_takeover_and_the_silent_one_is_asked_for_first() -> None:
    it = world("n1", "n2")
    since = it.now
    it.kill("n1")
    it.run(2.0)
    assert it.owners() == {"n2"}
    assert DETECT + 0.1 < it.nobody(since) <= DETECT + ASK


def test_a_successors_answer_does_not_keep_the_dead_owner_alive() -> None:
    """n2 was stopped while n1 died, so n3 took over; back, n2 asks for n1's addresses, and hears n3."""
    it = world("n1", "n2", "n3", "n4")
    it.cut("n1")
    it.run(0.02)
    it.pause("n2")
    it.run(0.19)
    it.resume("n2")
    since = it.now
    it.run(3.0)
    assert it.owners() == {"n2"}
    assert it.nobody(since) <= DETECT + ASK and it.several(since) == 0


def test_of_two_nodes_that_do_not_hear_each_others_heartbeats_none_takes_what_the_other_answers_for() -> None:
    it = world("n1", "n2")
    since = it.now
    it.loses = lambda sender, receiver, segment, frame: is_beat(frame)
    it.run(100.0)
    assert it.moves(since) == ["n1"]
    assert it.nobody(since) == it.several(since) == 0


def test_when_all_heartbeats_are_lost_nobody_claims_anything_new() -> None:
    it = World("n1", "n2", "n3")
    duties = {VIP: Duty(None, ("n1", "n2", "n3")), VIP6: Duty(None, ("n2", "n3", "n1"))}
    for host in it.hosts.values():
        host.duties = duties
        host.start()
    it.run(2.0)
    since = it.now
    it.loses = lambda sender, receiver, segment, frame: is_beat(frame)
    it.run(20.0)
    assert (it.moves(since), it.moves(since, VIP6)) == (["n1"], ["n2"])
    assert it.several(since) == it.nobody(since) == 0
    it.loses = lambda sender, receiver, segment, frame: False
    it.run(2.0)
    assert (it.moves(since), it.moves(since, VIP6)) == (["n1"], ["n2"])


def test_a_node_that_hears_nobody_claims_what_the_api_server_leaves_to_it_alone() -> None:
    it = world()
    it.kill("n1")
    it.kill("n2")
    it.run(5.0)
    assert it.owners() == set()  # it may be us who is cut off
    it.hosts["n3"].assign({VIP: Duty(None, ("n3",))})  # the controller no longer lists the dead
    it.run(0.1)
    assert it.owners() == {"n3"}


@pytest.mark.parametrize("deaf", ["n1", "n2"])
def test_heartbeats_that_arrive_in_one_direction_only_never_make_two(deaf: str) -> None:
    it = world("n1", "n2")
    since = it.now
    it.loses = lambda sender, receiver, segment, frame: is_beat(frame) and receiver == deaf
    it.run(10.0)
    assert it.several(since) == 0
    assert it.nobody(since) <= DETECT + ASK + HEARTBEAT
    assert len(it.owners()) == 1
    it.loses = lambda sender, receiver, segment, frame: False
    since = it.now
    it.run(5.0)
    assert it.owners() == {"n1"}
    assert it.several(since) <= HEARTBEAT


def test_an_owner_that_nothing_reaches_is_asked_for_and_replaced() -> None:
    it = world()
    since = it.now
    it.loses = lambda sender, receiver, segment, frame: receiver == "n1"
    it.run(3.0)
    assert it.owners() == {"n1", "n2"}  # n1 cannot know, and answers nobody, for no question reaches it
    assert it.moves(since)[:1] == ["n1"]
    found = it.now
    it.loses = lambda sender, receiver, segment, frame: False
    it.run(2.0)
    assert it.owners() == {"n1"}
    assert it.several(found) <= HEARTBEAT + INSTANT


def test_an_owner_of_whom_nothing_but_heartbeats_is_lost_gives_way_to_its_successor() -> None:
    it = world()
    since = it.now
    it.loses = lambda sender, receiver, segment, frame: is_beat(frame) and "n1" in (sender, receiver)
    it.run(10.0)
    assert it.owners() == {"n2"}
    assert it.several(since) <= INSTANT  # its successor's first announcement tells it
    it.loses = lambda sender, receiver, segment, frame: False
    found = it.now
    it.run(2.0)
    assert it.owners() == {"n1"}
    assert it.several(found) <= HEARTBEAT + INSTANT


def test_a_third_party_between_them_decides_who_of_two_goes_on() -> None:
    it = world()
    since = it.now
    it.loses = lambda sender, receiver, segment, frame: is_beat(frame) and (sender, receiver) == ("n1", "n3")
    it.run(10.0)
    assert it.moves(since) == ["n1"]  # n3 hears n2, which stands before it
    assert it.several(since) == it.nobody(since) == 0


def test_a_partition_leaves_one_owner_in_each_half_and_healing_one_in_all() -> None:
    it = world()
    since = it.now
    it.part({"n1"}, {"n2", "n3"})
    it.run(5.0)
    assert it.owners() == {"n1", "n2"}
    assert it.several(since, among={"n2", "n3"}) == 0
    since = it.now
    it.loses = lambda sender, receiver, segment, frame: False
    it.run(5.0)
    assert it.moves(since)[-1] == "n1"
    assert it.several(since) <= HEARTBEAT + INSTANT
    assert it.nobody(since) == 0


def test_thirty_percent_loss_moves_nothing_and_a_dead_node_is_still_noticed() -> None:
    it = world()
    since = it.now
    it.loses = lambda sender, receiver, segment, frame: it.random.random() < 0.3
    it.run(300.0)
    assert len(it.moves(since)) <= 3
    assert it.nobody(since) + it.several(since) <= 0.6
    it.kill(it.moves(since)[-1])
    since = it.now
    it.run(5.0)
    assert len(it.owners()) == 1
    assert it.nobody(since) <= 2 * DETECT + 4 * HEARTBEAT


def test_where_our_ethertype_is_dropped_udp_does_it() -> None:
    it = world()
    since = it.now
    it.loses = lambda sender, receiver, segment, frame: by_ethertype(frame)
    it.run(10.0)
    assert it.moves(since) == ["n1"]
    assert it.several(since) == it.nobody(since) == 0
    assert all(host.node.members.by_udp("eth0", it.now) for host in it.hosts.values())
    since = it.now
    it.kill("n1")
    it.run(2.0)
    assert it.owners() == {"n2"}
    assert it.nobody(since) <= DETECT + HEARTBEAT
    it.hosts["n1"].start()
    it.run(3.0)
    assert it.owners() == {"n1"}
    it.loses = lambda sender, receiver, segment, frame: False
    it.run(30.0)
    assert not any(host.node.members.by_udp("eth0", it.now) for host in it.hosts.values())


def test_without_a_key_a_node_owns_nothing() -> None:
    it = World("n1", "n2", "n3")
    it.hosts["n1"].key = None
    it.start()
    assert it.owners() == {"n2"}
    assert it.hosts["n1"].node.members.state is Self.NO_KEY


def test_a_node_with_another_key_claims_nothing_and_the_others_go_on() -> None:
    it = World("n1", "n2", "n3")
    it.hosts["n1"].key = b"x" * 32
    it.start()
    since = it.now
    it.run(10.0)
    assert it.moves(since) == ["n2"]
    assert it.several(since) == it.nobody(since) == 0


def test_recorded_heartbeats_do_not_keep_a_dead_node_alive() -> None:
    it = world()
    it.kill("n1")
    since = it.now
    old = [frame for sender, frame in it.recorded if sender == "n1"]
    for number, frame in enumerate(old[-40:] * 3):
        it.at(it.now + 0.02 * number, lambda frame=frame: it.put("nobody", "lan", frame))
    it.run(3.0)
    assert it.moves(since) == ["n2"]
    assert it.nobody(since) <= DETECT + INSTANT


def test_of_two_nodes_with_one_name_the_older_goes_on() -> None:
    it = World("n1", "n2", "twin")
    for name in ("n1", "n2"):
        it.hosts[name].duties = {VIP: Duty(None, ("n1", "n2"))}
        it.hosts[name].start()
    it.run(2.0)
    since = it.now
    it.hosts["twin"].known_as = "n1"
    it.hosts["twin"].duties = {VIP: Duty(None, ("n1", "n2"))}
    it.hosts["twin"].start()
    it.run(5.0)
    assert it.moves(since) == ["n1"]
    assert it.several(since) == it.nobody(since) == 0
    assert it.hosts["twin"].node.members.state is Self.DUPLICATE
    assert it.hosts["n1"].node.members.twin
    it.kill("n1")
    it.run(3.0)
    assert it.owners() == {"twin"}


def test_a_node_that_lost_one_of_two_links_leaves_both_segments_to_a_whole_one() -> None:
    it = World("n1", "n2", "n3", segments=("lan", "dmz"))
    it.start()
    since = it.now
    it.cut("n1", "eth1")
    it.run(2.0)
    for segment in ("lan", "dmz"):
        assert it.moves(since, segment=segment)[-1] == "n2"
        assert it.several(since, segment=segment) <= HEARTBEAT
        assert it.nobody(since, segment=segment) <= INSTANT
    since = it.now
    it.mend("n1")
    it.run(2.0)
    for segment in ("lan", "dmz"):
        assert it.moves(since, segment=segment)[-1] == "n1"
        assert it.several(since, segment=segment) <= HEARTBEAT
        assert it.nobody(since, segment=segment) <= HEARTBEAT


def test_an_address_of_one_segment_follows_that_segments_link_alone() -> None:
    it = World("n1", "n2", segments=("lan", "dmz"))
    for host in it.hosts.values():
        host.duties = {VIP: Duty(frozenset({"eth1"}), ("n1", "n2"))}
        host.start()
    it.run(2.0)
    assert it.owners(segment="dmz") == {"n1"} and it.owners(segment="lan") == set()
    since = it.now
    it.cut("n1", "eth1")
    it.run(2.0)
    assert it.owners(segment="dmz") == {"n2"}
    assert it.nobody(since, segment="dmz") <= INSTANT  # n1 says on the other segment what it lost
    since = it.now
    it.mend("n1")
    it.run(2.0)
    assert it.owners(segment="dmz") == {"n1"}
    assert it.several(since, segment="dmz") <= INSTANT
    assert it.nobody(since, segment="dmz") <= HEARTBEAT


def test_an_address_added_while_running_has_one_owner_from_the_first_moment() -> None:
    it = world()
    duties = it.hosts["n1"].duties | {VIP6: Duty(None, ("n2", "n1", "n3"))}
    since = it.now
    for name in ("n3", "n1", "n2"):  # watches differ
        it.hosts[name].assign(duties)
        it.run(0.3)
    assert it.moves(since, VIP6) == ["n2"]
    assert it.several(since, VIP6) == 0
    it.hosts["n2"].assign({VIP: Duty(None, ("n1", "n2", "n3"))})
    assert it.owners(VIP6) == set()


@pytest.mark.parametrize("revertive", [True, False])
def test_what_a_candidate_declines_is_the_next_ones_at_once_and_nothing_beside_it_moves(
    address: bytes, revertive: bool
) -> None:
    beside = bytes((*address[:-1], 101))
    it = world(addresses=(address, beside), revertive=revertive)
    host = it.hosts["n1"]
    asked = host.duties[address]
    began = since = it.now
    host.assign({**host.duties, address: asked._replace(declined=True)})
    it.run(1.0)
    assert it.moves(since, address) == ["n2"]
    assert it.nobody(since, address) <= INSTANT and it.several(since, address) == 0
    assert it.hosts["n3"].node.ownership.duties[address].standing == Standing(
        "n2", False, (("n1", "declining"), ("n2", "live"), ("n3", "self"))
    )
    since = it.now
    it.kill("n2")  # the next one after it, not the one that will not
    it.run(1.0)
    assert it.moves(since, address) == ["n3"]
    back = it.now
    host.assign({**host.duties, address: asked})
    it.run(1.0)
    assert it.owners(address) == {"n1" if revertive else "n3"}
    assert it.several(back, address) <= INSTANT and it.nobody(back, address) == 0
    assert it.moves(began, beside) == ["n1"]


def test_who_declines_before_others_know_the_address_or_in_another_life_never_answers_for_it() -> None:
    it = world()
    duty = Duty(None, ("n1", "n2", "n3"))
    since = it.now
    it.hosts["n1"].assign({**it.hosts["n1"].duties, VIP6: duty._replace(declined=True)})
    it.run(0.3)
    for name in ("n2", "n3"):
        it.hosts[name].assign({**it.hosts[name].duties, VIP6: duty})
    it.run(0.3)
    assert it.moves(since, VIP6) == ["n2"]
    it.hosts["n1"].start()  # another life says it again
    it.run(2.0)
    assert it.moves(since, VIP6) == ["n2"] and it.several(since, VIP6) == 0
    assert it.owners() == {"n1"}


def test_what_every_candidate_declines_is_answered_by_nobody() -> None:
    it = world()
    for host in it.hosts.values():
        host.assign({VIP: host.duties[VIP]._replace(declined=True)})
    it.run(1.0)
    assert it.owners() == set()


def test_the_whole_list_dead_at_once_leaves_nobody_until_the_controller_lists_others() -> None:
    it = World("n1", "n2", "n3", "n4")
    it.start("n1 n2")
    it.kill("n1")
    it.kill("n2")
    it.run(5.0)
    assert it.owners() == set()
    for name in ("n3", "n4"):
        it.hosts[name].assign({VIP: Duty(None, ("n3", "n4"))})
    it.run(3.0)
    assert it.owners() == {"n3"}


def test_slow_hearts_take_longer_and_say_so() -> None:
    it = World("n1", "n2", "n3")
    for host in it.hosts.values():
        host.pace = SLOW
    it.start(settle=4.0)
    since = it.now
    it.kill("n1")
    it.run(5.0)
    assert it.moves(since)[-1] == "n2"
    assert 1.0 <= it.nobody(since) <= 1.2 + INSTANT


def test_a_fenced_address_is_answered_for_only_while_the_lease_is_held() -> None:
    it = World("n1", "n2", "n3")
    it.start(fenced=True)
    owner = it.hosts["n1"].node.ownership
    assert it.owners() == set()
    assert owner.wants == {VIP}
    owner.fence({VIP: it.now + 5.0})
    it.hosts["n1"].wake()
    assert it.owners() == {"n1"}
    it.run(4.9)
    assert it.owners() == {"n1"}
    it.run(0.2)
    assert it.owners() == set()  # not renewed: whoever has it now may not share it with us
