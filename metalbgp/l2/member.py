"""What is known of one node's reflex, and of one segment: values that members.py keeps. Pure.

In:  heartbeats, through members.py. Out: who is heard where, for standing.py.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from metalbgp.l2.heartbeat import ACTIVE, LEAVING, Heartbeat

LOSSY: Final = 0.03  # from this share on, twice the multiplier: 30 % would kill a node every 20 s


class Life(StrEnum):
    """What one interface says of a member."""

    ALIVE = "live"
    DOUBT = "vanished"
    DEAD = "silent"


class Sight:
    """One life of a member on one of our interfaces."""

    __slots__ = ("beats", "ether", "flags", "hears", "last", "loss", "mac", "since", "state", "udp")

    def __init__(self, at: float) -> None:
        self.since = self.last = at
        self.ether = self.udp = float("-inf")
        self.beats: list[int] = [-1, -1]  # the last number by our EtherType, by UDP
        self.loss = 0.0
        self.flags = 0
        self.state = Life.ALIVE
        self.hears: dict[tuple[bytes, bytes], int] = {}
        self.mac = b""


class Member:
    """One life of one node's reflex."""

    __slots__ = (
        "began",
        "claimed",
        "flags",
        "interval",
        "life",
        "lost",
        "multiplier",
        "parts",
        "sender",
        "sights",
    )

    def __init__(self, beat: Heartbeat, at: float) -> None:
        self.sender, self.life = beat.sender, beat.life
        self.began = at - beat.age / 1000
        self.interval, self.multiplier = beat.interval / 1000, beat.multiplier
        self.lost: tuple[bytes, ...] = ()
        self.parts: dict[int, tuple[bytes, ...]] = {}  # of its claims
        self.claimed: frozenset[bytes] | None = None  # all of them; None: not all parts were heard yet
        self.sights: dict[str, Sight] = {}

    def patience(self, sight: Sight) -> float:
        """Seconds of silence that are death."""
        return self.interval * self.multiplier * (2 if sight.loss > LOSSY else 1)

    def alive(self, interfaces: Iterable[str]) -> list[Sight]:
        """Where it is heard, of these."""
        return [
            self.sights[name]
            for name in interfaces
            if name in self.sights and self.sights[name].state is Life.ALIVE
        ]

    @property
    def any_alive(self) -> bool:
        return any(sight.state is Life.ALIVE for sight in self.sights.values())

    @property
    def active(self) -> bool:
        """Whether it may own something, somewhere."""
        return is_active(self.alive(self.sights))


def is_active(sights: Iterable[Sight]) -> bool:
    """Whether a member heard like this may own what is answered for there."""
    flags = [sight.flags for sight in sights]
    return any(one & ACTIVE for one in flags) and not any(one & LEAVING for one in flags)


class Segment:
    """What was heard on one interface, of whomever."""

    __slots__ = (
        *("heard", "last", "quiet", "ready", "since", "strange", "udp_until", "up"),
        "want_udp_until",
    )

    def __init__(self, now: float) -> None:
        self.up, self.ready = now, False  # listened to for long enough to answer there
        self.strange: dict[bytes, float] = {}  # who signs with another key, and when that was heard last
        self.since = self.last = float("-inf")  # of the present run of hearing somebody
        self.udp_until = self.want_udp_until = float("-inf")
        self.heard = False  # anybody, ever
        self.quiet: frozenset[bytes] = frozenset()  # in doubt, all at once
