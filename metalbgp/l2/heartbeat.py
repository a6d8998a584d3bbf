"""Heartbeats on the wire: frames to values, values to frames. Pure.

In:  whole Ethernet frames, of our own EtherType or UDP; keys. Out: Heartbeat, or the Bad that says why not.
Elsewhere: who is live by them, members.py; the kernel's filters, filters.py; sockets, edge.py.

Layout after the Ethernet header (or IPv4 and UDP), big endian:

    magic 4 · sender 8 · life 8 · beat 8 · began 4 · interval 2 · multiplier 1 · flags 1
    counts: heard 1 · lost 1 · claims 1 · part 1 · parts 1 · signatures 1 · reserved 2
    heard (sender 8 · life 4 · flags 1) · lost (name 4) · claims (address 4) · signatures (16 each)

A signature is HMAC-SHA256, cut to 16 bytes, of the frame's source address and everything before the
signatures. While a key changes there are two, so that who has only one of the keys still understands.
"""

import hmac
import struct
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

from metalbgp.l2 import wire

ETHERTYPE: Final = 0x88B5  # IEEE 802, for local experiments
IPV4_TYPE: Final = 0x0800
PORT: Final = 7946  # UDP; MetalLB's clusters have it open
ACTIVE, LEAVING, WANT_UDP, BY_UDP = 1, 2, 4, 8
HEARD_MOST: Final = 80
CLAIMS_MOST: Final = 60  # of one frame; more take turns

_MAGIC: Final = b"MBH1"
_HEAD: Final = struct.Struct("!4s8s8sQIHBBBBBBBBH")
_HEARD: Final = struct.Struct("!8s4sB")
_SHORT: Final = 4
_SIGNATURE: Final = 16
_ETHERNET: Final = struct.Struct("!6s6sH")
_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
_UDP: Final = struct.Struct("!HHHH")
_ETHERNET_SIZE: Final = _ETHERNET.size
_UDP_DATA: Final = _ETHERNET_SIZE + _IPV4.size + _UDP.size
SENDER_AT: Final = _ETHERNET_SIZE + len(_MAGIC)  # where the kernel's filter finds it
SENDER_AT_UDP: Final = _UDP_DATA + len(_MAGIC)
_EVERYBODY: Final = b"\xff" * 4


class Bad(StrEnum):
    """Why a frame is no heartbeat. The values are API: they count in the reflex's state."""

    SHORT = "beat-short"
    SHAPE = "beat-shape"
    VERSION = "beat-version"
    SIGNATURE = "beat-signature"
    STALE = "beat-stale"  # what members.py and edge.py add
    REPLAYED = "beat-replayed"


class Heard(NamedTuple):
    """One member that the sender hears on this segment, and the flags that it last saw of it."""

    sender: bytes
    life: bytes  # the first four bytes
    flags: int


class Heartbeat(NamedTuple):
    sender: bytes  # of the node's name
    life: bytes  # random, another one for each life of the process
    beat: int  # counts; never goes back within a life
    age: int  # milliseconds that this life has lasted
    interval: int  # milliseconds to the next one
    multiplier: int  # so many missing: it is dead
    flags: int
    heard: tuple[Heard, ...] = ()
    lost: tuple[bytes, ...] = ()  # names of interfaces without a link that had one, as short()
    claims: tuple[bytes, ...] = ()  # non-revertive addresses that it owns, as short(); others as declined()
    part: int = 0
    parts: int = 1


def identify(node: str) -> bytes:
    """A node's name as it travels."""
    return sha256(node.encode()).digest()[:8]


def short(what: bytes) -> bytes:
    """An interface's name or an address as it travels: two that collide cost a move, not an address."""
    return sha256(what).digest()[:_SHORT]


def declined(address: bytes) -> bytes:
    """Among the claims: an address that the sender is a candidate for, and will not answer for. A version
    that does not know the word takes it for a claim to an address that there is not."""
    return short(b"declined " + address)


def encode(beat: Heartbeat, mac: bytes, keys: Sequence[bytes]) -> bytes:
    """The whole frame, to everybody on the segment, signed with each key."""
    body = _HEAD.pack(
        _MAGIC, beat.sender, beat.life, beat.beat, beat.age, beat.interval, beat.multiplier, beat.flags,
        len(beat.heard), len(beat.lost), len(beat.claims), beat.part, beat.parts, len(keys), 0,
    )  # fmt: skip
    body += b"".join((*(_HEARD.pack(*one) for one in beat.heard), *beat.lost, *beat.claims))
    payload = body + b"".join(_sign(key, mac, body) for key in keys)
    if beat.flags & BY_UDP:
        return _datagram(payload, mac)
    return _ETHERNET.pack(wire.BROADCAST, mac, ETHERTYPE) + payload


def decode(frame: bytes, keys: Sequence[bytes]) -> Heartbeat | Bad:
    """Any frame at all. What one of the keys has not signed is not looked at further."""
    udp = frame[12:14] == b"\x08\x00"
    start = _UDP_DATA if udp else _ETHERNET_SIZE
    if len(frame) < start + _HEAD.size:
        return Bad.SHORT
    head = _HEAD.unpack_from(frame, start)
    magic, sender, life, number, age, interval, multiplier, flags, *counts = head
    heard_count, lost_count, claim_count, part, parts, signatures, _ = counts
    if magic != _MAGIC:
        return Bad.VERSION
    heard_at = start + _HEAD.size
    lost_at = heard_at + heard_count * _HEARD.size
    claims_at = lost_at + lost_count * _SHORT
    end = claims_at + claim_count * _SHORT
    if len(frame) < end + signatures * _SIGNATURE:
        return Bad.SHORT
    mac, body = frame[6:12], frame[start:end]
    given = [frame[end + at : end + at + _SIGNATURE] for at in range(0, signatures * _SIGNATURE, _SIGNATURE)]
    wanted = [_sign(key, mac, body) for key in keys]
    if not any(hmac.compare_digest(one, other) for one in wanted for other in given):
        return Bad.SIGNATURE
    if bool(flags & BY_UDP) != udp or not interval or not multiplier or part >= parts:
        return Bad.SHAPE
    heard = tuple(Heard(*one) for one in _HEARD.iter_unpack(frame[heard_at:lost_at]))
    return Heartbeat(
        *(sender, life, number, age, interval, multiplier, flags, heard),
        *(_split(frame[lost_at:claims_at]), _split(frame[claims_at:end]), part, parts),
    )


def sender_of(frame: bytes) -> bytes:
    """Who a frame says that it is from, whoever signed it."""
    start = SENDER_AT_UDP if frame[12:14] == b"\x08\x00" else SENDER_AT
    return frame[start : start + 8]


def _split(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + _SHORT] for at in range(0, len(data), _SHORT))


def _sign(key: bytes, mac: bytes, body: bytes) -> bytes:
    return hmac.digest(key, mac + body, "sha256")[:_SIGNATURE]


def _datagram(payload: bytes, mac: bytes) -> bytes:
    """UDP from nobody to everybody, as DHCP's first question: the interface may have no address."""
    size = _IPV4.size + _UDP.size + len(payload)
    bare = _IPV4.pack(0x45, 0xC0, size, 0, 0x4000, 1, 17, 0, wire.ANY4, _EVERYBODY)
    total = sum(int.from_bytes(bare[at : at + 2], "big") for at in range(0, len(bare), 2))
    total = (total & 0xFFFF) + (total >> 16)
    ipv4 = bare[:10] + (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big") + bare[12:]
    udp = _UDP.pack(PORT, PORT, _UDP.size + len(payload), 0)
    return _ETHERNET.pack(wire.BROADCAST, mac, IPV4_TYPE) + ipv4 + udp + payload
