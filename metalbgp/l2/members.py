"""Which nodes live on which segment, by their heartbeats, and what this node is among them. Sans-I/O.

In:  decoded heartbeats with the time at which the kernel got them, the fit interfaces, `now` (seconds on
     CLOCK_BOOTTIME). Out: standing() of a node, our own state, heartbeats to send, and `deadline`.
Elsewhere: bytes in heartbeat.py; who owns an address by it, ownership.py; sockets in edge.py.

A node silent for `multiplier` intervals is dead, if the segment was heard otherwise: somebody else's
heartbeats came through meanwhile. Where nobody's did, the segment may be what is broken, and the node is in
doubt (docs/layer2.md, "Silence"). We list whom we hear for two intervals less than that, so that whoever
is not heard learns of it before anybody takes its addresses.

One file because hearing, judging and our own state are one clockwork: each reads what the others keep.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from metalbgp.l2 import heartbeat
from metalbgp.l2.heartbeat import ACTIVE, BY_UDP, LEAVING, WANT_UDP, Bad, Heartbeat
from metalbgp.l2.member import Life, Member, Segment, Sight

LISTEN: Final = 1.0  # seconds that a node listens which hears nobody: as long as two heartbeats by UDP
UDP_EVERY: Final = 10  # heartbeats, of which one also goes by UDP
UDP_HOLD: Final = 10.0  # seconds that UDP keeps the full pace after it was last needed
EVIDENCE: Final = 3  # intervals within which somebody else was heard, for a silence to mean death
WAKEUPS: Final = 400  # heartbeats a second that may wake us; more members beat more slowly
LOSS_WEIGHT: Final = 1 / 64
FORGET: Final = 3600.0  # seconds that the dead are shown
LOST_MOST: Final = 20
STRANGE: Final = 3.0  # seconds after which somebody who signs with another key is gone


class Pace(NamedTuple):
    """How often we are heard, and how many missing heartbeats are death."""

    interval: float
    multiplier: int


FAST: Final = Pace(0.05, 5)
SLOW: Final = Pace(0.2, 6)  # without a realtime class: a busy machine stalls such a process for longer


class Self(StrEnum):
    """What this node is. The values are API."""

    NO_KEY = "no-key"
    LISTENING = "listening"
    ANNOUNCED = "announced"  # the others are told, and have not all answered yet
    ACTIVE = "active"
    LEAVING = "leaving"
    DUPLICATE = "duplicate"


class Members:
    """`life`: eight random bytes, fresh for each life of the process."""

    def __init__(self, life: bytes, pace: Pace, now: float) -> None:
        self.life, self.pace = life, pace
        self.node = ""
        self.sender = b""
        self.began = now
        self.state = Self.NO_KEY
        self.names: dict[bytes, str] = {}  # nodes that count: candidates of our duties
        self.lives: dict[bytes, dict[bytes, Member]] = {}
        self.segments: dict[str, Segment] = {}
        self.claims: tuple[bytes, ...] = ()
        self.lost: tuple[str, ...] = ()
        self.stalls = 0
        self.changes = 0  # counts what may change an owner
        self.urgent = False  # a heartbeat is due at once
        self.twin = ""  # the MAC of another node with our name
        self._listen_from = now
        self._announced = now
        self._left: float | None = None
        self.beats = 0
        self.part = 0
        self._next = float("inf")
        self._expiry = float("inf")
        self._ticked: float | None = None

    # ------------------------------------------------------------------ who we are

    def identify(self, node: str, has_key: bool, now: float) -> None:
        """What the agent says. A node without a key is no member."""
        if node != self.node:
            self.node, self.sender = node, heartbeat.identify(node)
            self.changes += 1
        if has_key and self.state is Self.NO_KEY:
            self.listen(now)
        elif not has_key and self.state is not Self.NO_KEY:
            self.state = Self.NO_KEY
            self.changes += 1
            self._next = float("inf")

    def know(self, nodes: Iterable[str], now: float) -> None:
        """The candidates of all our duties. Whoever had nobody to listen to begins with that."""
        names = {heartbeat.identify(node): node for node in nodes}
        if names == self.names:
            return
        alone = not self.speaks
        for sender in self.lives.keys() - names.keys() - {self.sender}:
            del self.lives[sender]
        self.names = names
        self.changes += 1
        if alone and self.speaks:
            self._ticked = None
            self._next = now
            if self.state is Self.ACTIVE:
                self.listen(now)

    def set_interfaces(self, fit: Iterable[str], lost: Iterable[str], now: float) -> None:
        """Those that may carry heartbeats; `lost`: have no link and had one, and others were heard there.
        One that comes, or comes back, is listened to before this node answers there."""
        names = set(fit)
        if not self.segments and names and self.speaks and self.state is Self.ACTIVE:
            self.listen(now)  # cut off until now
        for name in self.segments.keys() - names:
            del self.segments[name]
        for name in names - self.segments.keys():
            self.segments[name] = Segment(now)
            self.changes += 1
        lost_now = tuple(sorted(lost))[:LOST_MOST]
        for member in self.everybody():
            for name in member.sights.keys() - names:
                del member.sights[name]
                self.changes += 1
        if lost_now != self.lost:
            self.lost = lost_now
            self.changes += 1
            self.urgent = True

    def listen(self, now: float) -> None:
        """Begin anew: hear the others before saying anything."""
        self.state = Self.LISTENING
        self._listen_from = now
        self._next = now
        self.changes += 1

    def leave(self, now: float) -> None:
        """Tell the others; `gone` says when they know."""
        if self.state in (Self.ACTIVE, Self.ANNOUNCED):
            self.state = Self.LEAVING
            self._left = now
            self.urgent = True

    def gone(self, now: float, limit: float) -> bool:
        """Whether every live member has taken note of our leaving, or the time for it is over."""
        if self.state is not Self.LEAVING or self._left is None or now >= self._left + limit:
            return True
        return all(self.echoes(member) & LEAVING for member in self._live_others())

    @property
    def speaks(self) -> bool:
        """Whether there is anybody to speak to: candidates besides us."""
        return self.state is not Self.NO_KEY and any(sender != self.sender for sender in self.names)

    @property
    def owns(self) -> bool:
        """Whether this node may own an address at all."""
        return self.state in (Self.ACTIVE, Self.LEAVING)

    # ------------------------------------------------------------------ hearing

    def receive(self, interface: str, beat: Heartbeat, mac: bytes, at: float) -> Bad | None:
        """One heartbeat, at the time at which the kernel got it."""
        segment = self.segments.get(interface)
        if segment is None or (beat.sender == self.sender and beat.life == self.life):
            return Bad.STALE
        if beat.sender not in self.names and beat.sender != self.sender:
            return None  # of no concern to us
        lives = self.lives.setdefault(beat.sender, {})
        member = lives.get(beat.life)
        if member is None:
            member = lives[beat.life] = Member(beat, at)
            self.changes += 1
        sight = member.sights.get(interface)
        udp = bool(beat.flags & BY_UDP)
        if sight is None:
            sight = member.sights[interface] = Sight(at)
            self.changes += 1
        elif beat.beat <= sight.beats[udp]:
            return Bad.REPLAYED
        self._seen(segment, sight, beat, at, udp)
        sight.mac = mac
        hears = {(one.sender, one.life): one.flags for one in beat.heard}
        kept = beat.flags & (ACTIVE | LEAVING)
        if (hears, kept, beat.lost) != (sight.hears, sight.flags, member.lost):
            self.urgent |= kept != sight.flags  # it waits for us to say that we know
            sight.hears, sight.flags, member.lost = hears, kept, beat.lost
            self.changes += 1
        member.interval, member.multiplier = beat.interval / 1000, beat.multiplier
        self._claimed(member, beat)
        if sight.state is not Life.ALIVE:
            sight.state, sight.since = Life.ALIVE, at
            self.changes += 1
            self.urgent = True  # it may own what we own, and learns of us a heartbeat sooner
        self._expiry = min(self._expiry, at + member.patience(sight))
        if self.state is Self.ANNOUNCED:
            self._expiry = at  # it may be the answer that we wait for
        return None

    def _seen(self, segment: Segment, sight: Sight, beat: Heartbeat, at: float, udp: bool) -> None:
        interval = beat.interval / 1000
        if at - segment.last > EVIDENCE * interval:
            segment.since = at
        segment.last = max(segment.last, at)
        segment.heard = True
        if udp:
            if at - sight.ether > (EVIDENCE + 1) * interval:
                segment.want_udp_until = at + UDP_HOLD
            sight.udp = at
        else:
            if sight.beats[0] >= 0 and sight.state is Life.ALIVE:
                missing = min(beat.beat - sight.beats[0] - 1, 64)
                for value in (*(1.0,) * missing, 0.0):
                    sight.loss += (value - sight.loss) * LOSS_WEIGHT
            sight.ether = at
        if beat.flags & WANT_UDP:
            segment.udp_until = at + UDP_HOLD
        sight.beats[udp] = beat.beat
        sight.last = max(sight.last, at)

    def _claimed(self, member: Member, beat: Heartbeat) -> None:
        if beat.parts <= 1:
            member.parts.clear()
            claimed: frozenset[bytes] | None = frozenset(beat.claims)
        else:
            member.parts[beat.part] = beat.claims
            for part in [part for part in member.parts if part >= beat.parts]:
                del member.parts[part]
            whole = len(member.parts) == beat.parts
            claimed = frozenset().union(*member.parts.values()) if whole else None
        if claimed is not None and claimed != member.claimed:
            member.claimed = claimed
            self.changes += 1

    def strange(self, interface: str, sender: bytes, at: float) -> None:
        """Somebody there says that it is one of ours, and signs with another key."""
        segment = self.segments.get(interface)
        if segment is not None and sender in self.names and sender != self.sender:
            self.changes += sender not in segment.strange
            segment.strange[sender] = at

    def strangers(self, interfaces: Iterable[str]) -> set[bytes]:
        """Nodes whom we cannot understand, nor they us."""
        found = {one for name in interfaces if name in self.segments for one in self.segments[name].strange}
        return {one for one in found if (member := self.member(one)) is None or not member.any_alive}

    # ------------------------------------------------------------------ time

    @property
    def deadline(self) -> float:
        """When tick() is due. Who has nobody to speak to and nothing to wait for sleeps."""
        if self.state is Self.NO_KEY:
            return float("inf")
        if self.state is Self.ACTIVE and not self.speaks and all(one.ready for one in self.segments.values()):
            return float("inf")
        return 0.0 if self.urgent and self.speaks else min(self._next, self._expiry)

    def stalled(self, now: float) -> bool:
        """The self-stall rule: whether we were away for so long that the others took us for dead, or soon
        will. Then nothing that queued meanwhile counts, nothing is owned, and we listen again."""
        if not self.speaks or self._ticked is None:
            return False
        return now - self._ticked > self.pace.interval * (self.pace.multiplier - 1)

    def restart(self, now: float) -> None:
        """After a stall. Who lived before it is not dead because we did not look."""
        self.stalls += 1
        for member in self.everybody():
            for sight in member.sights.values():
                sight.last = max(sight.last, now) if sight.state is Life.ALIVE else sight.last
        for segment in self.segments.values():
            segment.since = now
        self._ticked = now
        self.listen(now)

    def tick(self, now: float) -> bool:
        """What is due; True if a heartbeat goes out now."""
        late = self._ticked is not None and now - self._ticked > 2 * self.interval
        self._ticked = now
        if not late:  # whoever looks up late has not heard what came meanwhile
            self._judge(now)
        else:
            self._expiry = now
        self._progress(now)
        if now < self._next and not self.urgent:
            return False
        if now >= self._next:
            self._next = max(self._next + self.interval, now + self.interval / 2)
        self.urgent = False
        self.beats += 1
        self.part += 1
        return self.speaks

    @property
    def interval(self) -> float:
        """Ours: longer where many would wake each other too often."""
        alive = sum(1 for _ in self._live_others())
        return max(self.pace.interval, alive / WAKEUPS)

    def _judge(self, now: float) -> None:
        self._expiry = float("inf")
        for name, segment in self.segments.items():
            for sender in [one for one, at in segment.strange.items() if now - at > STRANGE]:
                del segment.strange[sender]
                self.changes += 1
            if not segment.ready and now - segment.up >= self.pace.interval * self.pace.multiplier:
                segment.ready = True
                self.changes += 1
                self.urgent |= self.state is Self.ACTIVE
            doubted: set[bytes] = set()
            unheard: set[bytes] = set()  # lately, the patience with some being longer than with others
            for member in self.everybody():
                sight = member.sights.get(name)
                if sight is None or sight.state is Life.DEAD:
                    continue
                state = self._state_of(member, sight, segment, now)
                if state is not sight.state:
                    sight.state = state
                    self.changes += 1
                if state is not Life.DEAD and now - sight.last > EVIDENCE * member.interval:
                    unheard.add(member.sender)
                if state is Life.DOUBT:
                    doubted.add(member.sender)
                elif state is Life.ALIVE:
                    self._expiry = min(self._expiry, sight.last + member.patience(sight))
            segment.quiet = frozenset(unheard if doubted else ())
        for sender, lives in list(self.lives.items()):
            for life, member in list(lives.items()):
                last = max((sight.last for sight in member.sights.values()), default=float("-inf"))
                superseded = not member.any_alive and any(other.any_alive for other in lives.values())
                if superseded or now - last > FORGET:
                    del lives[life]
            if not lives:
                del self.lives[sender]

    @staticmethod
    def _state_of(member: Member, sight: Sight, segment: Segment, now: float) -> Life:
        patience = member.patience(sight)
        if now - sight.last < patience:
            return Life.ALIVE
        evident = now - segment.last <= EVIDENCE * member.interval
        if evident and now - max(sight.last, segment.since) >= patience:
            return Life.DEAD
        return Life.DOUBT

    def bury(self, sender: bytes, interfaces: Iterable[str]) -> None:
        """One in doubt is dead: asked on the wire, nobody answers for its addresses."""
        for member in self.lives.get(sender, {}).values():
            for name in interfaces:
                sight = member.sights.get(name)
                if sight is not None and sight.state is Life.DOUBT:
                    sight.state = Life.DEAD
                    self.changes += 1

    def _progress(self, now: float) -> None:
        """Our own state."""
        self._twins()
        if self.state is Self.LISTENING and self._listened(now):
            self.state, self._announced = Self.ANNOUNCED, now
            self.urgent = True
        if self.state is Self.ANNOUNCED and (
            now >= self._announced + 2 * self.interval
            or all(self.echoes(member) & ACTIVE for member in self._live_others() if member.active)
        ):
            self.state = Self.ACTIVE
            self.changes += 1

    def _listened(self, now: float) -> bool:
        waited = now - self._listen_from
        if waited < self.pace.interval * self.pace.multiplier:
            return False
        others = list(self._live_others())
        if not others and self.speaks and self.segments:
            return waited >= max(LISTEN, self.pace.interval * self.pace.multiplier)
        return all(member.claimed is not None for member in others) or waited >= 5 * LISTEN

    def _twins(self) -> None:
        """Another node with our name that hears us too: the older one stays (docs/layer2.md)."""
        twins = [
            member
            for member in self.lives.get(self.sender, {}).values()
            if member.any_alive and self.echoes(member, any_flags=True)
        ]
        older = [one for one in twins if (one.began + 0.001, one.life) < (self.began, self.life)]
        self.twin = next((sight.mac.hex(":") for one in twins for sight in one.sights.values()), "")
        if older and self.state not in (Self.DUPLICATE, Self.NO_KEY):
            self.state = Self.DUPLICATE
            self.changes += 1
        elif not older and self.state is Self.DUPLICATE:
            self.state = Self.LISTENING
            self._listen_from = self._ticked or 0.0
            self.changes += 1

    # ------------------------------------------------------------------ what others ask

    def by_udp(self, interface: str, now: float) -> bool:
        """Whether UDP has to do what our EtherType cannot, there."""
        segment = self.segments[interface]
        return max(segment.udp_until, segment.want_udp_until) > now

    def member(self, sender: bytes) -> Member | None:
        """The life that counts: active before others, then the older."""
        lives = self.lives.get(sender)
        if not lives:
            return None
        if len(lives) == 1:
            return next(iter(lives.values()))
        return min(lives.values(), key=lambda one: (not one.any_alive, not one.active, one.began))

    @property
    def hears_anybody(self) -> bool:
        return any(True for _ in self._live_others())

    def has(self, mac: bytes) -> bool:
        """Whether it is a live member's."""
        return any(
            sight.mac == mac and sight.state is not Life.DEAD
            for member in self.everybody()
            for sight in member.sights.values()
        )

    def macs_beside(self, sender: bytes) -> frozenset[bytes]:
        """Those of every live member but one."""
        return frozenset(
            sight.mac
            for member in self.everybody()
            for sight in member.sights.values()
            if member.sender != sender and sight.state is not Life.DEAD
        )

    def hears_us(self, member: Member, sight: Sight) -> bool:
        return (self.sender, self.life[:4]) in sight.hears

    def echoes(self, member: Member, *, any_flags: bool = False) -> int:
        """The flags of ours that it last saw, over all interfaces; any_flags: whether it hears us at all."""
        us = self.sender, self.life[:4]
        found = [sight.hears[us] for sight in member.sights.values() if us in sight.hears]
        if any_flags:
            return bool(found)
        flags = 0
        for one in found:
            flags |= one
        return flags

    def everybody(self) -> Iterator[Member]:
        for lives in list(self.lives.values()):
            yield from list(lives.values())

    def _live_others(self) -> Iterator[Member]:
        for sender in self.lives:
            if sender != self.sender:
                member = self.member(sender)
                if member is not None and member.any_alive:
                    yield member
