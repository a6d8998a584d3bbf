"""Which addresses this node answers for on which interface, and what it says there. Sans-I/O.

In:  duties, the fit interfaces, received frames with their age, and `now` (seconds, monotonic).
Out: effects. frame() returns answers at once; duties and interfaces only mark what changed, and wake(now)
     returns its effects in the order in which they must happen: leave, listen, join, then gratuitous frames.
     `deadline` is the next moment at which wake() is due, so a burst of changes costs one new filter.
Elsewhere: bytes in wire.py; when neighbours are told unasked in announcing.py; the limit on answers in
     askers.py; sockets in edge.py; who owns an address is decided above: duties are what we own now.
One file because what is held decides all: what is listened for, joined, told, answered, and in conflict.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, NamedTuple

from metalbgp.l2 import filters, wire
from metalbgp.l2.announcing import Announcing, Gain
from metalbgp.l2.askers import Askers
from metalbgp.l2.links import Interface
from metalbgp.l2.probing import Probing, Question

STALE: Final = 1.0  # seconds in the socket's queue: whoever asked was answered or gave up; we were stopped
BATCH: Final = 50  # groups in one wake(): the kernel's lists are long, and answers must not wait behind them
CONFLICT_QUIET: Final = 300.0  # a conflict not seen for so long is over
CONFLICTS_KEPT: Final = 64
NOBODY: Final[Mapping[bytes, Gain]] = {}

Filter = frozenset[str] | None  # names of allowed interfaces; None: every fit one


class Listen(NamedTuple):
    """Hear frames about these addresses on the interface; none of a family: do not listen for it.

    filters.EVERY: there are more than a filter can name, so all questions are heard.
    """

    interface: Interface
    arp: tuple[bytes, ...]
    ndp: tuple[bytes, ...]
    asked: tuple[bytes, ...] = ()  # not ours (yet): only who else has them counts


class Join(NamedTuple):
    """Join a multicast group (switches that snoop, and the card's filter, deliver nothing else)."""

    interface: Interface
    group: bytes


class Leave(NamedTuple):
    """Leave that group."""

    interface: Interface
    group: bytes


class Send(NamedTuple):
    """Put the frame on the wire."""

    interface: Interface
    frame: bytes


class Conflict(NamedTuple):
    """A foreign station claims our address: first sight of it."""

    interface: str
    address: bytes
    mac: bytes


Effect = Listen | Join | Leave | Send | Conflict


class Sighting(NamedTuple):
    """How often a conflict was seen, and when last."""

    times: int
    last: float


class Count:
    """What happened to one address."""

    __slots__ = ("gratuitous", "replies", "requests")

    def __init__(self) -> None:
        self.requests = self.replies = self.gratuitous = 0


class Holding:
    """What we answer for on one interface."""

    __slots__ = ("arp", "groups", "ndp")

    def __init__(self) -> None:
        self.arp: dict[bytes, Gain] = {}
        self.ndp: dict[bytes, Gain] = {}
        self.groups: dict[bytes, int] = {}  # solicited-node groups, with how many addresses need each

    def of(self, address: bytes) -> dict[bytes, Gain]:
        return self.arp if len(address) == 4 else self.ndp


class Machine:
    """The answering half of L2: what it is told to own it answers for."""

    def __init__(self) -> None:
        self.duties: dict[bytes, Filter] = {}
        self.interfaces: dict[str, Interface] = {}
        self.counts: dict[bytes, Count] = {}
        self.drops: Counter[wire.Drop] = Counter()
        self.conflicts: dict[Conflict, Sighting] = {}
        self.probing = Probing()
        self.askers = Askers()
        self._macs: frozenset[bytes] = frozenset()  # of our interfaces
        self._held: dict[str, Holding] = {}  # by interface
        self._announcing = Announcing()
        self._dirty: set[str] = set()
        self._listening: dict[str, Listen] = {}  # said last, by interface
        self._gone: dict[str, Interface] = {}  # interfaces lost or changed since the last wake
        self._joins: dict[tuple[str, bytes], Interface] = {}
        self._leaves: dict[tuple[str, bytes], Interface] = {}

    @property
    def deadline(self) -> float | None:
        """When wake() is due; None: not before something happens."""
        if self._dirty or self._gone or self._leaves or self._joins:
            return 0.0
        moments = [self._announcing.deadline, self.probing.deadline]
        if self.conflicts:
            moments.append(min(sighting.last for sighting in self.conflicts.values()) + CONFLICT_QUIET)
        return min((moment for moment in moments if moment is not None), default=None)

    def holding(self, address: bytes) -> list[str]:
        """On which interfaces we answer for it now."""
        return sorted(name for name, holding in self._held.items() if address in holding.of(address))

    def set_duties(self, duties: Mapping[bytes, Filter], now: float) -> None:
        """The full set. What stays is not announced again: an agent that restarts must not be heard."""
        self.change(duties, self.duties.keys() - duties.keys(), now)

    def change(self, add: Mapping[bytes, Filter], remove: Iterable[bytes], now: float) -> None:
        """Take on, alter or give up duties; work is proportional to the change."""
        for address in remove:
            if address in self.duties:
                del self.duties[address]
                del self.counts[address]
                for name, interface in self.interfaces.items():
                    self._release(name, interface, address)
        for address, allowed in add.items():
            if address not in self.duties:
                self.counts[address] = Count()
            elif self.duties[address] == allowed:
                continue
            self.duties[address] = allowed
            for interface in self.interfaces.values():
                self._place(interface, address, allowed, now)
        self._forget_conflicts()

    def set_interfaces(self, interfaces: Mapping[str, Interface], now: float) -> bool:
        """All fit interfaces. One that came, or came back, or changed its MAC, announces what it holds.

        One that only has a new name does not.
        """
        before = self.interfaces
        if before == interfaces:
            return False
        renamed = _renamed(before, interfaces)
        for name, old in before.items():
            new = interfaces.get(name)
            if name in renamed:
                self._rename(old, renamed[name])
            elif new is None or (new.ifindex, new.mac) != (old.ifindex, old.mac):
                for address in [*self._held_on(name, 4), *self._held_on(name, 16)]:
                    self._release(name, old, address)
                self._held.pop(name, None)
                self._gone.setdefault(name, old)
        self.interfaces = dict(interfaces)
        self._macs = frozenset(interface.mac for interface in interfaces.values())
        if self.probing.again(now) or self.probing.deadline is not None:
            self._dirty.update(interfaces)
        for name, interface in interfaces.items():
            if before.get(name) != interface:
                for address, allowed in self.duties.items():
                    self._place(interface, address, allowed, now)
        self._forget_conflicts()
        return True

    def set_probes(self, wanted: Mapping[bytes, Question], now: float) -> None:
        """The full set of addresses to ask for; what became of them stands in `probing`."""
        if self.probing.set(wanted, now):
            self._dirty.update(self.interfaces)

    def again(self, name: str) -> None:
        """Say once more what to listen for there: it could not be done."""
        self._dirty.add(name)
        self._listening.pop(name, None)

    def _held_on(self, name: str, size: int) -> Mapping[bytes, Gain]:
        holding = self._held.get(name)
        if holding is None:
            return NOBODY
        return holding.arp if size == 4 else holding.ndp

    def _place(self, interface: Interface, address: bytes, allowed: Filter, now: float) -> None:
        able = interface.arp if len(address) == 4 else interface.ndp
        if not able or (allowed is not None and interface.name not in allowed):
            self._release(interface.name, interface, address)
        elif address not in self._held_on(interface.name, len(address)):
            self._gain(interface, address, now)

    def _gain(self, interface: Interface, address: bytes, now: float) -> None:
        name = interface.name
        holding = self._held.get(name)
        if holding is None:
            holding = self._held[name] = Holding()
        holding.of(address)[address] = self._announcing.gain(name, address, now)
        self._dirty.add(name)
        if len(address) == 16:
            group = wire.solicited_node(address)
            holding.groups[group] = holding.groups.get(group, 0) + 1
            if holding.groups[group] == 1:
                if self._leaves.get((name, group)) == interface:
                    del self._leaves[name, group]  # left and joined between two wakes: nothing to do
                else:
                    self._joins[name, group] = interface

    def _release(self, name: str, interface: Interface, address: bytes) -> None:
        holding = self._held.get(name)
        gain = None if holding is None else holding.of(address).pop(address, None)
        if holding is None or gain is None:
            return
        self._announcing.lose(gain)
        self._dirty.add(name)
        if len(address) == 16:
            group = wire.solicited_node(address)
            holding.groups[group] -= 1
            if not holding.groups[group]:
                del holding.groups[group]
                if self._joins.pop((name, group), None) is None:
                    self._leaves[name, group] = interface

    def _rename(self, old: Interface, new: Interface) -> None:
        """Groups belong to the index, and neighbours know the MAC: only we, and the sockets, know a name."""
        self._gone.setdefault(old.name, old)
        holding = self._held.pop(old.name, None)
        if holding is not None:
            self._held[new.name] = holding
            for gain in (*holding.arp.values(), *holding.ndp.values()):
                gain.name = new.name
        for pending in (self._joins, self._leaves):
            for key in [key for key in pending if key[0] == old.name]:
                del pending[key]
                pending[new.name, key[1]] = new
        self._dirty.add(new.name)

    def wake(self, now: float) -> list[Effect]:
        """Everything that is due, in the order in which it must be done."""
        effects: list[Effect] = [Leave(each, group) for each, group in _some(self._leaves)]
        for name, interface in self._gone.items():
            self._listening.pop(name, None)
            effects.append(Listen(interface, (), ()))
        self._gone.clear()
        effects += self._listens()
        if not self._leaves:
            effects += [Join(each, group) for each, group in _some(self._joins)]
        quiet = [key for key, sighting in self.conflicts.items() if sighting.last + CONFLICT_QUIET <= now]
        for key in quiet:
            del self.conflicts[key]
        ended = self.probing.changes
        effects += [Send(each, frame) for each, frame in self.probing.wake(self.interfaces, now)]
        if self.probing.changes != ended:
            self._dirty.update(self.interfaces)  # there is less to listen for
        return effects + self._announce(now)

    def _listens(self) -> list[Effect]:
        """What is listened for differently than before: of ten thousand addresses no filter names one."""
        effects: list[Effect] = []
        for name in sorted(self._dirty & self.interfaces.keys()):
            arp, ndp = (_named(self._held_on(name, size)) for size in (4, 16))
            listen = Listen(self.interfaces[name], arp, ndp, self.probing.listening(self.interfaces[name]))
            if listen != self._listening.get(name):
                self._listening[name] = listen
                effects.append(listen)
        self._dirty.clear()
        return effects

    def _announce(self, now: float) -> list[Effect]:
        """Gratuitous frames that are due, and one for a conflict whose time has come."""
        effects: list[Effect] = []
        for gain in self._announcing.due(now, self._unjoined):
            interface = self.interfaces[gain.name]
            self.counts[gain.address].gratuitous += 1
            effects += [Send(interface, frame) for frame in wire.gratuitous(interface.mac, gain.address)]
        for gain in self._announcing.defences(now):
            interface = self.interfaces[gain.name]
            self.counts[gain.address].gratuitous += 1
            effects.append(Send(interface, wire.gratuitous(interface.mac, gain.address)[0]))
        return effects

    def _unjoined(self, gain: Gain) -> bool:
        """Whether the group in which neighbours will look for it has yet to be joined.

        Not asked where many are: joining takes seconds then, and whoever has the address in its cache needs
        no group to learn the new MAC.
        """
        return (
            len(gain.address) == 16
            and len(self._joins) <= BATCH
            and (gain.name, wire.solicited_node(gain.address)) in self._joins
        )

    def frame(self, name: str, frame: bytes, age: float, now: float) -> list[Effect]:
        """One received frame, `age` seconds after the kernel got it."""
        outcome = self._stale_or_answer(name, frame, age, now)
        if isinstance(outcome, wire.Drop):
            self.drops[outcome] += 1
            return []
        return outcome

    def _stale_or_answer(self, name: str, frame: bytes, age: float, now: float) -> list[Effect] | wire.Drop:
        interface = self.interfaces.get(name)
        if age > STALE:
            # Too late to answer; but that somebody has the address stays true.
            packet = wire.decode(frame) if interface is not None and self.probing.probes else wire.Drop.STALE
            if interface is not None and not isinstance(packet, wire.Drop):
                self._probed(interface, packet)
            return wire.Drop.STALE
        if interface is None:
            return wire.Drop.INTERFACE
        packet = wire.decode(frame)
        if isinstance(packet, wire.Drop):
            return packet
        if self.probing.probes and self._probed(interface, packet):
            return []
        if isinstance(packet, wire.Arp):
            return self._arp(interface, packet, now)
        if isinstance(packet, wire.Solicitation):
            return self._solicitation(interface, packet, now)
        return self._advertisement(interface, packet, now)

    def _probed(self, interface: Interface, packet: wire.Packet) -> bool:
        """Whether somebody said that an address which we ask for is his."""
        if isinstance(packet, wire.Arp):
            address, mac = packet.sender, packet.sender_mac
        elif isinstance(packet, wire.Advertisement):
            address, mac = packet.target, packet.link_address or packet.source
        else:
            return False  # another one's question is no claim: it may come from a node of ours
        return not self._is_ours(mac) and self.probing.heard(interface.name, address, mac)

    def _arp(self, interface: Interface, packet: wire.Arp, now: float) -> list[Effect] | wire.Drop:
        if packet.destination not in (wire.BROADCAST, interface.mac):
            return wire.Drop.DESTINATION
        if self._is_ours(packet.sender_mac):
            return wire.Drop.OWN
        held = self._held_on(interface.name, 4)
        effects: list[Effect] = []
        if packet.sender in held:  # RFC 5227 §2.4: any packet with our address as its sender
            effects += self._conflict(interface, packet.sender, packet.sender_mac, now)
            if packet.operation == wire.REQUEST and packet.sender == packet.target:
                self.drops[wire.Drop.ANNOUNCEMENT] += 1
                return effects
        if packet.operation != wire.REQUEST:
            return effects or wire.Drop.NO_QUESTION
        if packet.sender == packet.target:
            return wire.Drop.ANNOUNCEMENT
        if packet.target not in held:
            return effects or wire.Drop.NOT_OURS
        self.counts[packet.target].requests += 1
        limit = self._limit(packet.sender_mac, now)
        if limit is not None:
            self.drops[limit] += 1
            return effects
        reply = wire.arp_reply(interface.mac, packet.target, packet.sender_mac, packet.sender)
        return [*effects, self._answer(interface, packet.target, reply)]

    def _solicitation(
        self, interface: Interface, packet: wire.Solicitation, now: float
    ) -> list[Effect] | wire.Drop:
        if packet.destination != interface.mac and packet.destination[:2] != b"\x33\x33":
            return wire.Drop.DESTINATION
        asker = packet.link_address or packet.source
        if self._is_ours(asker) or self._is_ours(packet.source):
            return wire.Drop.OWN
        held = self._held_on(interface.name, 16)
        effects: list[Effect] = []
        if packet.sender in held:  # heard only if it asks for one of ours: filters go by the target
            effects += self._conflict(interface, packet.sender, asker, now)
        if packet.target not in held:
            return effects or wire.Drop.NOT_OURS
        self.counts[packet.target].requests += 1
        limit = self._limit(asker, now)
        if limit is not None:
            self.drops[limit] += 1
            return effects
        to, to_mac, solicited = packet.sender, asker, True
        if to == wire.ANY6:  # duplicate address detection: the asker has no address yet (RFC 4861 §7.2.4)
            to, to_mac, solicited = wire.ALL_NODES, wire.multicast_mac(wire.ALL_NODES), False
        reply = wire.advertisement(interface.mac, packet.target, to_mac, to, solicited=solicited)
        return [*effects, self._answer(interface, packet.target, reply)]

    def _advertisement(
        self, interface: Interface, packet: wire.Advertisement, now: float
    ) -> list[Effect] | wire.Drop:
        claimant = packet.link_address or packet.source
        if self._is_ours(claimant) or self._is_ours(packet.source):
            return wire.Drop.OWN
        if packet.target not in self._held_on(interface.name, 16):
            return wire.Drop.NO_QUESTION
        return self._conflict(interface, packet.target, claimant, now)

    def _is_ours(self, mac: bytes) -> bool:
        """Also another interface's: two of them may stand on one segment."""
        return mac in self._macs

    def _limit(self, asker: bytes, now: float) -> wire.Drop | None:
        """Why a good question gets no answer. The asker is whom the answer would go to."""
        if not self.askers.one_more(asker, now, len(self.duties)):
            return wire.Drop.ASKER_LIMIT
        if not self.askers.one_more_of_all(now, len(self.duties)):
            return wire.Drop.TOTAL_LIMIT
        return None

    def _answer(self, interface: Interface, address: bytes, frame: bytes) -> Send:
        self.counts[address].replies += 1
        return Send(interface, frame)

    def _conflict(self, interface: Interface, address: bytes, mac: bytes, now: float) -> list[Effect]:
        """Remember it; an effect only on first sight. A flood of forged ones may not fill the memory.

        RFC 5227 §2.4 (c): we keep the address and say so once in 10 s. Giving it up (b) would let any station
        take a Service down with two frames; which of our own nodes has it is not decided by ARP.
        """
        self._announcing.defend(self._held_on(interface.name, len(address))[address], now)
        conflict = Conflict(interface.name, address, mac)
        known = self.conflicts.get(conflict)
        if known is None and len(self.conflicts) >= CONFLICTS_KEPT:
            return []
        self.conflicts[conflict] = Sighting(known.times + 1 if known else 1, now)
        return [] if known else [conflict]

    def _forget_conflicts(self) -> None:
        """Whoever has what we gave up is in no conflict with us."""
        if self.conflicts:
            for known in [each for each in self.conflicts if not self._holds(each.interface, each.address)]:
                del self.conflicts[known]

    def _holds(self, name: str, address: bytes) -> bool:
        return address in self._held_on(name, len(address))


def _named(held: Mapping[bytes, Gain]) -> tuple[bytes, ...]:
    return filters.EVERY if len(held) > filters.LIMIT else tuple(sorted(held))


def _renamed(before: Mapping[str, Interface], after: Mapping[str, Interface]) -> dict[str, Interface]:
    """By the old name: the same link under another one."""
    known = {(old.ifindex, old.mac): name for name, old in before.items() if name not in after}
    return {
        known[new.ifindex, new.mac]: new
        for name, new in after.items()
        if name not in before and (new.ifindex, new.mac) in known
    }


def _some(pending: dict[tuple[str, bytes], Interface]) -> list[tuple[Interface, bytes]]:
    """Take a batch of groups out of those that wait."""
    return [(pending.pop(key), key[1]) for key in list(islice(pending, BATCH))]
