"""One BFD session in asynchronous mode (RFC 5880 §6.8). Sans-I/O.

In:  decoded packets with the time at which the kernel got them, parameters, `now` (seconds on one clock that
     never goes back), a jitter; nothing here reads a clock.
Out: packets to send; `deadline`, the next moment at which wake() is due; what the session is, as attributes.
Elsewhere: bytes in wire.py; which session a datagram belongs to, sockets and words are edge.py and report.py.

Intervals are in microseconds as on the wire, moments in seconds. Two values of each of our intervals are
kept: what packets say, and what is in force until the other end has answered our Poll (§6.8.3).
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from metalbgp.bfd.wire import Diagnostic, Packet, State

UNTIL_UP: Final = 1_000_000  # µs: nobody sends faster to somebody who may not be there, §6.8.3
SOONEST: Final = 0.01  # seconds between two packets, whatever changes: a sender of nonsense sets no pace
GOODBYES: Final = 4  # AdminDown packets: one may be lost, and three in a row
GOODBYE_EVERY: Final = 0.025
_ANY_PACE: Final = 1  # µs: bfd.RemoteMinRxInterval before anything was heard, §6.8.1

ADMIN_DOWN, DOWN, INIT, UP = State.ADMIN_DOWN, State.DOWN, State.INIT, State.UP
NEXT: Final = {  # (ours, theirs) → ours, §6.8.6; in ADMIN_DOWN we discard before looking here
    (DOWN, DOWN): INIT, (DOWN, INIT): UP,   (DOWN, UP): DOWN, (DOWN, ADMIN_DOWN): DOWN,
    (INIT, DOWN): INIT, (INIT, INIT): UP,   (INIT, UP): UP,   (INIT, ADMIN_DOWN): DOWN,
    (UP,   DOWN): DOWN, (UP,   INIT): UP,   (UP,   UP): UP,   (UP,   ADMIN_DOWN): DOWN,
}  # fmt: skip


class Parameters(NamedTuple):
    """What a session is asked to do; intervals in µs."""

    receive: int
    transmit: int
    multiplier: int
    passive: bool = False


class _Poll(NamedTuple):
    """A Poll Sequence that waits for its Final: when its first and its last packet went."""

    first: float
    last: float


class Session:
    """`jitter` gives numbers from 0 to 1; `discriminator` is ours and of no other session."""

    def __init__(
        self, parameters: Parameters, discriminator: int, now: float, jitter: Callable[[], float]
    ) -> None:
        self.state = DOWN
        self.since = now
        self.diagnostic = int(Diagnostic.NONE)
        self.failed = False  # Down, and it came there from Up: nothing heard, or the other end said Down
        self.flaps = 0
        self.remote: Packet | None = None  # the last one; None: none within a detection time
        self.discriminator = discriminator
        self.parameters = parameters
        self._jitter = jitter
        self._said_transmit = max(parameters.transmit, UNTIL_UP)
        self._said_receive = parameters.receive
        self._pace = self._said_transmit  # our transmit interval in force
        self._patience = self._said_receive  # our receive interval in force
        self._poll: _Poll | None = None
        self._next_poll = 0.0  # not before: answers to the last one may still be on their way
        self._distinct = True  # a packet without Final came since the last Poll
        self._sent = self._heard = -math.inf
        self._due = now
        self._expires = math.inf
        self._owes_final = False
        self._goodbyes = 0

    # What it is

    @property
    def deadline(self) -> float:
        """When wake() is due even if nothing is heard."""
        if self._owes_final:
            return self._sent
        return self._expires if self._silent else min(self._due, self._expires)

    @property
    def over(self) -> bool:
        """Whether it was ended, and has said so often enough."""
        return self.state is ADMIN_DOWN and not self._goodbyes

    @property
    def polling(self) -> bool:
        return self._poll is not None

    @property
    def transmit(self) -> int:
        """µs between two of our packets at most, §6.8.2."""
        return max(self._pace, self.remote.receive if self.remote else _ANY_PACE)

    @property
    def receive(self) -> int:
        """µs between two packets of the other end at most."""
        return max(self._patience, self.remote.transmit if self.remote else 0)

    @property
    def detection(self) -> int:
        """µs of silence that end the session, §6.8.4; 0 while nothing is known of the other end."""
        return self.remote.multiplier * self.receive if self.remote else 0

    @property
    def _silent(self) -> bool:
        """§6.8.7: when not to send by the timer."""
        if self.state is ADMIN_DOWN:
            return not self._goodbyes
        if self.remote is None:
            return self.parameters.passive
        if not self.remote.receive:
            return True
        return self.remote.demand and self.state is UP and self.remote.state is UP and self._poll is None

    # What happens to it

    def change(self, parameters: Parameters, now: float) -> None:
        """Other parameters, from now on; while Up by a Poll Sequence, without a flap."""
        self.parameters = parameters  # the multiplier goes out with the next packet, §6.8.12
        self._offer(now)

    def end(self, now: float) -> None:
        """AdminDown, now and a few times more; then it is over."""
        if self.state is not ADMIN_DOWN:
            unknown = self.remote is None and self.parameters.passive  # to whom we never spoke
            self._enter(ADMIN_DOWN, Diagnostic.ADMIN_DOWN, now)
            self._goodbyes, self._due, self._expires = 0 if unknown else GOODBYES, now, math.inf

    def receive_packet(self, packet: Packet, at: float, now: float) -> None:
        """Take one valid packet that the kernel got at `at`; wake() sends what it asks for."""
        if self.state is ADMIN_DOWN:
            return
        self.remote = packet
        if packet.final:
            self._polled(at)
        else:
            self._distinct = True
        self._owes_final |= packet.poll
        self._heard = at
        self._wait()
        became = NEXT[self.state, packet.state]
        if became is not self.state:
            down = Diagnostic.NEIGHBOUR_SAID_DOWN if became is DOWN else Diagnostic.NONE
            self._enter(became, down, now, failed=self.state is UP and packet.state is not ADMIN_DOWN)
        self._offer(now)
        # The other end may just have asked for a quicker pace: what is due by the old one may be too late.
        self._due = min(self._due, max(now, self._sent + self.transmit * 1e-6))

    def wake(self, now: float, heard: float) -> list[Packet]:
        """Judge and send what is due. `heard`: all that the kernel got until then was received here."""
        if heard >= self._expires:
            self._expire(now)
        packets: list[Packet] = []
        if self._owes_final:
            self._owes_final = False
            packets.append(self._packet(final=True))
        if now >= self._due and not self._silent:
            packets.append(self._packet(poll=self._poll is not None))
            self._sent = now
            if self._poll is not None:
                self._poll = _Poll(min(self._poll.first, now), now)
            self._due = now + self._pause()
        return packets

    def spare(self, until: float) -> None:
        """Not judged before: what was received while nobody could read it may have been lost."""
        self._expires = max(self._expires, until)

    # How

    def _wait(self) -> None:
        """For the next packet, a detection time from the last one."""
        self._expires = self._heard + self.detection * 1e-6

    def _expire(self, now: float) -> None:
        """Nothing for a detection time, §6.8.4; whoever speaks next is somebody new, §6.8.1."""
        self.remote, self._expires = None, math.inf
        if self.state in (INIT, UP):
            self._enter(DOWN, Diagnostic.TIME_EXPIRED, now, failed=self.state is UP)
            self._offer(now)

    def _enter(self, state: State, diagnostic: Diagnostic, now: float, *, failed: bool = False) -> None:
        self.flaps += self.state is UP
        if diagnostic or state is UP:  # kept in Down and Init: it says why the session is not Up
            self.diagnostic = int(diagnostic)
        self.state, self.since, self.failed = state, now, failed
        self._hurry(now)

    def _hurry(self, now: float) -> None:
        """What changed is told between two periodic packets, §6.8.7."""
        self._due = min(self._due, max(now, self._sent + SOONEST))

    def _offer(self, now: float) -> None:
        """Bring what packets say to what is asked for."""
        transmit, receive = self.parameters.transmit, self.parameters.receive
        if self.state is not UP:
            self._said_transmit = self._pace = max(transmit, UNTIL_UP)
            self._said_receive = self._patience = receive
            self._poll, self._distinct, self._next_poll = None, True, 0.0
            return
        if (transmit, receive) == (self._said_transmit, self._said_receive):
            return
        if self._poll is not None or not self._distinct or now < self._next_poll:
            return  # two changes in one sequence: nobody could tell which of them a Final answers
        self._said_transmit, self._said_receive = transmit, receive
        self._pace = min(self._pace, transmit)  # quicker at once, slower when the other end knows
        self._patience = max(self._patience, receive)
        self._wait()
        self._poll = _Poll(math.inf, -math.inf)
        self._hurry(now)

    def _polled(self, at: float) -> None:
        """A Final: the other end knows what we said."""
        if self._poll is None or self._poll.first > at:
            return
        self._next_poll = self._poll.last + (at - self._poll.first)  # all other Finals are here by then
        self._poll, self._distinct = None, False
        self._pace, self._patience = self._said_transmit, self._said_receive

    def _pause(self) -> float:
        """Seconds to the next packet: 75 to 100 % of the interval; to 90 if one loss is fatal, §6.8.7."""
        if self.state is ADMIN_DOWN:
            self._goodbyes -= 1
            return GOODBYE_EVERY
        share = 0.15 if self.parameters.multiplier == 1 else 0.25
        return self.transmit * 1e-6 * (0.75 + share * self._jitter())

    def _packet(self, *, poll: bool = False, final: bool = False) -> Packet:
        return Packet(
            self.state,
            self.diagnostic,
            self.parameters.multiplier,
            self.discriminator,
            self.remote.mine if self.remote else 0,
            self._said_transmit,
            self._said_receive,
            poll=poll,
            final=final,
            independent=True,
        )
