"""BGP UPDATEs out of a packet capture: which prefix was announced or withdrawn by whom, and when. Sans-I/O.

In:  the bytes of a pcap file with LINUX_SLL or Ethernet frames, as tcpdump writes it.
Out: Update values in the order of their packets; times are the kernel's, seconds since the epoch.
IPv4 unicast from the UPDATE's own fields and MP_REACH/MP_UNREACH (RFC 4271 section 4.3, RFC 4760).
"""

import struct
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final, NamedTuple

ETHERNET: Final = 1
LINUX_SLL: Final = 113
LINUX_SLL2: Final = 276
_LINK: Final = {ETHERNET: (14, 12), LINUX_SLL: (16, 14), LINUX_SLL2: (20, 0)}  # header, where the protocol is
_MARKER: Final = b"\xff" * 16
_UPDATE: Final = 2
_MP_REACH: Final = 14
_MP_UNREACH: Final = 15


class Update(NamedTuple):
    """One prefix in one UPDATE."""

    time: float
    peer: str  # source address of the packet
    prefix: str
    announced: bool


class _Flow:
    """One direction of a connection: bytes in order, what was seen twice dropped, gaps resynchronised."""

    def __init__(self) -> None:
        self.next: int | None = None
        self.data = bytearray()
        self.early: dict[int, bytes] = {}

    def add(self, sequence: int, payload: bytes) -> None:
        if self.next is None:
            self.next = sequence
        self.early[sequence] = payload
        while self.early:
            first = min(self.early, key=lambda at: _distance(self.next or 0, at))
            behind = -_distance(self.next, first)
            if behind < 0:
                return  # a hole: wait for the retransmission
            chunk = self.early.pop(first)[behind:]
            self.data += chunk
            self.next = (self.next + len(chunk)) & 0xFFFFFFFF

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Complete messages (type, body); a capture that began inside one starts at the next marker."""
        while True:
            start = self.data.find(_MARKER)
            if start < 0 or len(self.data) < start + 19:
                return
            (length, kind) = struct.unpack_from("!HB", self.data, start + 16)
            if len(self.data) < start + length:
                return
            body = bytes(self.data[start + 19 : start + length])
            del self.data[: start + length]
            yield kind, body


def _distance(base: int, sequence: int) -> int:
    """Signed difference of TCP sequence numbers."""
    return ((sequence - base + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def updates(capture: bytes) -> Iterator[Update]:
    """All prefixes of all UPDATEs in the capture."""
    flows: dict[tuple[str, int, str, int], _Flow] = {}
    for when, packet in _packets(capture):
        found = _tcp(packet)
        if found is None:
            continue
        flow, sequence, payload = found
        stream = flows.setdefault(flow, _Flow())
        stream.add(sequence, payload)
        for kind, body in stream.messages():
            if kind == _UPDATE:
                for prefix, announced in prefixes(body):
                    yield Update(when, flow[0], prefix, announced)


def _packets(capture: bytes) -> Iterator[tuple[float, bytes]]:
    """(time, network layer packet)."""
    if len(capture) < 24:
        return
    order = "<" if capture[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    (magic,) = struct.unpack_from(f"{order}I", capture)
    fraction = 1e-9 if magic == 0xA1B23C4D else 1e-6
    (link,) = struct.unpack_from(f"{order}I", capture, 20)
    header, protocol_at = _LINK[link]
    at = 24
    while at + 16 <= len(capture):
        seconds, part, kept, _ = struct.unpack_from(f"{order}IIII", capture, at)
        frame = capture[at + 16 : at + 16 + kept]
        at += 16 + kept
        if len(frame) == kept and frame[protocol_at : protocol_at + 2] in (b"\x08\x00", b"\x86\xdd"):
            yield seconds + part * fraction, frame[header:]


def _tcp(packet: bytes) -> tuple[tuple[str, int, str, int], int, bytes] | None:
    """(flow, sequence number, payload) of a TCP segment with data."""
    if packet[0] >> 4 == 4:
        header, total = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0]
        source, target, protocol = packet[12:16], packet[16:20], packet[9]
    else:
        header, total = 40, 40 + struct.unpack_from("!H", packet, 4)[0]
        source, target, protocol = packet[8:24], packet[24:40], packet[6]
    if protocol != 6 or len(packet) < header + 20:
        return None
    sport, dport, sequence = struct.unpack_from("!HHI", packet, header)
    payload = packet[header + (packet[header + 12] >> 4) * 4 : total]
    if not payload:
        return None
    return (_address(source), sport, _address(target), dport), sequence, payload


def _address(raw: bytes) -> str:
    return str(ip_network((raw, len(raw) * 8)).network_address)


def prefixes(body: bytes) -> Iterator[tuple[str, bool]]:
    """(prefix, announced) of one UPDATE's body."""
    (withdrawn,) = struct.unpack_from("!H", body)
    (attributes,) = struct.unpack_from("!H", body, 2 + withdrawn)
    yield from ((prefix, False) for prefix in _nlri(body[2 : 2 + withdrawn], 4))
    at, end = 4 + withdrawn, 4 + withdrawn + attributes
    while at < end:
        flags, kind = body[at], body[at + 1]
        long = bool(flags & 0x10)
        length = struct.unpack_from("!H", body, at + 2)[0] if long else body[at + 2]
        at += 4 if long else 3
        value = body[at : at + length]
        at += length
        size = 16 if value[:2] == b"\x00\x02" else 4
        if kind == _MP_REACH:
            yield from ((prefix, True) for prefix in _nlri(value[5 + value[3] :], size))
        elif kind == _MP_UNREACH:
            yield from ((prefix, False) for prefix in _nlri(value[3:], size))
    yield from ((prefix, True) for prefix in _nlri(body[end:], 4))


def _nlri(data: bytes, size: int) -> Iterator[str]:
    at = 0
    while at < len(data):
        bits = data[at]
        used = (bits + 7) // 8
        raw = data[at + 1 : at + 1 + used].ljust(size, b"\0")
        at += 1 + used
        yield str(ip_network((raw, bits)))
