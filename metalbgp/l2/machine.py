"""Which addresses this node answers for on which interface, and what it says there. Sans-I/O.

In:  duties, the fit interfaces, received frames with their age, and `now` (seconds, monotonic).
Out: effects. frame() returns answers at once; duties and interfaces only mark what changed, and wake(now)
     returns its effects in the order in which they must happen: leave, listen, join, then gratuitous frames.
     `deadline` is the next moment at which wake() is due, so a burst of changes costs one new filter.
Elsewhere: bytes in wire.py; sockets in edge.py; who owns an address is the agent's decision, not ours.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, NamedTuple

from metalbgp.l2 import wire
from metalbgp.l2.links import Interface
from metalbgp.l2.probing import Probing, Question

STALE: Final = 1.0  # seconds in the socket's queue: whoever asked was answered or gave up; we were stopped
GRATUITOUS_PACE: Final = 1.1
GRATUITOUS_WINDOW: Final = 5.0
BATCH: Final = 200  # groups or announcements in one wake(): a thousand new addresses must not hold up answers
CONFLICT_QUIET: Final = 300.0  # a conflict not seen for so long is over
CONFLICTS_KEPT: Final = 64

Filter = frozenset[str] | None  # names of allowed interfaces; None: every fit one


class Listen(NamedTuple):
    """Hear frames about these addresses on the interface; none of a family: do not listen for it."""

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


class Gain(NamedTuple):
    """We came to hold an address: until when that is told, and which time it was."""

    until: float
    serial: int


class Count:
    """What happened to one address."""

    __slots__ = ("gratuitous", "replies", "requests")

    def __init__(self) -> None:
        self.requests = self.replies = self.gratuitous = 0


class Machine:
    """The answering half of L2; takeover will give it duties just as the agent does."""

    def __init__(self) -> None:
        self.duties: dict[bytes, Filter] = {}
        self.interfaces: dict[str, Interface] = {}
        self.counts: dict[bytes, Count] = {}
        self.drops: Counter[wire.Drop] = Counter()
        self.conflicts: dict[Conflict, Sighting] = {}
        self.probing = Probing()
        self._held: dict[str, dict[bytes, Gain]] = {}  # by interface and address
        self._gains = 0
        self._groups: Counter[tuple[str, bytes]] = Counter()
        self._due: list[
            tuple[float, str, bytes, int]
        ] = []  # a heap of gratuitous frames to come, each for one gain
        self._dirty: set[str] = set()
        self._gone: dict[str, Interface] = {}  # interfaces lost or changed since the last wake
        self._joins: dict[tuple[str, bytes], Interface] = {}
        self._leaves: dict[tuple[str, bytes], Interface] = {}

    @property
    def deadline(self) -> float | None:
        """When wake() is due; None: not before something happens."""
        if self._dirty or self._gone or self._leaves or self._joins:
            return 0.0
        moments = [self._due[0][0]] if self._due else []
        if self.conflicts:
            moments.append(min(sighting.last for sighting in self.conflicts.values()) + CONFLICT_QUIET)
        if (probing := self.probing.deadline) is not None:
            moments.append(probing)
        return min(moments, default=None)

    def holding(self, address: bytes) -> list[str]:
        """On which interfaces we answer for it now."""
        return sorted(name for name, held in self._held.items() if address in held)

    def set_duties(self, duties: Mapping[bytes, Filter], now: float) -> None:
        """The full set. What stays is not announced again: an agent that restarts must not be heard."""
        self.change(duties, self.duties.keys() - duties.keys(), now)

    def change(self, add: Mapping[bytes, Filter], remove: Iterable[bytes], now: float) -> None:
        """Take on, alter or give up duties; work is proportional to the change."""
        for address in remove:
            if address in self.duties:
                del self.duties[address]
                del self.counts[address]
                self._place(address, now)
        for address, allowed in add.items():
            if address in self.duties and self.duties[address] == allowed:
                continue
            self.duties[address] = allowed
            self.counts.setdefault(address, Count())
            self._place(address, now)

    def set_interfaces(self, interfaces: Mapping[str, Interface], now: float) -> bool:
        """All fit interfaces. One that came, or came back, or changed its MAC, announces what it holds."""
        before = self.interfaces
        if before == interfaces:
            return False
        for name, old in before.items():
            new = interfaces.get(name)
            if new is None or (new.ifindex, new.mac) != (old.ifindex, old.mac):
                for address in list(self._held.pop(name, ())):
                    self._lost(old, address)
                self._gone.setdefault(name, old)
        self.interfaces = dict(interfaces)
        if self.probing.again(now) or self.probing.deadline is not None:
            self._dirty.update(interfaces)
        for name, new in interfaces.items():
            if before.get(name) != new:
                for address in self.duties:
                    self._place_on(name, address, now)
        return True

    def set_probes(self, wanted: Mapping[bytes, Question], now: float) -> None:
        """The full set of addresses to ask for; what became of them stands in `probing`."""
        if self.probing.set(wanted, now):
            self._dirty.update(self.interfaces)

    def again(self, name: str) -> None:
        """Say once more what to listen for there: it could not be done."""
        self._dirty.add(name)

    def _place(self, address: bytes, now: float) -> None:
        for name in self.interfaces:
            self._place_on(name, address, now)

    def _place_on(self, name: str, address: bytes, now: float) -> None:
        interface = self.interfaces[name]
        able = interface.arp if len(address) == 4 else interface.ndp
        allowed = self.duties.get(address, frozenset())
        wanted = able and (allowed is None or name in allowed)
        held = address in self._held.get(name, ())
        if wanted and not held:
            self._gain(name, address, now)
        elif held and not wanted:
            del self._held[name][address]
            self._lost(interface, address)

    def _gain(self, name: str, address: bytes, now: float) -> None:
        self._gains += 1
        self._held.setdefault(name, {})[address] = Gain(now + GRATUITOUS_WINDOW, self._gains)
        heapq.heappush(self._due, (now, name, address, self._gains))
        self._dirty.add(name)
        if len(address) == 16:
            key = name, wire.solicited_node(address)
            self._groups[key] += 1
            if self._groups[key] == 1 and self._leaves.get(key) != self.interfaces[name]:
                self._joins[key] = self.interfaces[name]
            elif self._groups[key] == 1:
                del self._leaves[key]  # left and joined between two wakes: nothing to do

    def _lost(self, interface: Interface, address: bytes) -> None:
        name = interface.name
        self._dirty.add(name)
        for conflict in [known for known in self.conflicts if known[:2] == (name, address)]:
            del self.conflicts[conflict]
        if len(address) == 16:
            key = name, wire.solicited_node(address)
            self._groups[key] -= 1
            if not self._groups[key]:
                del self._groups[key]
                if self._joins.pop(key, None) is None:
                    self._leaves[key] = interface

    def wake(self, now: float) -> list[Effect]:
        """Everything that is due, in the order in which it must be done."""
        effects: list[Effect] = [Leave(each, group) for each, group in _some(self._leaves)]
        effects += [Listen(interface, (), ()) for interface in self._gone.values()]
        for name in sorted(self._dirty & self.interfaces.keys()):
            held = self._held.get(name, {})
            arp = tuple(sorted(address for address in held if len(address) == 4))
            ndp = tuple(sorted(address for address in held if len(address) == 16))
            asked = self.probing.listening(self.interfaces[name])
            effects.append(Listen(self.interfaces[name], arp, ndp, asked))
        self._gone.clear()
        self._dirty.clear()
        if not self._leaves:
            effects += [Join(each, group) for each, group in _some(self._joins)]
        quiet = [key for key, sighting in self.conflicts.items() if sighting.last + CONFLICT_QUIET <= now]
        for key in quiet:
            del self.conflicts[key]
        if self._leaves or self._joins:
            return effects
        ended = self.probing.changes
        effects += [Send(each, frame) for each, frame in self.probing.wake(self.interfaces, now)]
        if self.probing.changes != ended:
            self._dirty.update(self.interfaces)  # there is less to listen for
        return effects + self._announce(now)

    def _announce(self, now: float) -> list[Effect]:
        """Gratuitous frames that are due. After its window one is forgotten: we were stopped meanwhile."""
        effects: list[Effect] = []
        for _ in range(BATCH):
            if not self._due or self._due[0][0] > now:
                break
            _, name, address, serial = heapq.heappop(self._due)
            gain = self._held.get(name, {}).get(address)
            if gain is None or gain.serial != serial or gain.until < now:
                continue
            interface = self.interfaces[name]
            effects += [Send(interface, frame) for frame in wire.gratuitous(interface.mac, address)]
            self.counts[address].gratuitous += 1
            if now + GRATUITOUS_PACE <= gain.until:
                heapq.heappush(self._due, (now + GRATUITOUS_PACE, name, address, serial))
        return effects

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
            return self._solicitation(interface, packet)
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
        held = self._held.get(interface.name, {})
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
        reply = wire.arp_reply(interface.mac, packet.target, packet.sender_mac, packet.sender)
        return [*effects, self._answer(interface, packet.target, reply)]

    def _solicitation(self, interface: Interface, packet: wire.Solicitation) -> list[Effect] | wire.Drop:
        if packet.destination != interface.mac and packet.destination[:2] != b"\x33\x33":
            return wire.Drop.DESTINATION
        asker = packet.link_address or packet.source
        if self._is_ours(asker) or self._is_ours(packet.source):
            return wire.Drop.OWN
        if packet.target not in self._held.get(interface.name, {}):
            return wire.Drop.NOT_OURS
        to, to_mac, solicited = packet.sender, asker, True
        if to == wire.ANY6:  # duplicate address detection: the asker has no address yet (RFC 4861 §7.2.4)
            to, to_mac, solicited = wire.ALL_NODES, wire.multicast_mac(wire.ALL_NODES), False
        reply = wire.advertisement(interface.mac, packet.target, to_mac, to, solicited=solicited)
        return [self._answer(interface, packet.target, reply)]

    def _advertisement(
        self, interface: Interface, packet: wire.Advertisement, now: float
    ) -> list[Effect] | wire.Drop:
        claimant = packet.link_address or packet.source
        if self._is_ours(claimant) or self._is_ours(packet.source):
            return wire.Drop.OWN
        if packet.target not in self._held.get(interface.name, {}):
            return wire.Drop.NO_QUESTION
        return self._conflict(interface, packet.target, claimant, now)

    def _is_ours(self, mac: bytes) -> bool:
        """Also another interface's: two of them may stand on one segment."""
        return any(interface.mac == mac for interface in self.interfaces.values())

    def _answer(self, interface: Interface, address: bytes, frame: bytes) -> Send:
        count = self.counts[address]
        count.requests += 1
        count.replies += 1
        return Send(interface, frame)

    def _conflict(self, interface: Interface, address: bytes, mac: bytes, now: float) -> list[Effect]:
        """Remember it; an effect only on first sight. A flood of forged ones may not fill the memory."""
        conflict = Conflict(interface.name, address, mac)
        known = self.conflicts.get(conflict)
        if known is None and len(self.conflicts) >= CONFLICTS_KEPT:
            return []
        self.conflicts[conflict] = Sighting(known.times + 1 if known else 1, now)
        return [] if known else [conflict]


def _some(pending: dict[tuple[str, bytes], Interface]) -> list[tuple[Interface, bytes]]:
    """Take a batch of groups out of those that wait."""
    return [(pending.pop(key), key[1]) for key in list(islice(pending, BATCH))]
