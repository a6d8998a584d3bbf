"""ARP and NDP on Ethernet: frames to values, values to frames. Pure.

In:  whole Ethernet frames as AF_PACKET delivers them (padding and trailing rubbish included).
Out: Arp, Solicitation or Advertisement, or the Drop that says why the frame is nothing to us; never raises.
Elsewhere: whether an address is ours and what follows, in machine.py; the kernel's filter in filters.py.
Addresses are packed bytes everywhere: 4 = IPv4, 16 = IPv6, 6 = Ethernet.
"""

import struct
from enum import StrEnum
from typing import Final, NamedTuple

ARP_TYPE: Final = 0x0806
IPV6_TYPE: Final = 0x86DD
REQUEST: Final = 1
REPLY: Final = 2
BROADCAST: Final = b"\xff" * 6
ZERO_MAC: Final = bytes(6)
ANY4: Final = bytes(4)
ANY6: Final = bytes(16)
ALL_NODES: Final = bytes.fromhex("ff02") + bytes(13) + b"\x01"
ICMPV6: Final = 58
SOLICITATION: Final = 135
ADVERTISEMENT: Final = 136

_ETHERNET: Final = struct.Struct("!6s6sH")
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_ARP_HEAD: Final = (1, 0x0800, 6, 4)  # Ethernet, IPv4, their lengths
_IPV6: Final = struct.Struct("!IHBB16s16s")
_NDP: Final = struct.Struct(
    "!BBHI16s"
)  # type, code, checksum, flags or reserved, target (RFC 4861 §4.3, §4.4)
_ETHERNET_SIZE: Final = _ETHERNET.size
_IPV6_END: Final = _ETHERNET_SIZE + _IPV6.size
_SOURCE_LINK_ADDRESS: Final = 1
_TARGET_LINK_ADDRESS: Final = 2
_FRAGMENT: Final = 44
_SOLICITED: Final = 0x40000000
_OVERRIDE: Final = 0x20000000
_SOLICITED_NODE: Final = bytes.fromhex("ff02") + bytes(9) + b"\x01\xff"


class Drop(StrEnum):
    """Why a frame got no answer. The values are API: they count in the reflex's state."""

    SHORT = "short"
    ETHERTYPE = "ethertype"
    HEADER = "header"  # not ARP for IPv4 on Ethernet; not IPv6
    OPERATION = "operation"
    SENDER_MAC = "sender-mac"  # zero or a group
    SENDER_ADDRESS = "sender-address"  # multicast, broadcast, loopback
    NOT_NDP = "not-ndp"
    FRAGMENT = "fragment"  # RFC 6980
    HOP_LIMIT = "hop-limit"
    CODE = "code"
    CHECKSUM = "checksum"
    OPTION = "option"
    TARGET = "target"  # multicast
    UNSPECIFIED = "unspecified"  # source :: where RFC 4861 §7.1.1 forbids it
    SOLICITED = "solicited"  # advertised to many as an answer to one (§7.1.2)
    # What machine.py adds
    STALE = "stale"
    DESTINATION = "destination"
    OWN = "own"
    NOT_OURS = "not-ours"
    ANNOUNCEMENT = "announcement"
    NO_QUESTION = "no-question"
    INTERFACE = "interface"
    ASKER_LIMIT = "asker-limit"  # this station asks more than any needs to
    TOTAL_LIMIT = "total-limit"  # all stations together do


class Arp(NamedTuple):
    """One ARP packet for IPv4 (RFC 826); the target's hardware address decides nothing and is not kept."""

    destination: bytes
    source: bytes
    operation: int
    sender_mac: bytes
    sender: bytes
    target: bytes


class Solicitation(NamedTuple):
    """One neighbour solicitation. link_address: where the asker wants the answer, else its frame's source."""

    destination: bytes
    source: bytes
    sender: bytes
    target: bytes
    link_address: bytes | None


class Advertisement(NamedTuple):
    """One neighbour advertisement: somebody says where `target` lives."""

    destination: bytes
    source: bytes
    sender: bytes
    target: bytes
    link_address: bytes | None


Packet = Arp | Solicitation | Advertisement


def decode(frame: bytes) -> Packet | Drop:
    """Any frame at all to what it says, or to why it is dropped."""
    if len(frame) < _ETHERNET_SIZE:
        return Drop.SHORT
    destination, source, ethertype = _ETHERNET.unpack_from(frame)
    if ethertype == ARP_TYPE:
        return _decode_arp(frame, destination, source)
    if ethertype == IPV6_TYPE:
        return _decode_ndp(frame, destination, source)
    return Drop.ETHERTYPE


def _decode_arp(frame: bytes, destination: bytes, source: bytes) -> Arp | Drop:
    if len(frame) < _ETHERNET_SIZE + _ARP.size:
        return Drop.SHORT
    *head, operation, sender_mac, sender, _, target = _ARP.unpack_from(frame, _ETHERNET_SIZE)
    if tuple(head) != _ARP_HEAD:
        return Drop.HEADER
    if operation not in (REQUEST, REPLY):
        return Drop.OPERATION
    if _no_station(sender_mac):
        return Drop.SENDER_MAC
    if 224 <= sender[0] <= 239 or sender[0] == 127 or sender == b"\xff" * 4:
        return Drop.SENDER_ADDRESS
    return Arp(destination, source, operation, sender_mac, sender, target)


def _decode_ndp(frame: bytes, destination: bytes, source: bytes) -> Packet | Drop:
    """RFC 4861 §7.1.1 and §7.1.2, RFC 6980. Other extension headers are legal, never seen, not followed."""
    if len(frame) < _IPV6_END:
        return Drop.SHORT
    version, length, next_header, hop_limit, sender, receiver = _IPV6.unpack_from(frame, _ETHERNET_SIZE)
    if version >> 28 != 6:
        return Drop.HEADER
    if next_header != ICMPV6:
        return Drop.FRAGMENT if next_header == _FRAGMENT else Drop.NOT_NDP
    message = frame[_IPV6_END : _IPV6_END + length]
    if len(message) < length or length < _NDP.size:
        return Drop.SHORT
    kind, code, _, flags, target = _NDP.unpack_from(message)
    if kind not in (SOLICITATION, ADVERTISEMENT):
        return Drop.NOT_NDP
    if hop_limit != 255:
        return Drop.HOP_LIMIT
    if code != 0:
        return Drop.CODE
    if _sum(sender, receiver, message) != 0:
        return Drop.CHECKSUM
    if target[0] == 0xFF:
        return Drop.TARGET
    if sender[0] == 0xFF or sender == bytes(15) + b"\x01":
        return Drop.SENDER_ADDRESS
    if _no_station(source):
        return Drop.SENDER_MAC
    link_address = _link_address(
        message, _SOURCE_LINK_ADDRESS if kind == SOLICITATION else _TARGET_LINK_ADDRESS
    )
    if isinstance(link_address, Drop):
        return link_address
    if kind == ADVERTISEMENT:
        if receiver[0] == 0xFF and flags & _SOLICITED:
            return Drop.SOLICITED
        return Advertisement(destination, source, sender, target, link_address)
    if sender == ANY6 and (receiver[:13] != _SOLICITED_NODE or link_address is not None):
        return Drop.UNSPECIFIED
    return Solicitation(destination, source, sender, target, link_address)


def _link_address(message: bytes, wanted: int) -> bytes | Drop | None:
    """The first option of that kind. Every option is measured: a broken one spoils the packet (§7.1.1)."""
    found: bytes | None = None
    offset = _NDP.size
    while offset < len(message):
        if offset + 2 > len(message):
            return Drop.OPTION
        kind, size = message[offset], message[offset + 1] * 8
        if size == 0 or offset + size > len(message):
            return Drop.OPTION
        if kind == wanted and found is None:
            found = message[offset + 2 : offset + 8]
            if size != 8:
                return Drop.OPTION  # not an Ethernet address
            if _no_station(found):
                return Drop.SENDER_MAC
        offset += size
    return found


def _no_station(mac: bytes) -> bool:
    return bool(mac[0] & 1) or mac == ZERO_MAC


def _sum(sender: bytes, receiver: bytes, message: bytes) -> int:
    """One's complement sum over pseudo header and message (RFC 8200 §8.1), 0 when a checksum inside it fits.

    As 2**16 is 1 modulo 65535, the whole packet taken as one number gives the sum of its words.
    """
    padded = message + b"\0" if len(message) % 2 else message
    pseudo = sender + receiver + len(message).to_bytes(4, "big") + ICMPV6.to_bytes(4, "big")
    return int.from_bytes(pseudo + padded, "big") % 0xFFFF


def solicited_node(target: bytes) -> bytes:
    """The multicast group in which a neighbour looks for this address (RFC 4291 §2.7.1)."""
    return _SOLICITED_NODE + target[13:]


def multicast_mac(group: bytes) -> bytes:
    """RFC 2464 §7."""
    return b"\x33\x33" + group[12:]


def _arp(
    destination: bytes, mac: bytes, operation: int, address: bytes, *, target_mac: bytes, to: bytes
) -> bytes:
    head = _ETHERNET.pack(destination, mac, ARP_TYPE)
    return head + _ARP.pack(*_ARP_HEAD, operation, mac, address, target_mac, to)


def arp_reply(mac: bytes, address: bytes, to_mac: bytes, to: bytes) -> bytes:
    """`address` is at `mac`, told to one asker."""
    return _arp(to_mac, mac, REPLY, address, target_mac=to_mac, to=to)


def gratuitous(mac: bytes, address: bytes) -> tuple[bytes, ...]:
    """What all neighbours are told when `address` comes to `mac`: stations differ in which form they believe.

    The reply form names our own MAC as target too: else Linux does not take it for gratuitous and keeps what
    it learned within the last second.
    """
    if len(address) == 16:
        return (advertisement(mac, address, multicast_mac(ALL_NODES), ALL_NODES, solicited=False),)
    return (
        _arp(BROADCAST, mac, REQUEST, address, target_mac=ZERO_MAC, to=address),
        _arp(BROADCAST, mac, REPLY, address, target_mac=mac, to=address),
    )


def advertisement(mac: bytes, target: bytes, to_mac: bytes, to: bytes, *, solicited: bool) -> bytes:
    """A neighbour advertisement with R=0 and O=1, from the address it speaks of."""
    flags = _OVERRIDE | (_SOLICITED if solicited else 0)
    option = bytes((_TARGET_LINK_ADDRESS, 1)) + mac
    bare = _NDP.pack(ADVERTISEMENT, 0, 0, flags, target) + option
    checksum = -_sum(target, to, bare) % 0xFFFF
    message = _NDP.pack(ADVERTISEMENT, 0, checksum, flags, target) + option
    head = _ETHERNET.pack(to_mac, mac, IPV6_TYPE) + _IPV6.pack(6 << 28, len(message), ICMPV6, 255, target, to)
    return head + message


def question(mac: bytes, address: bytes) -> bytes:
    """Does anybody use the address? An ARP probe (RFC 5227 §2.1.1), or a solicitation from :: as in duplicate
    address detection (RFC 4862 §5.4.2): neither leaves anything in a neighbour's cache."""
    if len(address) == 4:
        return _arp(BROADCAST, mac, REQUEST, ANY4, target_mac=ZERO_MAC, to=address)
    group = solicited_node(address)
    checksum = -_sum(ANY6, group, _NDP.pack(SOLICITATION, 0, 0, 0, address)) % 0xFFFF
    message = _NDP.pack(SOLICITATION, 0, checksum, 0, address)
    head = _ETHERNET.pack(multicast_mac(group), mac, IPV6_TYPE)
    return head + _IPV6.pack(6 << 28, len(message), ICMPV6, 255, ANY6, group) + message
