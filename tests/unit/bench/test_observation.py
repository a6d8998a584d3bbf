"""The harness reads captures, route lines and processes correctly: a wrong reading would flatter or blame."""

import os
import struct
from collections.abc import Sequence

import pytest

from bench.cost import process_name
from bench.phases import percentile
from bench.routes import parse_route
from bench.wire import Update, prefixes, updates

MARKER = b"\xff" * 16


def message(kind: int, body: bytes) -> bytes:
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def update(announced: bytes = b"", withdrawn: bytes = b"", attributes: bytes = b"") -> bytes:
    return (
        struct.pack("!H", len(withdrawn))
        + withdrawn
        + struct.pack("!H", len(attributes))
        + attributes
        + announced
    )


def host(a: int, b: int, c: int, d: int) -> bytes:
    return bytes((32, a, b, c, d))


def pcap(segments: Sequence[tuple[float, int, bytes]]) -> bytes:
    """A capture with one flow from 10.0.0.11: (time, sequence number, payload)."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for when, sequence, payload in segments:
        tcp = struct.pack("!HHIIBBHHH", 40000, 179, sequence, 0, 5 << 4, 0x18, 0, 0, 0) + payload
        ip = struct.pack("!BBHHHBBH4B4B", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, 10, 0, 0, 11, 10, 0, 0, 1)
        frame = bytes(12) + b"\x08\x00" + ip + tcp + bytes(3)  # with padding, as short frames have
        seconds = int(when)
        out += struct.pack("<IIII", seconds, round((when - seconds) * 1e6), len(frame), len(frame)) + frame
    return out


def test_an_update_tells_what_it_announces_and_what_it_withdraws() -> None:
    body = update(
        announced=host(10, 1, 1, 1) + host(10, 1, 1, 2), withdrawn=host(10, 1, 1, 3) + bytes((24, 10, 2, 0))
    )
    assert list(prefixes(body)) == [
        ("10.1.1.3/32", False),
        ("10.2.0.0/24", False),
        ("10.1.1.1/32", True),
        ("10.1.1.2/32", True),
    ]


def test_ipv6_travels_in_the_multiprotocol_attributes() -> None:
    address = bytes.fromhex("20010db8000000000000000000000001")
    reach = b"\x00\x02\x01\x10" + bytes(16) + b"\x00" + bytes((128,)) + address
    unreach = b"\x00\x02\x01" + bytes((128,)) + address
    attributes = bytes((0x80, 14, len(reach))) + reach + bytes((0x90, 15, 0, len(unreach))) + unreach
    assert list(prefixes(update(attributes=attributes))) == [
        ("2001:db8::1/128", True),
        ("2001:db8::1/128", False),
    ]


@pytest.mark.parametrize("start", [1000, 0xFFFFFFF0], ids=["plain", "sequence numbers wrap"])
def test_a_message_split_over_segments_counts_when_its_last_byte_arrives(start: int) -> None:
    stream = message(4, b"") + message(2, update(announced=host(10, 1, 1, 1)))
    first, second = stream[:30], stream[30:]
    capture = pcap([(1.0, start, first), (1.5, (start + 30) & 0xFFFFFFFF, second)])
    assert list(updates(capture)) == [Update(1.5, "10.0.0.11", "10.1.1.1/32", True)]


def test_a_retransmission_counts_once_and_a_reordered_segment_is_put_back() -> None:
    one = message(2, update(announced=host(10, 1, 1, 1)))
    two = message(2, update(withdrawn=host(10, 1, 1, 1)))
    after = 500 + len(one)
    late = message(2, update(announced=host(10, 1, 1, 9)))
    end = after + len(two)
    capture = pcap([(1.0, 500, one), (1.1, 500, one), (1.2, end, late), (1.3, after, two), (1.4, after, two)])
    assert [(u.time, u.prefix, u.announced) for u in updates(capture)] == [
        (1.0, "10.1.1.1/32", True),
        (1.3, "10.1.1.1/32", False),
        (1.3, "10.1.1.9/32", True),
    ]


def test_a_cut_capture_gives_what_is_complete() -> None:
    whole = pcap([(1.0, 1, message(2, update(announced=host(10, 1, 1, 1))))])
    assert list(updates(whole[:-1])) == []
    assert list(updates(b"")) == []


@pytest.mark.parametrize(
    ("line", "hops"),
    [
        ("[2026-03-01T10:00:00.500000] 10.253.0.1 nhid 9 via 10.252.252.11 dev seg proto bgp metric 20 ", 1),
        (
            "[2026-03-01T10:00:00.500000] 10.253.0.1 nhid 12 proto bgp metric 20 "
            "\\\tnexthop via 10.252.252.11 dev s weight 1 \\\tnexthop via 10.252.252.12 dev s weight 1 ",
            2,
        ),
        ("[2026-03-01T10:00:00.500000] Deleted 10.253.0.1 nhid 12 proto bgp metric 20 ", 0),
    ],
)
def test_a_route_line_tells_its_next_hops(line: str, hops: int) -> None:
    assert parse_route(line) == (1772359200.5, "10.253.0.1/32", hops)


def test_lines_that_are_no_host_route_of_ours_are_left_alone() -> None:
    assert parse_route("[2026-03-01T10:00:00.500000] local 10.1.1.1 dev lo table local") is None
    assert parse_route("Timestamp: Sun Mar 1 2026") is None


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(value) for value in range(1, 41)]
    assert percentile(values, 0.5) == 20
    assert percentile(values, 0.99) == 40
    assert percentile([7.0], 0.99) == 7


def test_a_process_is_named_by_what_it_runs() -> None:
    assert process_name(os.getpid()) in ("pytest", "__main__.py", "python")
