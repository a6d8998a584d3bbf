"""Laws of answering: whatever happens in whatever order, we answer for what we hold and for nothing else."""

import socket
from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from metalbgp.l2 import machine as l2
from metalbgp.l2 import wire
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
    machine.wake(5.0)  # the last gratuitous frames
    machine.wake(6.0)
    assert machine.deadline == 1.0 + l2.CONFLICT_QUIET
    machine.wake(1.0 + l2.CONFLICT_QUIET)
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


def test_a_gained_address_is_told_at_once_and_every_1100_ms_for_5_s() -> None:
    machine = Machine()
    machine.set_interfaces({"eth0": ETH0}, 10.0)
    machine.set_duties({VIP: None}, 10.0)
    moments = []
    now = 10.0
    while machine.deadline is not None:
        now = max(now, machine.deadline)
        if frames := sent(machine.wake(now)):
            assert tuple(frames) == wire.gratuitous(ETH0.mac, VIP)
            moments.append(round(now - 10.0, 3))
    assert moments == [0.0, 1.1, 2.2, 3.3, 4.4]
    assert machine.counts[VIP].gratuitous == 5


def test_what_is_said_again_is_not_told_again() -> None:
    machine = ready()
    for now in (1.1, 2.2, 3.3, 4.4, 5.5):
        machine.wake(now)
    machine.set_duties({VIP: None}, 6.0)
    machine.change({VIP: frozenset({"eth0"})}, (), 6.0)  # another filter, the same result
    machine.set_interfaces({"eth0": ETH0}, 6.0)
    machine.set_interfaces({"eth0": ETH0._replace(ndp=False)}, 6.0)
    assert not sent(machine.wake(6.0))


def test_regaining_within_the_window_does_not_double_the_pace() -> None:
    machine = ready()
    machine.change({}, [VIP], 0.5)
    machine.change({VIP: None}, (), 0.5)
    assert len(sent(machine.wake(0.5))) == 2
    assert sent(machine.wake(1.2)) == []
    assert len(sent(machine.wake(1.6))) == 2


def test_announcements_that_are_overdue_past_their_window_are_never_sent() -> None:
    machine = ready()
    assert sent(machine.wake(100.0)) == []
    assert machine.deadline is None


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
    assert batches == [2 * l2.BATCH] * 5


def test_a_thousand_groups_are_joined_and_left_in_batches_and_told_after() -> None:
    many = [b"\x20" + bytes(13) + number.to_bytes(2, "big") for number in range(1000)]
    machine = Machine()
    machine.set_interfaces({"eth0": ETH0}, 0.0)
    machine.set_duties(dict.fromkeys(many), 0.0)
    steps = [{type(effect) for effect in machine.wake(0.0)} for _ in range(9)]
    assert steps == [{Listen, Join}, *[{Join}] * 3, {Join, Send}, *[{Send}] * 4]
    machine.set_duties({}, 1.0)
    steps = [{type(effect) for effect in machine.wake(1.0)} for _ in range(5)]
    assert steps == [{Listen, Leave}, *[{Leave}] * 4]
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


NAMES = ("eth0", "eth1", "eth2")
ADDRESSES = (VIP, VIP2, VIP6, TWIN6)
filters = st.none() | st.frozensets(st.sampled_from(NAMES))
duties = st.dictionaries(st.sampled_from(ADDRESSES), filters)
interfaces = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.integers(1, 3), st.sampled_from((b"\2aaaaa", b"\2bbbbb")), st.booleans(), st.booleans()),
)


class Answering(RuleBasedStateMachine):
    """Random duties and links, a kernel that does what the effects say, and a slow idea of what is right."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.now = 0.0
        self.duties: dict[bytes, frozenset[str] | None] = {}
        self.links: dict[str, Interface] = {}
        self.heard: dict[Interface, set[bytes]] = {}
        self.joined: set[tuple[int, str, bytes]] = set()
        self.settled = False

    @rule(new=duties)
    def all_duties(self, new: dict[bytes, frozenset[str] | None]) -> None:
        self.duties = new
        self.machine.set_duties(new, self.now)
        self.settled = False

    @rule(add=duties, remove=st.sets(st.sampled_from(ADDRESSES)))
    def some_duties(self, add: dict[bytes, frozenset[str] | None], remove: set[bytes]) -> None:
        self.duties = {key: value for key, value in self.duties.items() if key not in remove} | add
        self.machine.change(add, remove, self.now)
        self.settled = False

    @rule(new=interfaces)
    def all_interfaces(self, new: dict[str, tuple[int, bytes, bool, bool]]) -> None:
        self.links = {name: Interface(name, *rest) for name, rest in new.items()}
        self.machine.set_interfaces(self.links, self.now)
        self.settled = False

    @rule(pause=st.floats(0, 7))
    def wake(self, pause: float) -> None:
        self.now += pause
        for effect in self.machine.wake(self.now):
            if isinstance(effect, Listen):
                about = {*effect.arp, *effect.ndp}
                same = [each for each in self.heard if each.name == effect.interface.name]
                for each in same:
                    del self.heard[each]
                if about:
                    self.heard[effect.interface] = about
            elif isinstance(effect, Join):
                key = effect.interface.ifindex, effect.interface.name, effect.group
                assert key not in self.joined
                self.joined.add(key)
            elif isinstance(effect, Leave):
                self.joined.remove((effect.interface.ifindex, effect.interface.name, effect.group))
            elif isinstance(effect, Send):
                assert effect.interface == self.links[effect.interface.name]
                address = effect.frame[28:32] if effect.frame[12:14] == b"\x08\x06" else effect.frame[62:78]
                assert address in self.heard[effect.interface]
        self.settled = True

    def right(self) -> dict[str, set[bytes]]:
        return {
            name: {
                address
                for address, allowed in self.duties.items()
                if (link.arp if len(address) == 4 else link.ndp) and (allowed is None or name in allowed)
            }
            for name, link in self.links.items()
        }

    @invariant()
    def holds_what_is_right(self) -> None:
        for name, addresses in self.right().items():
            for address in ADDRESSES:
                assert (name in self.machine.holding(address)) == (address in addresses)

    @invariant()
    def answers_what_it_holds_and_nothing_else(self) -> None:
        for name, addresses in self.right().items():
            for address in (VIP, VIP2):
                answered = bool(sent(self.machine.frame(name, arp(address), 0.0, self.now)))
                assert answered == (address in addresses)

    @invariant()
    def the_kernel_hears_what_is_held(self) -> None:
        if not self.settled:
            return
        heard = {each.name: about for each, about in self.heard.items()}
        assert heard == {name: about for name, about in self.right().items() if about}
        assert self.joined == {
            (self.links[name].ifindex, name, wire.solicited_node(address))
            for name, about in self.right().items()
            for address in about
            if len(address) == 16
        }


TestAnswering = Answering.TestCase
TestAnswering.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
