"""Laws of answering: whatever happens in whatever order, we answer for what we hold and for nothing else."""

import socket
from collections.abc import Iterable

import pytest

from metalbgp.l2 import announcing, askers, filters, wire
from metalbgp.l2 import machine as l2
from metalbgp.l2.links import Interface
from metalbgp.l2.machine import Conflict, Join, Leave, Listen, Machine, Send

ASKER = bytes.fromhex("020000000020")
FOREIGN = bytes.fromhex("020000000066")
HOST = socket.inet_aton("192.0.2.2")
VIP, VIP2 = socket.inet_aton("192.0.2.100"), socket.inet_aton("192.0.2.101")
VIP6 = socket.inet_pton(socket.AF_INET6, "2001:db8::100")
TWIN6 = socket.inet_pton(socket.AF_INET6, "2001:db8:1::100")  # the same solicited-node group
HOST6 = socket.inet_pton(socket.AF_INET6, "2001:db8::2")
ETH0 = Interface("eth0", 2, bytes.fromhex("020000000010"), arp=True, ndp=True)
ETH1 = Interface("eth1", 3, bytes.fromhex("020000000011"), arp=True, ndp=True)


def arp(
    target: bytes = VIP,
    *,
    sender: bytes = HOST,
    mac: bytes = ASKER,
    to: bytes = wire.BROADCAST,
    operation: bytes = b"\0\1",
) -> bytes:
    return to + mac + bytes.fromhex("0806000108000604") + operation + mac + sender + bytes(6) + target


def ready(*interfaces: Interface, duties: Iterable[bytes] = (VIP,)) -> Machine:
    machine = Machine()
    machine.set_interfaces({each.name: each for each in interfaces or (ETH0,)}, 0.0)
    machine.set_duties(dict.fromkeys(duties), 0.0)
    machine.wake(0.0)
    return machine


def sent(effects: list[l2.Effect]) -> list[bytes]:
    return [effect.frame for effect in effects if isinstance(effect, Send)]


def test_an_owned_address_is_answered_with_the_receiving_interfaces_mac() -> None:
    machine = ready(ETH0, ETH1)
    for interface in (ETH0, ETH1):
        answer = wire.arp_reply(interface.mac, VIP, ASKER, HOST)
        assert machine.frame(interface.name, arp(), 0.0, 1.0) == [Send(interface, answer)]
    assert (machine.counts[VIP].requests, machine.counts[VIP].replies) == (2, 2)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (arp(VIP2), wire.Drop.NOT_OURS),
        (arp(to=FOREIGN), wire.Drop.DESTINATION),
        (arp(to=b"\1\0\x5e\0\0\1"), wire.Drop.DESTINATION),
        (arp(mac=ETH0.mac), wire.Drop.OWN),
        (arp(operation=b"\0\2"), wire.Drop.NO_QUESTION),
        (arp(VIP2, sender=VIP2), wire.Drop.ANNOUNCEMENT),
        (b"", wire.Drop.SHORT),
    ],
)
def test_what_is_no_question_to_us_is_counted_and_not_answered(frame: bytes, why: wire.Drop) -> None:
    machine = ready()
    assert machine.frame("eth0", frame, 0.0, 1.0) == []
    assert machine.drops == {why: 1}


def test_an_old_frame_is_dropped() -> None:
    machine = ready()
    assert machine.frame("eth0", arp(), l2.STALE + 0.1, 1.0) == []
    assert machine.frame("eth0", arp(), l2.STALE - 0.1, 1.0)
    assert machine.drops == {wire.Drop.STALE: 1}


def test_a_frame_from_an_interface_that_is_gone_is_dropped() -> None:
    assert ready().frame("eth9", arp(), 0.0, 1.0) == []


def test_our_other_interface_on_the_same_segment_is_no_conflict() -> None:
    machine = ready(ETH0, ETH1)
    for frame in wire.gratuitous(ETH1.mac, VIP):
        assert machine.frame("eth0", frame, 0.0, 1.0) == []
    assert not machine.conflicts


@pytest.mark.parametrize("operation", [b"\0\1", b"\0\2"])
def test_a_foreign_announcement_of_our_address_is_a_conflict_told_once(operation: bytes) -> None:
    machine = ready()
    frame = arp(VIP, sender=VIP, mac=FOREIGN, operation=operation)
    conflict = Conflict("eth0", VIP, FOREIGN)
    assert machine.frame("eth0", frame, 0.0, 1.0) == [conflict]
    assert machine.frame("eth0", frame, 0.0, 2.0) == []
    assert machine.conflicts[conflict].times == 2


def test_a_question_from_our_own_address_is_a_conflict_and_answered() -> None:
    machine = ready(duties=(VIP, VIP2))
    effects = machine.frame("eth0", arp(VIP2, sender=VIP, mac=FOREIGN), 0.0, 1.0)
    assert [type(effect) for effect in effects] == [Conflict, Send]


def test_a_foreign_advertisement_of_our_address_is_a_conflict() -> None:
    machine = ready(duties=(VIP6,))
    (frame,) = wire.gratuitous(FOREIGN, VIP6)
    assert machine.frame("eth0", frame, 0.0, 1.0) == [Conflict("eth0", VIP6, FOREIGN)]
    (own,) = wire.gratuitous(ETH0.mac, VIP6)
    assert machine.frame("eth0", own, 0.0, 1.0) == []


def test_a_conflict_ends_when_it_is_quiet_or_when_the_address_goes() -> None:
    machine = ready()
    machine.frame("eth0", arp(VIP, sender=VIP, mac=FOREIGN), 0.0, 1.0)
    run_until(machine, 0.9 + l2.CONFLICT_QUIET)
    assert machine.conflicts
    run_until(machine, 1.0 + l2.CONFLICT_QUIET)
    assert not machine.conflicts
    machine.frame("eth0", arp(VIP, sender=VIP, mac=FOREIGN), 0.0, 500.0)
    machine.change({}, [VIP], 501.0)
    assert not machine.conflicts


def test_forged_conflicts_do_not_fill_the_memory() -> None:
    machine = ready()
    for number in range(1000):
        mac = b"\2\0\0\1" + number.to_bytes(2, "big")
        machine.frame("eth0", arp(VIP, sender=VIP, mac=mac), 0.0, 1.0)
    assert len(machine.conflicts) == l2.CONFLICTS_KEPT


def run_until(machine: Machine, end: float, now: float = 0.0) -> list[tuple[float, l2.Effect]]:
    """Wake it whenever it wants to be woken."""
    effects = []
    while (deadline := machine.deadline) is not None and deadline <= end:
        now = max(now, deadline)
        effects += [(round(now, 3), effect) for effect in machine.wake(now)]
    return effects


def test_a_gained_address_is_told_in_both_forms_and_counted() -> None:
    machine = ready(duties=())
    machine.change({VIP: None}, (), 1.0)
    assert tuple(sent(machine.wake(1.0))) == wire.gratuitous(ETH0.mac, VIP)
    run_until(machine, 6.0, 1.0)
    assert machine.counts[VIP].gratuitous == 10


def test_what_is_said_again_is_not_told_again() -> None:
    machine = ready()
    run_until(machine, 5.5)
    machine.set_duties({VIP: None}, 6.0)
    machine.change({VIP: frozenset({"eth0"})}, (), 6.0)  # another filter, the same result
    machine.set_interfaces({"eth0": ETH0}, 6.0)
    machine.set_interfaces({"eth0": ETH0._replace(ndp=False)}, 6.0)
    assert not sent(machine.wake(6.0))


def test_regaining_within_the_window_does_not_double_the_pace() -> None:
    machine = ready()
    run_until(machine, 0.5)
    machine.change({}, [VIP], 0.5)
    machine.change({VIP: None}, (), 0.5)
    moments = [now for now, effect in run_until(machine, 6.0, 0.5) if isinstance(effect, Send)]
    assert moments == sorted([0.5, 0.53, 0.57, 0.65, 0.75, 0.9, 2.0, 3.1, 4.2, 5.3] * 2)


def test_announcements_that_came_due_while_we_were_stopped_are_never_sent() -> None:
    machine = ready()
    assert sent(machine.wake(100.0)) == []
    assert machine.deadline == 100.0 + announcing.REFRESH


def test_a_link_that_returns_or_changes_its_mac_tells_again() -> None:
    machine = ready(ETH0, ETH1)
    machine.wake(100.0)
    machine.set_interfaces({"eth0": ETH0}, 100.0)
    assert machine.wake(100.0) == [Listen(ETH1, (), ())]
    machine.set_interfaces({"eth0": ETH0, "eth1": ETH1}, 101.0)
    frames = wire.gratuitous(ETH1.mac, VIP)
    assert machine.wake(101.0) == [Listen(ETH1, (VIP,), ()), *(Send(ETH1, frame) for frame in frames)]
    moved = ETH1._replace(mac=FOREIGN)
    machine.set_interfaces({"eth0": ETH0, "eth1": moved}, 102.0)
    assert machine.wake(102.0)[:2] == [Listen(ETH1, (), ()), Listen(moved, (VIP,), ())]


def test_a_thousand_gained_addresses_are_told_in_batches() -> None:
    many = [b"\x0a\0" + number.to_bytes(2, "big") for number in range(1000)]
    machine = Machine()
    machine.set_interfaces({"eth0": ETH0}, 0.0)
    machine.set_duties(dict.fromkeys(many), 0.0)
    batches = []
    while machine.deadline == 0.0:
        batches.append(len(sent(machine.wake(0.0))))
    assert batches == [2 * announcing.BATCH] * 5


def test_a_thousand_groups_are_joined_and_left_in_batches_and_nobody_waits_for_them_to_be_told() -> None:
    many = [b"\x20" + bytes(13) + number.to_bytes(2, "big") for number in range(1000)]
    machine = Machine()
    machine.set_interfaces({"eth0": ETH0}, 0.0)
    machine.set_duties(dict.fromkeys(many), 0.0)
    steps = [{type(effect) for effect in machine.wake(0.0)} for _ in range(20)]
    assert steps == [{Listen, Join, Send}, *[{Join, Send}] * 4, *[{Join}] * 15]
    machine.set_duties({}, 1.0)
    effects = [effect for _ in range(20) for effect in machine.wake(1.0)]
    assert sum(isinstance(effect, Leave) for effect in effects) == 1000
    assert not machine.wake(1.0)


def test_listening_begins_before_the_first_announcement_and_groups_are_joined_between() -> None:
    machine = Machine()
    machine.set_interfaces({"eth0": ETH0}, 0.0)
    machine.set_duties({VIP: None, VIP6: None}, 0.0)
    assert [type(effect) for effect in machine.wake(0.0)] == [Listen, Join, Send, Send, Send]


def test_one_group_serves_two_addresses_and_is_left_with_the_last() -> None:
    machine = ready(duties=(VIP6, TWIN6))
    machine.change({}, [VIP6], 1.0)
    assert not [effect for effect in machine.wake(1.0) if isinstance(effect, Leave)]
    machine.change({}, [TWIN6], 2.0)
    assert machine.wake(2.0) == [Leave(ETH0, wire.solicited_node(VIP6)), Listen(ETH0, (), ())]


def test_duplicate_address_detection_is_answered_to_all_nodes_unsolicited() -> None:
    machine = ready(duties=(VIP6,))
    body = bytes.fromhex("87000000 00000000") + VIP6
    group = wire.solicited_node(VIP6)
    pseudo = bytes(16) + group + (24).to_bytes(4, "big") + (58).to_bytes(4, "big")
    total = -int.from_bytes(pseudo + body, "big") % 0xFFFF
    message = body[:2] + total.to_bytes(2, "big") + body[4:]
    head = bytes.fromhex("60000000 0018 3aff") + bytes(16) + group
    frame = wire.multicast_mac(group) + ASKER + b"\x86\xdd" + head + message
    (answer,) = sent(machine.frame("eth0", frame, 0.0, 1.0))
    assert answer == wire.gratuitous(ETH0.mac, VIP6)[0]


def test_a_flood_is_counted_as_asked_and_dropped_and_another_asker_is_still_answered() -> None:
    machine = ready()
    answers = sum(len(machine.frame("eth0", arp(), 0.0, 10.0)) for _ in range(3000))
    assert answers == machine.counts[VIP].replies == askers.BURST
    assert machine.counts[VIP].requests == 3000
    assert machine.drops == {wire.Drop.ASKER_LIMIT: 3000 - askers.BURST}
    assert sent(machine.frame("eth0", arp(mac=FOREIGN), 0.0, 10.0))


def test_forged_askers_meet_the_limit_for_all() -> None:
    machine = ready()
    for number in range(askers.BURST_OF_ALL + 100):
        machine.frame("eth0", arp(mac=b"\2\1" + number.to_bytes(4, "big")), 0.0, 10.0)
    assert machine.drops == {wire.Drop.TOTAL_LIMIT: 100}


def test_a_renamed_interface_goes_on_answering_and_announces_nothing() -> None:
    machine = ready(duties=(VIP, VIP6))
    machine.change({VIP2: frozenset({"eth0"})}, (), 0.0)
    run_until(machine, 10.0)
    lan0 = ETH0._replace(name="lan0")
    machine.set_interfaces({"lan0": lan0}, 10.0)
    assert (machine.holding(VIP), machine.holding(VIP2)) == (["lan0"], [])
    assert machine.wake(10.0) == [Listen(ETH0, (), ()), Listen(lan0, (VIP,), (VIP6,))]
    assert machine.frame("lan0", arp(), 0.0, 10.0) == [Send(lan0, wire.arp_reply(ETH0.mac, VIP, ASKER, HOST))]
    assert machine.counts[VIP].gratuitous == len(announcing.GAPS) + 1
    machine.change({}, [VIP6], 11.0)
    assert Leave(lan0, wire.solicited_node(VIP6)) in machine.wake(11.0)


def test_a_foreign_announcement_is_answered_by_one_of_ours_half_a_second_later() -> None:
    """RFC 5227 §2.4 (c): the request form, once in 10 s."""
    machine = ready()
    run_until(machine, 20.0)
    defended = []
    for second in range(20, 42):
        machine.frame("eth0", arp(VIP, sender=VIP, mac=FOREIGN), 0.0, float(second))
        defended += [effect for _, effect in run_until(machine, second + 0.9, float(second))]
    assert defended == [Send(ETH0, wire.gratuitous(ETH0.mac, VIP)[0])] * 2


def test_what_is_given_up_within_the_half_second_is_not_defended() -> None:
    machine = ready()
    run_until(machine, 20.0)
    machine.frame("eth0", arp(VIP, sender=VIP, mac=FOREIGN), 0.0, 20.0)
    machine.change({}, [VIP], 20.2)
    assert not [effect for _, effect in run_until(machine, 30.0, 20.2) if isinstance(effect, Send)]


def test_above_what_a_filter_can_name_every_question_is_heard_and_nothing_is_said_twice() -> None:
    many = [b"\x0a\0" + number.to_bytes(2, "big") for number in range(filters.LIMIT + 2)]
    machine = ready(duties=many[: filters.LIMIT])
    machine.change({many[-2]: None}, (), 0.0)
    assert Listen(ETH0, filters.EVERY, ()) in machine.wake(0.0)
    machine.change({many[-1]: None}, (), 0.0)
    assert not [effect for effect in machine.wake(0.0) if isinstance(effect, Listen)]
    machine.again("eth0")
    assert Listen(ETH0, filters.EVERY, ()) in machine.wake(0.0)
    machine.change({}, many[:2], 0.0)
    assert Listen(ETH0, tuple(many[2:]), ()) in machine.wake(0.0)
