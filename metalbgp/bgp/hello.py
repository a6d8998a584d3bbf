"""What a router says before there is a session: router advertisements and its OPEN. Bytes and values, pure.

In:  the body of an ICMPv6 message; the bytes of a BGP connection so far.
Out: whether it advertises a router; its AS number. And the one packet that we send: our own advertisement.
Elsewhere: sockets, timers and who is asked is seek.py. RFC 4861 section 4.2; RFC 4271 section 4.2, RFC 6793.
"""

import struct
from typing import Final

from metalbgp.bgp.notifications import notification
from metalbgp.model.reasons import Notification

SOLICITATION: Final = 133
ADVERTISEMENT: Final = 134
MARKER: Final = b"\xff" * 16
OPEN, NOTIFICATION = 1, 3
HEADER: Final = 19
LONGEST: Final = 4096
AS4: Final = 65  # the capability with the four bytes of an AS number
_CAPABILITIES: Final = 2  # the optional parameter that holds them
_LINK_LAYER: Final = 1  # option: source link-layer address


class BadHello(ValueError):
    """It is not what it should be; the message says what it is instead."""


def advertisement(mac: bytes) -> bytes:
    """Ours: no default router (lifetime 0), no prefix, nothing to configure; only "I am here".

    The kernel fills in the checksum.
    """
    head = struct.pack("!BBHBBHII", ADVERTISEMENT, 0, 0, 64, 0, 0, 0, 0)
    return head + (struct.pack("!BB6s", _LINK_LAYER, 1, mac) if len(mac) == 6 else b"")


def solicitation() -> bytes:
    return struct.pack("!BBHI", SOLICITATION, 0, 0, 0)


def advertises(body: bytes, hops: int) -> bool:
    """Is it a router's advertisement from this very link? (RFC 4861 section 6.1.2)"""
    return hops == 255 and len(body) >= 16 and body[0] == ADVERTISEMENT and body[1] == 0


def solicits(body: bytes, hops: int) -> bool:
    return hops == 255 and len(body) >= 8 and body[0] == SOLICITATION and body[1] == 0


def autonomous_system(heard: bytes) -> int | Notification | None:
    """The router's AS by its OPEN, or what it says instead; None: more must come. Raises BadHello."""
    if not MARKER.startswith(heard[:16]):
        raise BadHello("what answers is no BGP speaker")
    if len(heard) < HEADER:
        return None
    length, kind = struct.unpack("!HB", heard[16:HEADER])
    if not HEADER <= length <= LONGEST:
        raise BadHello(f"its first message says that it has {length} bytes")
    if len(heard) < length:
        return None
    body = heard[HEADER:length]
    if kind == NOTIFICATION and len(body) >= 2:
        return notification(body[0], body[1], ours=False)
    if kind != OPEN or len(body) < 10:
        raise BadHello(f"its first message is no OPEN but of type {kind}")
    return _number(body)


def _number(body: bytes) -> int:
    """Two bytes of the OPEN, or the four of the capability where they do not suffice."""
    number: int = struct.unpack("!H", body[1:3])[0]
    parameters = body[10:]
    if len(parameters) >= 3 and body[9] == 255 and parameters[0] == 255:  # RFC 9072
        return _as4(_pieces(parameters[3:], long=True)) or number
    return _as4(_pieces(parameters)) or number


def _pieces(data: bytes, *, long: bool = False) -> list[tuple[int, bytes]]:
    """(type, value)s; what is cut off is left out."""
    size = 3 if long else 2
    found = []
    while len(data) >= size:
        length = struct.unpack("!H", data[1:3])[0] if long else data[1]
        found.append((data[0], data[size : size + length]))
        data = data[size + length :]
    return found


def _as4(parameters: list[tuple[int, bytes]]) -> int:
    for kind, value in parameters:
        if kind == _CAPABILITIES:
            for code, capability in _pieces(value):
                if code == AS4 and len(capability) == 4:
                    return int(struct.unpack("!I", capability)[0])
    return 0
