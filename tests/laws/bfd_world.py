"""Two BFD machines on a network of ours: virtual time, delays, losses, ends that are woken late.

In:  a seed and what the network does to packets. Out: what each end was and when, every packet that arrived.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from typing import Final, NamedTuple

from metalbgp.bfd.machine import Parameters, Session
from metalbgp.bfd.wire import Packet, State, decode, encode

LATE: Final = 0.004  # seconds that an end is woken late at most
MS: Final = 1000


class Arrival(NamedTuple):
    at: float
    packet: Packet


class Sent(NamedTuple):
    at: float
    packet: Packet


class Change(NamedTuple):
    at: float
    was: State
    became: State
    failed: bool


def parameters(receive: int, transmit: int, multiplier: int = 3, *, passive: bool = False) -> Parameters:
    """Intervals in milliseconds."""
    return Parameters(receive * MS, transmit * MS, multiplier, passive=passive)


class End:
    def __init__(self, world: "World", name: str, wanted: Parameters, discriminator: int) -> None:
        self.world, self.name = world, name
        self.session = Session(wanted, discriminator, world.now, world.random.random)
        self.queue: list[tuple[float, Packet]] = []
        self.heard: list[Arrival] = []
        self.sent: list[Sent] = []
        self.changes: list[Change] = []

    @property
    def state(self) -> State:
        return self.session.state

    def change(self, wanted: Parameters) -> None:
        self.session.change(wanted, self.world.now)
        self.plan()

    def end(self) -> None:
        self.session.end(self.world.now)
        self.plan()

    def run(self) -> None:
        """What the edge does: read what came, then judge and send."""
        now, session = self.world.now, self.session
        if not self.queue and now < session.deadline:
            return
        for at, packet in self.queue:
            before = session.state
            session.receive_packet(packet, at, now)
            self._note(before)
            self.heard.append(Arrival(at, packet))
        self.queue.clear()
        before = session.state
        for packet in session.wake(now, now):
            self.sent.append(Sent(now, packet))
            self.world.carry(self, encode(packet))
        self._note(before)
        self.plan()

    def plan(self) -> None:
        if self.session.deadline < math.inf:
            self.world.later(max(self.world.now, self.session.deadline) + self.world.lateness(), self.run)

    def _note(self, before: State) -> None:
        if self.state is not before:
            self.changes.append(Change(self.world.now, before, self.state, self.session.failed))


class World:
    """`delay`: seconds at most that a packet is on its way; `lost` says whether the next one of an end is."""

    def __init__(self, ours: Parameters, theirs: Parameters, seed: int, delay: float = 0.003) -> None:
        self.now = 1000.0
        self.random = random.Random(seed)  # noqa: S311  # a seed repeats it
        self.lost: Callable[[End], bool] = lambda _: False
        self._delay = delay
        self._count = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self.a, self.b = End(self, "a", ours, 0xA), End(self, "b", theirs, 0xB)
        for end in self.ends:
            end.plan()

    @property
    def ends(self) -> tuple[End, End]:
        return self.a, self.b

    def other(self, end: End) -> End:
        return self.b if end is self.a else self.a

    def lateness(self) -> float:
        return self.random.random() * LATE

    def later(self, at: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._count), do))

    def carry(self, sender: End, payload: bytes) -> None:
        if self.lost(sender):
            return
        packet, to = decode(payload), self.other(sender)
        assert isinstance(packet, Packet)
        at = self.now + self.random.random() * self._delay
        if packet.yours not in (0, to.session.discriminator):
            return

        def arrive() -> None:
            to.queue.append((self.now, packet))
            self.later(self.now + self.lateness(), to.run)

        self.later(at, arrive)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let that much time pass, or less if it holds sooner; whether it does."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, do = heapq.heappop(self._events)
            do()
            if until():
                return True
        self.now = end
        return until()

    def up(self) -> bool:
        return self.a.state is self.b.state is State.UP


class Losses:
    """Each direction loses packets by chance, and never more than `row` one after another."""

    def __init__(self, seed: int, share: float, row: int) -> None:
        self._random, self._share, self._row = random.Random(seed), share, row  # noqa: S311  # a seed repeats it
        self._lost = {"a": 0, "b": 0}

    def __call__(self, sender: End) -> bool:
        lost = self._lost[sender.name] < self._row and self._random.random() < self._share
        self._lost[sender.name] = self._lost[sender.name] + 1 if lost else 0
        return lost
