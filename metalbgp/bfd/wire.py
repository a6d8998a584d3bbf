"""The control packet of BFD: bytes ↔ Packet (RFC 5880 §4.1). Pure.

In:  the payload of a UDP datagram.
Out: a Packet, or which check of §6.8.6 it failed. Intervals are in microseconds, as on the wire.
Elsewhere: what needs a socket or a session (TTL, discriminators that are ours) is edge.py.
"""

import struct
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

SINGLE_HOP: Final = 3784  # UDP port, RFC 5881 §4
MULTIHOP: Final = 4784  # RFC 5883 §5
LENGTH: Final = 24  # bytes without authentication

_PACKET: Final = struct.Struct("!BBBBIIIII")
_VERSION: Final = 1
_POLL, _FINAL, _INDEPENDENT, _AUTHENTICATED, _DEMAND, _MULTIPOINT = 0x20, 0x10, 0x08, 0x04, 0x02, 0x01
_WITH_AUTHENTICATION: Final = 26  # at least


_WORDS: Final = ("AdminDown", "Down", "Init", "Up")


class State(IntEnum):
    """Of a session, as on the wire."""

    ADMIN_DOWN = 0
    DOWN = 1
    INIT = 2
    UP = 3

    @property
    def word(self) -> str:
        return _WORDS[self]


class Diagnostic(IntEnum):
    """Why a session left Up. Only those that we say; others are numbers from elsewhere."""

    NONE = 0
    TIME_EXPIRED = 1
    NEIGHBOUR_SAID_DOWN = 3
    ADMIN_DOWN = 7


DIAGNOSTICS: Final = {  # RFC 5880 §4.1, in words for people
    0: "no diagnostic",
    1: "detection time expired",
    2: "echo failed",
    3: "the other end said Down",
    4: "forwarding plane reset",
    5: "path down",
    6: "concatenated path down",
    7: "administratively down",
    8: "reverse concatenated path down",
}


class Drop(StrEnum):
    """Why a datagram counted for nothing."""

    MALFORMED = "malformed"
    AUTHENTICATED = "authenticated"  # none of our sessions has a key, §6.8.6
    MULTIPOINT = "multipoint"
    TTL = "ttl"
    STRANGER = "stranger"  # no session with this sender there
    DISCRIMINATOR = "discriminator"


class Packet(NamedTuple):
    """One control packet."""

    state: State
    diagnostic: int
    multiplier: int
    mine: int  # My Discriminator: the sender's
    yours: int  # Your Discriminator; 0: the sender has not heard the receiver
    transmit: int  # Desired Min TX Interval, µs
    receive: int  # Required Min RX Interval, µs; 0: do not send to me
    poll: bool = False
    final: bool = False
    demand: bool = False
    independent: bool = False  # C: the sender's BFD does not die with its control plane
    echo: int = 0  # Required Min Echo RX Interval; 0: no echo


def encode(packet: Packet) -> bytes:
    flags = (
        packet.poll * _POLL
        | packet.final * _FINAL
        | packet.independent * _INDEPENDENT
        | packet.demand * _DEMAND
    )
    return _PACKET.pack(
        _VERSION << 5 | packet.diagnostic,
        packet.state << 6 | flags,
        packet.multiplier,
        LENGTH,
        packet.mine,
        packet.yours,
        packet.transmit,
        packet.receive,
        packet.echo,
    )


def decode(payload: bytes) -> Packet | Drop:
    """Every check of §6.8.6 that needs nothing but the packet, in its order."""
    if len(payload) < LENGTH:
        return Drop.MALFORMED
    first, second, multiplier, length, mine, yours, transmit, receive, echo = _PACKET.unpack_from(payload)
    least = _WITH_AUTHENTICATION if second & _AUTHENTICATED else LENGTH
    if first >> 5 != _VERSION or not least <= length <= len(payload) or not multiplier:
        return Drop.MALFORMED
    if second & _MULTIPOINT:
        return Drop.MULTIPOINT
    state = State(second >> 6)
    if not mine or (not yours and state in (State.INIT, State.UP)):
        return Drop.MALFORMED
    if second & _AUTHENTICATED:
        return Drop.AUTHENTICATED
    return Packet(
        state,
        first & 0x1F,
        multiplier,
        mine,
        yours,
        transmit,
        receive,
        poll=bool(second & _POLL),
        final=bool(second & _FINAL),
        demand=bool(second & _DEMAND),
        independent=bool(second & _INDEPENDENT),
        echo=echo,
    )
