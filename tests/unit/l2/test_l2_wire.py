"""Which frames are a question, which are dropped and why, and what is sent. Bytes by hand, word by word."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.l2 import wire
from metalbgp.l2.wire import Advertisement, Arp, Drop, Solicitation

ASKER = bytes.fromhex("020000000020")
OURS = bytes.fromhex("020000000010")
VIP = socket.inet_aton("192.0.2.100")
HOST = socket.inet_aton("192.0.2.2")
VIP6 = socket.inet_pton(socket.AF_INET6, "2001:db8::100")
HOST6 = socket.inet_pton(socket.AF_INET6, "2001:db8::2")
GROUP = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:100")
SLLA = b"\x01\x01" + ASKER


def arp(
    *,
    head: bytes = b"\0\1\x08\0\6\4",
    operation: int = 1,
    mac: bytes = ASKER,
    sender: bytes = HOST,
    target: bytes = VIP,
    to: bytes = wire.BROADCAST,
) -> bytes:
    return to + ASKER + b"\x08\x06" + head + struct.pack("!H", operation) + mac + sender + bytes(6) + target


def ndp(
    *,
    kind: int = 135,
    code: int = 0,
    sender: bytes = HOST6,
    to: bytes = GROUP,
    target: bytes = VIP6,
    options: bytes = SLLA,
    hop_limit: int = 255,
    version: int = 6,
    next_header: int = 58,
    spoil: int = 0,
    source: bytes = ASKER,
) -> bytes:
    body = bytes(4) + target + options
    data = sender + to + struct.pack("!II", len(body) + 4, 58) + bytes((kind, code, 0, 0)) + body
    total = 0
    for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) % 2)):
        total += word
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    message = bytes((kind, code)) + struct.pack("!H", (~total & 0xFFFF) ^ spoil) + body
    head = struct.pack("!IHBB", version << 28, len(message), next_header, hop_limit)
    return b"\x33\x33\xff\0\1\0" + source + b"\x86\xdd" + head + sender + to + message


def test_a_question_is_read_with_its_padding() -> None:
    expected = Arp(wire.BROADCAST, ASKER, wire.REQUEST, ASKER, HOST, VIP)
    assert wire.decode(arp()) == expected
    assert wire.decode(arp() + bytes(1400)) == expected


def test_a_probe_has_no_sender_address() -> None:
    assert isinstance(wire.decode(arp(sender=bytes(4))), Arp)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"", Drop.SHORT),
        (arp()[:13], Drop.SHORT),
        (arp()[:34], Drop.SHORT),
        (arp()[:41], Drop.SHORT),
        (arp()[:12] + b"\x81\0\0\7" + arp()[12:], Drop.ETHERTYPE),
        (arp(head=b"\0\6\x08\0\6\4"), Drop.HEADER),
        (arp(head=b"\0\1\x86\xdd\6\4"), Drop.HEADER),
        (arp(head=b"\0\1\x08\0\x08\4"), Drop.HEADER),
        (arp(head=b"\0\1\x08\0\6\x10"), Drop.HEADER),
        (arp(operation=0), Drop.OPERATION),
        (arp(operation=3), Drop.OPERATION),
        (arp(operation=0x0101), Drop.OPERATION),
        (arp(mac=bytes(6)), Drop.SENDER_MAC),
        (arp(mac=b"\1" + bytes(5)), Drop.SENDER_MAC),
        (arp(mac=wire.BROADCAST), Drop.SENDER_MAC),
        (arp(sender=socket.inet_aton("224.0.0.1")), Drop.SENDER_ADDRESS),
        (arp(sender=socket.inet_aton("239.255.255.255")), Drop.SENDER_ADDRESS),
        (arp(sender=socket.inet_aton("255.255.255.255")), Drop.SENDER_ADDRESS),
        (arp(sender=socket.inet_aton("127.0.0.1")), Drop.SENDER_ADDRESS),
    ],
)
def test_arp_that_is_no_question_is_dropped_with_its_reason(frame: bytes, why: Drop) -> None:
    assert wire.decode(frame) is why


def test_a_solicitation_is_read_with_its_padding() -> None:
    expected = Solicitation(b"\x33\x33\xff\0\1\0", ASKER, HOST6, VIP6, ASKER)
    assert wire.decode(ndp()) == expected
    assert wire.decode(ndp() + bytes(40)) == expected
    assert wire.decode(ndp(options=b"\x0e\x01nonce!" + SLLA)) == expected


def test_a_unicast_probe_may_lack_the_link_address() -> None:
    packet = wire.decode(ndp(options=b"", to=VIP6))
    assert isinstance(packet, Solicitation)
    assert packet.link_address is None


def test_duplicate_address_detection_is_a_question() -> None:
    packet = wire.decode(ndp(sender=bytes(16), options=b""))
    assert isinstance(packet, Solicitation)


def test_an_answer_to_one_that_goes_to_many_is_refused() -> None:
    """RFC 4861 §7.1.2: to a multicast destination the solicited flag is zero."""
    frame = wire.advertisement(
        ASKER, VIP6, wire.multicast_mac(wire.ALL_NODES), wire.ALL_NODES, solicited=True
    )
    assert wire.decode(frame) is Drop.SOLICITED


def test_an_advertisement_names_the_claimant() -> None:
    packet = wire.decode(ndp(kind=136, options=b"\2\1" + ASKER))
    assert packet == Advertisement(b"\x33\x33\xff\0\1\0", ASKER, HOST6, VIP6, ASKER)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (ndp()[:40], Drop.SHORT),
        (ndp()[:60], Drop.SHORT),
        (ndp()[:77], Drop.SHORT),
        (ndp(version=4), Drop.HEADER),
        (ndp(next_header=17), Drop.NOT_NDP),
        (ndp(next_header=0), Drop.NOT_NDP),
        (ndp(next_header=44), Drop.FRAGMENT),
        (ndp(kind=134), Drop.NOT_NDP),
        (ndp(hop_limit=254), Drop.HOP_LIMIT),
        (ndp(code=1), Drop.CODE),
        (ndp(spoil=1), Drop.CHECKSUM),
        (ndp(target=GROUP), Drop.TARGET),
        (ndp(sender=GROUP), Drop.SENDER_ADDRESS),
        (ndp(sender=bytes(15) + b"\1"), Drop.SENDER_ADDRESS),
        (ndp(source=bytes(6)), Drop.SENDER_MAC),
        (ndp(options=b"\1\0" + ASKER), Drop.OPTION),
        (ndp(options=b"\1\2" + ASKER), Drop.OPTION),
        (ndp(options=b"\1\2" + ASKER + bytes(8)), Drop.OPTION),
        (ndp(options=SLLA + b"\1"), Drop.OPTION),
        (ndp(options=SLLA + b"\x0e\0" + bytes(6)), Drop.OPTION),
        (ndp(options=b"\1\1" + bytes(6)), Drop.SENDER_MAC),
        (ndp(options=b"\1\1" + wire.BROADCAST), Drop.SENDER_MAC),
        (ndp(sender=bytes(16)), Drop.UNSPECIFIED),
        (ndp(sender=bytes(16), options=b"", to=VIP6), Drop.UNSPECIFIED),
        (ndp(sender=bytes(16), options=b"", to=wire.ALL_NODES), Drop.UNSPECIFIED),
    ],
)
def test_ndp_that_rfc_4861_refuses_is_dropped_with_its_reason(frame: bytes, why: Drop) -> None:
    assert wire.decode(frame) is why


@given(st.binary(max_size=200))
def test_no_bytes_at_all_raise(frame: bytes) -> None:
    assert isinstance(wire.decode(frame), Drop | Arp | Solicitation | Advertisement)


@given(
    st.sampled_from([arp(), ndp(), ndp(kind=136), ndp(sender=bytes(16), options=b"")]),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6),
    st.integers(0, 130),
)
def test_no_damaged_frame_raises(frame: bytes, damage: list[tuple[int, int]], length: int) -> None:
    hurt = bytearray(frame)
    for place, value in damage:
        hurt[place % len(hurt)] = value
    assert isinstance(wire.decode(bytes(hurt[:length])), Drop | Arp | Solicitation | Advertisement)


@given(st.integers(0, 8 * 86 - 1))
def test_one_flipped_bit_in_what_the_checksum_covers_is_noticed(bit: int) -> None:
    frame = bytearray(ndp())
    frame[bit // 8] ^= 1 << bit % 8
    if bit // 8 >= 22:
        assert isinstance(wire.decode(bytes(frame)), Drop)


macs = st.binary(min_size=6, max_size=6).filter(lambda mac: not mac[0] & 1 and mac != bytes(6))
addresses6 = st.binary(min_size=16, max_size=16).filter(lambda each: 0 < each[0] < 255)


@given(macs, addresses6, macs, addresses6, st.booleans())
def test_what_we_advertise_is_valid_to_our_own_decoder(
    mac: bytes, target: bytes, to_mac: bytes, to: bytes, solicited: bool
) -> None:
    frame = wire.advertisement(mac, target, to_mac, to, solicited=solicited)
    assert wire.decode(frame) == Advertisement(to_mac, mac, target, target, mac)
    assert frame[58] == (0x60 if solicited else 0x20)


def test_an_answer_byte_for_byte() -> None:
    assert wire.arp_reply(OURS, VIP, ASKER, HOST).hex(" ", 2) == (
        "0200 0000 0020 0200 0000 0010 0806 0001 0800 0604 0002 "
        "0200 0000 0010 c000 0264 0200 0000 0020 c000 0202"
    )


def test_gratuitous_arp_comes_in_both_forms() -> None:
    request, reply = wire.gratuitous(OURS, VIP)
    assert (
        request
        == wire.BROADCAST + OURS + bytes.fromhex("080600010800060400 01") + OURS + VIP + bytes(6) + VIP
    )
    assert reply == wire.BROADCAST + OURS + bytes.fromhex("080600010800060400 02") + OURS + VIP + OURS + VIP


def test_an_unsolicited_advertisement_goes_to_all_nodes() -> None:
    (frame,) = wire.gratuitous(OURS, VIP6)
    assert frame[:6] == bytes.fromhex("333300000001")
    assert frame[38:54] == wire.ALL_NODES
    assert frame[58] == 0x20


def test_the_group_of_an_address() -> None:
    assert wire.solicited_node(VIP6) == GROUP
    assert wire.multicast_mac(GROUP) == b"\x33\x33\xff\0\1\0"
