"""Nodes, links and segments on a virtual clock: the whole of l2/ but for its sockets.

In:  faults (kill, pause, cut, lose), the time to pass. Out: who answered when.
Frames are the real ones, signed and checked; what a node does in one turn is what edge.py does.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from metalbgp.l2 import heartbeat, saying
from metalbgp.l2.heartbeat import Bad
from metalbgp.l2.links import Interface
from metalbgp.l2.machine import Conflict, Send
from metalbgp.l2.members import FAST
from metalbgp.l2.node import Node
from metalbgp.l2.standing import Duty

KEY = b"k" * 32
LATENCY = 0.0002
VIP = bytes((192, 0, 2, 100))
VIP6 = bytes.fromhex("20010db8000000000000000000000100")

Loses = Callable[[str, str, str, bytes], bool]  # sender, receiver, segment, frame


class Turn(NamedTuple):
    """Who answers for an address on a segment from that moment on."""

    at: float
    owners: frozenset[str]


class Host:
    def __init__(self, world: "World", name: str, links: dict[str, str]) -> None:
        self.world, self.name, self.links = world, name, links
        self.down: set[str] = set()  # interfaces without a link
        self.key: bytes | None = KEY
        self.known_as = name
        self.pace = FAST
        self.alive = self.paused = False
        self.inbox: list[tuple[str, bytes, float]] = []
        self.duties: dict[bytes, Duty] = {}
        self.lives = self.turns = 0

    def start(self) -> None:
        self.lives += 1
        life = sha256(f"{self.name} {self.lives} {self.world.seed}".encode()).digest()[:8]
        self.node = Node(life, self.pace, self.world.now)
        self.alive, self.paused = True, False
        self.seen: set[str] = set()
        self.inbox.clear()
        self.interfaces()
        self.identify()
        self.node.ownership.add(self.duties, self.world.now)
        self.wake()

    def identify(self) -> None:
        self.node.members.identify(self.known_as, self.key is not None, self.world.now)

    def interfaces(self) -> None:
        """As the kernel's link events would have it."""
        members = self.node.members
        self.seen |= {name for name, segment in members.segments.items() if segment.heard}
        fit = {name: self._interface(name) for name in self.links if name not in self.down}
        members.set_interfaces(fit, self.seen & self.down, self.world.now)
        if self.node.machine.set_interfaces(fit, self.world.now):
            members.changes += 1

    def _interface(self, name: str) -> Interface:
        return Interface(name, 1 + sorted(self.links).index(name), self.mac(name), arp=True, ndp=True)

    def mac(self, name: str) -> bytes:
        where = sorted(self.world.hosts).index(self.name)
        return bytes((2, 0, 0, 0, 1 + where, sorted(self.links).index(name)))

    def assign(self, duties: dict[bytes, Duty]) -> None:
        """The full set, as the agent says it."""
        gone = self.duties.keys() - duties.keys()
        self.duties = dict(duties)
        if self.alive:
            self.node.ownership.remove(gone)
            self.node.ownership.add(duties, self.world.now)
            self.wake()

    def wake(self) -> None:
        """One turn of the edge."""
        if not self.alive or self.paused:
            return
        now, node = self.world.now, self.node
        if node.stopped(now):
            self.inbox.clear()
        inbox, self.inbox = self.inbox, []
        keys = (self.key,) if self.key else ()
        for name, frame, at in inbox:
            if frame[12:14] in (b"\x88\xb5", b"\x08\x00"):
                self.hear(name, frame, at, keys)
        beat = node.turn(now)
        effects = []
        for name, frame, at in inbox:
            if frame[12:14] in (b"\x08\x06", b"\x86\xdd"):
                effects += node.machine.frame(name, frame, now - at, now)
        for effect in (*effects, *node.effects(now)):
            if isinstance(effect, Send):
                self.world.transmit(self, effect.interface.name, effect.frame)
            elif isinstance(effect, Conflict):
                node.expects(effect, now)
        if node.speaks(now, beat=beat):
            for name, interface in node.machine.interfaces.items():
                for said in saying.beats(node.members, name, now):
                    self.world.transmit(self, name, heartbeat.encode(said, interface.mac, keys))
        self.world.note()
        due = node.deadline
        self.turns += 1
        if due < float("inf"):
            turn = self.turns
            self.world.at(max(due, now + 0.0001), lambda: self.wake() if self.turns == turn else None)

    def hear(self, name: str, frame: bytes, at: float, keys: tuple[bytes, ...]) -> None:
        said = heartbeat.decode(frame, keys)
        if said is Bad.SIGNATURE:
            self.node.members.strange(name, heartbeat.sender_of(frame), at)
        if not isinstance(said, Bad):
            self.node.members.receive(name, said, frame[6:12], at)

    def answers(self, address: bytes) -> set[str]:
        """The segments on which it answers now."""
        if not self.alive or self.paused:
            return set()
        return {self.links[name] for name in self.node.machine.holding(address) if name not in self.down}


class World:
    def __init__(self, *names: str, segments: tuple[str, ...] = ("lan",), seed: int = 0) -> None:
        self.now, self.seed = 100.0, seed
        self.random = random.Random(seed)  # noqa: S311  # which frames are lost
        self.loses: Loses = lambda sender, receiver, segment, frame: False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.tape: dict[tuple[bytes, str], list[Turn]] = {}
        self.recorded: list[tuple[str, bytes]] = []  # heartbeats by their sender
        self.hosts = {
            name: Host(self, name, {f"eth{number}": segment for number, segment in enumerate(segments)})
            for name in names
        }

    def at(self, moment: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), what))

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until

    def transmit(self, sender: Host, interface: str, frame: bytes) -> None:
        if interface in sender.down:
            return
        if frame[12:14] == b"\x88\xb5":
            self.recorded.append((sender.name, frame))
        self.put(sender.name, sender.links[interface], frame)

    def put(self, sender: str, segment: str, frame: bytes) -> None:
        for host in self.hosts.values():
            for name, there in host.links.items():
                hears = there == segment and host.name != sender and name not in host.down
                if hears and not self.loses(sender, host.name, segment, frame):
                    self.at(self.now + LATENCY, partial(self._arrive, host, name, frame))

    def _arrive(self, host: Host, name: str, frame: bytes) -> None:
        if host.alive and name not in host.down:
            host.inbox.append((name, frame, self.now))
            host.wake()

    # ------------------------------------------------------------------ what happens

    def start(
        self,
        candidates: str = "",
        *,
        addresses: tuple[bytes, ...] = (VIP,),
        settle: float = 2.0,
        revertive: bool = True,
        fenced: bool = False,
    ) -> None:
        """All at once, as when a cluster is switched on."""
        duty = Duty(None, tuple(candidates.split() or self.hosts), revertive, fenced)
        for host in self.hosts.values():
            host.duties = {} if host.name not in duty.candidates else dict.fromkeys(addresses, duty)
            host.start()
        self.run(settle)

    def kill(self, name: str) -> None:
        self.hosts[name].alive = False
        self.note()

    def pause(self, name: str) -> None:
        self.hosts[name].paused = True
        self.note()

    def resume(self, name: str) -> None:
        self.hosts[name].paused = False
        self.hosts[name].wake()

    def leave(self, name: str) -> None:
        """SIGTERM, and what process.py makes of it."""
        host = self.hosts[name]
        host.node.members.leave(self.now)
        until = self.now + 0.08

        def look() -> None:
            if host.node.members.gone(self.now, 0.08) or self.now >= until:
                self.kill(name)
            else:
                self.at(self.now + 0.005, look)

        host.wake()
        look()

    def cut(self, name: str, *interfaces: str) -> None:
        host = self.hosts[name]
        host.down |= set(interfaces or host.links)
        self._linked(host)

    def mend(self, name: str) -> None:
        self.hosts[name].down.clear()
        self._linked(self.hosts[name])

    def _linked(self, host: Host) -> None:
        if host.alive and not host.paused:
            host.interfaces()
            host.wake()
        self.note()

    def part(self, *halves: set[str]) -> None:
        """Only nodes of one half hear each other."""
        self.loses = lambda sender, receiver, segment, frame: (
            not any({sender, receiver} <= half for half in halves)
        )

    # ------------------------------------------------------------------ what was seen

    def note(self) -> None:
        addresses = {address for host in self.hosts.values() for address in host.duties}
        segments = {segment for host in self.hosts.values() for segment in host.links.values()}
        for address in addresses:
            answering = {name: host.answers(address) for name, host in self.hosts.items()}
            for segment in segments:
                owners = frozenset(name for name, where in answering.items() if segment in where)
                turns = self.tape.setdefault((address, segment), [Turn(self.now, frozenset())])
                if turns[-1].owners != owners:
                    turns.append(Turn(self.now, owners))

    def owners(self, address: bytes = VIP, segment: str = "lan") -> set[str]:
        self.note()
        return set(self.tape[address, segment][-1].owners)

    def spans(
        self, since: float, address: bytes = VIP, segment: str = "lan"
    ) -> list[tuple[float, frozenset[str]]]:
        """(seconds, owners) from that moment on, in order."""
        self.note()
        turns = self.tape[address, segment]
        spans = []
        for turn, after in zip(turns, (*turns[1:], Turn(self.now, frozenset())), strict=True):
            length = after.at - max(turn.at, since)
            if length > 0:
                spans.append((length, turn.owners))
        return spans

    def nobody(self, since: float, address: bytes = VIP, segment: str = "lan") -> float:
        """Seconds in which nobody answered."""
        return sum(length for length, owners in self.spans(since, address, segment) if not owners)

    def several(
        self, since: float, address: bytes = VIP, segment: str = "lan", among: set[str] | None = None
    ) -> float:
        """Seconds in which more than one answered (of those that one client can hear)."""
        return sum(
            length
            for length, owners in self.spans(since, address, segment)
            if len(owners & (among or owners)) > 1
        )

    def moves(self, since: float, address: bytes = VIP, segment: str = "lan") -> list[str]:
        """The owners one after the other."""
        found: list[str] = []
        for _, owners in self.spans(since, address, segment):
            for name in sorted(owners):
                if not found or found[-1] != name:
                    found.append(name)
        return found


def is_beat(frame: bytes) -> bool:
    """By our EtherType or by UDP."""
    return frame[12:14] in (b"\x88\xb5", b"\x08\x00")


def by_ethertype(frame: bytes) -> bool:
    return frame[12:14] == b"\x88\xb5"
