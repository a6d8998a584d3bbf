"""Classic BPF programs that keep other people's frames out of the process. Pure.

In:  the addresses claimed on one interface, or EVERY; or the nodes whose heartbeats count.
Out: raw sock_filter instructions for SO_ATTACH_FILTER.
Elsewhere: attaching in edge.py. It only saves wake-ups: wire.py and machine.py check everything again.

Packet type first: a frame tagged for a VLAN without an interface arrives untagged with type OTHERHOST, and
who answers it answers into the wrong VLAN. Above LIMIT addresses the chains would pass the kernel's 4,096
instructions or its option memory, so there only the kind of packet is checked.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from metalbgp.l2 import heartbeat, wire

LIMIT: Final = 1000
EVERY: Final[tuple[bytes, ...]] = (b"",)  # in place of addresses: more than LIMIT, and nobody need list them

_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD_WORD: Final = 0x20
_LOAD_HALF: Final = 0x28
_LOAD_BYTE: Final = 0x30
_JUMP: Final = 0x05
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER: Final = 0x25
_RETURN: Final = 0x06
_PACKET_TYPE: Final = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE
_MULTICAST: Final = 2  # 0 host, 1 broadcast, 2 multicast; above: other hosts' and outgoing
_CHUNK: Final = 200  # a conditional jump reaches 255 instructions

_ACCEPT: Final = _INSTRUCTION.pack(_RETURN, 0, 0, 0x40000)
_REJECT: Final = _INSTRUCTION.pack(_RETURN, 0, 0, 0)
_FOR_US: Final = (
    _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _PACKET_TYPE)
    + _INSTRUCTION.pack(_JUMP_GREATER, 0, 1, _MULTICAST)
    + _REJECT
)

# Offsets from the start of the Ethernet header
_ARP_OPERATION: Final = 20
_ARP_SENDER: Final = 28
_ARP_TARGET: Final = 38
_NEXT_HEADER: Final = 20
_ICMP_TYPE: Final = 54
_IPV4_HEAD: Final = 14
_PROTOCOL: Final = 23
_UDP_PORT: Final = 36
_UDP: Final = 17
_NDP_TARGET_END: Final = 74  # its last word: enough to be rid of nearly all others


def nothing() -> bytes:
    """Refuse every frame."""
    return _REJECT


def arp(addresses: Sequence[bytes], asked: Sequence[bytes] = ()) -> bytes:
    """ARP that asks for one of the addresses, or that comes from one (somebody else claims it), or from one
    that we asked for."""
    if addresses == EVERY or len(addresses) + len(asked) > LIMIT:
        return arp_requests(asked)
    words = {int.from_bytes(address, "big") for address in (*addresses, *asked)}
    return _FOR_US + _any(_ARP_TARGET, words) + _any(_ARP_SENDER, words) + _REJECT


def arp_requests(asked: Sequence[bytes] = ()) -> bytes:
    """Every ARP request, and what comes from an address that we asked for."""
    words = {int.from_bytes(address, "big") for address in asked[:LIMIT]}
    answers = _any(_ARP_SENDER, words) if words else b""
    return _FOR_US + answers + _must_be(_LOAD_HALF, _ARP_OPERATION, wire.REQUEST) + _ACCEPT


def ndp(targets: Sequence[bytes], asked: Sequence[bytes] = ()) -> bytes:
    """Neighbour solicitations and advertisements about one of the targets, or of those that we asked for."""
    if targets == EVERY or len(targets) + len(asked) > LIMIT:
        return ndp_solicitations(asked)
    words = {int.from_bytes(target[12:], "big") for target in (*targets, *asked)}
    icmp = _FOR_US + _must_be(_LOAD_BYTE, _NEXT_HEADER, wire.ICMPV6)
    return icmp + _must_be_neighbour() + _any(_NDP_TARGET_END, words) + _REJECT


def ndp_solicitations(asked: Sequence[bytes] = ()) -> bytes:
    """Every neighbour solicitation, and what is said of an address that we asked for."""
    icmp = _FOR_US + _must_be(_LOAD_BYTE, _NEXT_HEADER, wire.ICMPV6) + _must_be_neighbour()
    words = {int.from_bytes(target[12:], "big") for target in asked[:LIMIT]}
    answers = _any(_NDP_TARGET_END, words) if words else b""
    return icmp + answers + _must_be(_LOAD_BYTE, _ICMP_TYPE, wire.SOLICITATION) + _ACCEPT


def beats(senders: Iterable[bytes]) -> bytes:
    """Heartbeats of these nodes, on a socket of their EtherType. Above LIMIT: everybody's."""
    words = {int.from_bytes(sender[:4], "big") for sender in senders}
    if len(words) > LIMIT:
        return _FOR_US + _ACCEPT
    return _FOR_US + _any(heartbeat.SENDER_AT, words) + _REJECT


def beats_by_udp(senders: Iterable[bytes]) -> bytes:
    """The same in UDP, on a socket that gets all of IPv4: a plain header, no fragment, our port."""
    words = {int.from_bytes(sender[:4], "big") for sender in senders}
    head = (
        _FOR_US
        + _must_be(_LOAD_BYTE, _PROTOCOL, _UDP)
        + _must_be(_LOAD_HALF, _UDP_PORT, heartbeat.PORT)
        + _must_be(_LOAD_BYTE, _IPV4_HEAD, 0x45)
    )
    if len(words) > LIMIT:
        return head + _ACCEPT
    return head + _any(heartbeat.SENDER_AT_UDP, words) + _REJECT


def instructions(program: bytes) -> int:
    """How many instructions a program has."""
    return len(program) // _INSTRUCTION.size


def _must_be(load: int, offset: int, value: int) -> bytes:
    return (
        _INSTRUCTION.pack(load, 0, 0, offset)
        + _INSTRUCTION.pack(_JUMP_EQUAL, 1, 0, value)
        + _REJECT
    )  # fmt: skip


def _must_be_neighbour() -> bytes:
    return (
        _INSTRUCTION.pack(_LOAD_BYTE, 0, 0, _ICMP_TYPE)
        + _INSTRUCTION.pack(_JUMP_EQUAL, 2, 0, wire.SOLICITATION)
        + _INSTRUCTION.pack(_JUMP_EQUAL, 1, 0, wire.ADVERTISEMENT)
        + _REJECT
    )


def _any(offset: int, values: Iterable[int]) -> bytes:
    """Accept if the word at offset is one of the values, else fall through.

    Chunks end in "skip the next; accept": one instruction a value, and every jump stays within its 8 bits.
    """
    ordered = sorted(values)
    program = [_INSTRUCTION.pack(_LOAD_WORD, 0, 0, offset)]
    for start in range(0, len(ordered), _CHUNK):
        chunk = ordered[start : start + _CHUNK]
        program += [
            _INSTRUCTION.pack(_JUMP_EQUAL, len(chunk) - place, 0, value) for place, value in enumerate(chunk)
        ]
        program += [_INSTRUCTION.pack(_JUMP, 0, 0, 1), _ACCEPT]
    return b"".join(program)
