"""When the neighbours are told unasked where an address lives. Sans-I/O.

In:  gains and losses of an address on an interface, conflicts, `now` (seconds, monotonic).
Out: due(now), the gains to tell of now; defences(now), the conflicts to answer; `deadline`.
Elsewhere: the frames in wire.py; who holds what, and groups that must be joined first, in machine.py.

One gain is told at once, five times more within 0.4 s, every 1.1 s until 5 s are over, and from then on every
5 minutes for those who missed all that. Where 30 of 100 frames get lost, all six of the first 0.4 s do once
in 1,400 gains, also for a station that believes only one of the two ARP forms. RFC 4861 §7.2.6 has three
advertisements a second apart: for hosts that lose nothing by waiting.

Every queue holds one gap, so it is in order by itself: ten thousand gains need no heap and no timer each.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

EARLY: Final = (0.03, 0.04, 0.08, 0.1, 0.15)  # seconds between the first frames: at 30, 70, 150, 250, 400 ms
PACE: Final = 1.1  # then, as MetalLB does, until 5 s are over
GAPS: Final = (*EARLY, PACE, PACE, PACE, PACE)
SKIP: Final = 0.4  # where many come at once: the second frame
MANY: Final = 256  # gains that may be in their first 0.4 s and be told so often
REFRESH: Final = 300.0  # from here on each gain once in so many seconds, one after the other
STOPPED: Final = 1.0  # seconds that something was due and nobody called: others may hold our addresses by now
BATCH: Final = 200  # gains in one due(): a thousand new addresses must not hold up answers
DEFEND_AFTER: Final = 0.5  # a node of ours that should have it is known by its heartbeats by then
DEFEND_INTERVAL: Final = 10.0  # RFC 5227 §2.4
NEVER: Final = float("-inf")
_SETTLED: Final = len(GAPS) + 1


class Gain:
    """We came to hold an address on an interface. The name is "" when we lost it: queues skip it then."""

    __slots__ = ("address", "defended", "due", "name", "step")

    def __init__(self, name: str, address: bytes, now: float) -> None:
        self.name = name
        self.address = address
        self.due = now
        self.step = 0  # the gap before the next frame
        self.defended = NEVER


class Announcing:
    def __init__(self) -> None:
        self._first: deque[Gain] = deque()
        self._repeats: dict[float, deque[Gain]] = {gap: deque() for gap in sorted({*GAPS, SKIP})}
        self._early = [self._repeats[gap] for gap in EARLY]
        self._ring: deque[Gain] = deque()  # who was refreshed longest ago stands first
        self._settled = 0  # in the ring, and not lost
        self._refresh_at = 0.0
        self._defences: deque[Gain] = deque()
        self._called = NEVER

    def gain(self, name: str, address: bytes, now: float) -> Gain:
        gain = Gain(name, address, now)
        self._first.append(gain)
        self._called = now
        return gain

    def lose(self, gain: Gain) -> None:
        gain.name = ""
        self._settled -= gain.step == _SETTLED
        if not self._settled:
            self._ring.clear()

    def defend(self, gain: Gain, now: float) -> None:
        """Somebody else says that the address is his: say that it is ours, once in 10 s (RFC 5227 §2.4).

        Not at once: between two nodes of ours heartbeats decide first, and the loser must not speak last.
        """
        if now >= gain.defended + DEFEND_INTERVAL:
            gain.defended = now + DEFEND_AFTER
            self._defences.append(gain)

    @property
    def deadline(self) -> float | None:
        """When due() has something to say; None: never."""
        moments = [queue[0].due for queue in (self._first, *self._repeats.values()) if queue]
        if self._defences:
            moments.append(self._defences[0].defended)
        if self._settled:
            moments.append(self._refresh_at)
        return min(moments, default=None)

    def due(self, now: float, held_back: Callable[[Gain], bool]) -> list[Gain]:
        """Whom to tell of now: all first frames before any repeat. held_back: its group is not joined yet."""
        deadline, called = self.deadline, self._called
        self._called = now
        if deadline is None or deadline > now:
            return []
        if now - max(deadline, called) > STOPPED:
            self._forget(now)
            return []
        told: list[Gain] = []
        self._tell_first(told, now, held_back)
        for queue in self._repeats.values():
            while queue and queue[0].due <= now and len(told) < BATCH:
                gain = queue.popleft()
                if gain.name:
                    told.append(gain)
                    self._again(gain, now)
        self._refresh(told, now)
        return told

    def defences(self, now: float) -> list[Gain]:
        """Which conflicts are to be answered now; what was given up meanwhile is not."""
        told = []
        while self._defences and self._defences[0].defended <= now:
            gain = self._defences.popleft()
            if gain.name and now - gain.defended <= STOPPED:
                told.append(gain)
        return told

    def _tell_first(self, told: list[Gain], now: float, held_back: Callable[[Gain], bool]) -> None:
        while self._first and len(told) < BATCH and not held_back(self._first[0]):
            gain = self._first.popleft()
            if not gain.name:
                continue
            told.append(gain)
            if len(self._first) + sum(map(len, self._early)) < MANY:
                self._again(gain, now)
            else:
                gain.step, gain.due = len(EARLY), now + SKIP
                self._repeats[SKIP].append(gain)

    def _again(self, gain: Gain, now: float) -> None:
        """The next frame, so long after this one: a delay makes no two of them stand close."""
        if gain.step == len(GAPS):
            self._settle(gain, now)
            return
        gap = GAPS[gain.step]
        gain.step += 1
        gain.due = now + gap
        self._repeats[gap].append(gain)

    def _settle(self, gain: Gain, now: float) -> None:
        gain.step = _SETTLED
        self._ring.append(gain)
        self._settled += 1
        soon = now + REFRESH / self._settled
        self._refresh_at = soon if self._settled == 1 else min(self._refresh_at, soon)

    def _refresh(self, told: list[Gain], now: float) -> None:
        while self._ring and self._refresh_at <= now and len(told) < BATCH:
            gain = self._ring.popleft()
            if gain.name:
                told.append(gain)
                self._ring.append(gain)
                self._refresh_at += REFRESH / self._settled

    def _forget(self, now: float) -> None:
        """We were stopped: nothing that was due then is said now."""
        for queue in (self._first, *self._repeats.values()):
            for gain in queue:
                if gain.name:
                    self._settle(gain, now)
            queue.clear()
        if self._settled:
            self._refresh_at = now + REFRESH / self._settled
