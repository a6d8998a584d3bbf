"""The journal's two kinds of entries: a session, and one prefix on one session.

In:  values that machine.py changes, and nobody else.
Out: the state words that status, metrics, agent and CLI show, each from facts and never stored by hand.
Elsewhere: when to send what is machine.py.
"""

from dataclasses import dataclass, field
from typing import Literal

from metalbgp.bgp import wire
from metalbgp.bgp.values import Neighbor, Sent
from metalbgp.model.addresses import family
from metalbgp.model.reasons import (
    ConnectionClosed,
    HoldTimerExpired,
    NoConnection,
    NotReached,
    Reason,
    SessionEnded,
)
from metalbgp.model.routes import Attributes

Key = tuple[str, str]  # (peer address, prefix)
VAGUE = (ConnectionClosed, HoldTimerExpired, NoConnection, NotReached, SessionEnded)
State = Literal["wanted", "sent", "confirmed", "waiting", "withdrawing", "withdrawn", "refused"]


@dataclass(slots=True)
class Outstanding:
    """One command whose end is not known yet. A replay (ExaBGP resends after a bounce) needs no ack."""

    attributes: Attributes | None  # None: a withdraw
    since: float
    acked: bool = False
    seen: bool = False  # its UPDATE went to the socket
    fence_settles: bool = False  # a withdraw that a session's first flush may have swallowed: see SentEor


@dataclass(slots=True)
class Entry:
    """One prefix on one session: what is wanted, what ExaBGP holds, what the wire carried."""

    key: Key
    wanted: Attributes | None = None
    told: Attributes | None = None  # what ExaBGP's own table holds, by the last command that it took
    confirmed: Attributes | None = None  # what this session's last UPDATE said
    out: Outstanding | None = None
    error: str = ""  # why it is refused
    alone: bool = False  # it was in a refused line: try it in one of its own
    again: bool = False  # the router may hold what ExaBGP no longer knows: send whatever is wanted once more
    flushed: Attributes | None = None  # seen since the resync began
    reported: State = "withdrawn"
    since: float = 0.0  # monotonic, of the last change of `reported`

    @property
    def afi(self) -> str:
        return "ipv6" if family(self.key[1]) == 6 else "ipv4"

    @property
    def idle(self) -> bool:
        """Nothing is known of it anywhere: it may be forgotten."""
        return not (self.wanted or self.told or self.confirmed or self.out or self.again)


@dataclass(slots=True)
class Lacking:
    """A neighbour that ExaBGP cannot be told of yet, and why."""

    neighbor: Neighbor
    why: Reason
    since: float


@dataclass(slots=True)
class Session:
    """One neighbour as the child runs it."""

    neighbor: Neighbor
    since: float
    up: bool = False
    connected: bool = False
    local: str = ""
    families: frozenset[str] = frozenset()
    graceful: bool = False  # negotiated by both ends
    offered_graceful: bool = False
    extended_next_hop: bool = False  # negotiated: IPv4 routes may have our IPv6 address as next hop
    why: Reason | None = None  # it is down, or went down last
    hold_time: int = 0  # seconds, negotiated: the lower of both ends' (RFC 4271 section 4.2)
    capabilities: tuple[str, ...] = ()  # both ends have them
    flaps: int = 0  # how often it went from Established to something else, since this process runs
    ended: float | None = None  # when it did so last
    ended_why: Reason | None = None
    heard_as: int = 0  # what the router called itself in its last OPEN
    tries: int = 0
    replay: set[Key] = field(default_factory=set)  # to be confirmed before End-of-RIB
    eor_told: set[str] = field(default_factory=set)
    eor_seen: set[str] = field(default_factory=set)
    progress: float = 0.0  # when the last UPDATE of this session was seen
    unsure: bool = False  # the helper was away: what ExaBGP holds must be read back
    resync_since: float | None = None  # flush written, fence not seen yet
    resync_wanted: bool = False
    resynced: float = float("-inf")
    fences: set[str] = field(default_factory=set)
    cease: int = 0  # it shall end with this subcode; until it did
    cease_told: bool = False

    @property
    def state(self) -> str:
        """RFC 4271 section 8.2.2, as far as it can be told from outside."""
        if self.up:
            return "Established"
        return "OpenSent" if self.connected else "Connect"

    @property
    def vague(self) -> bool:
        """Nobody said why it stays down, but for our own guesses: another one may replace them."""
        return self.why is None or isinstance(self.why, VAGUE)

    @property
    def resyncing(self) -> bool:
        return self.resync_wanted or self.resync_since is not None

    def same_on_wire(self, one: Attributes | None, other: Attributes | None) -> bool:
        """Would both be the same UPDATE? Then ExaBGP sends nothing, and no event would come."""
        if one is None or other is None or one == other:
            return one == other
        return self._expected(one) == self._expected(other)

    def is_of(self, sent: Sent, attributes: Attributes | None) -> bool:
        return attributes is not None and self._expected(attributes) == wire.carried(self.neighbor, sent)

    def _expected(self, attributes: Attributes) -> wire.Carried:
        return wire.expected(self.neighbor, self.local, attributes)


def attributes_of(sent: Sent) -> Attributes:
    """An UPDATE that nobody here remembers asking for, as attributes."""
    return Attributes(
        next_hop=sent.next_hop,
        communities=sent.communities,
        large_communities=sent.large_communities,
        local_preference=sent.local_preference,
        med=sent.med,
        as_path=sent.as_path[1:],
        extended_communities=sent.extended_communities,
    )
