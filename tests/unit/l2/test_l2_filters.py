"""What the kernel's filter lets through, judged by a slow interpreter of classic BPF."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from metalbgp.l2 import filters, wire

MAC = bytes.fromhex("020000000020")
HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING = range(5)


def accepts(program: bytes, frame: bytes, packet_type: int = BROADCAST) -> bool:
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator, place = 0, 0
    while True:
        operation, if_true, if_false, value = code[place]
        place += 1
        if operation == 0x06:
            return bool(value)
        if operation == 0x05:
            place += value
        elif operation in (0x15, 0x25):
            holds = accumulator == value if operation == 0x15 else accumulator > value
            place += if_true if holds else if_false
        elif operation == 0x20 and value == 0xFFFFF004:
            accumulator = packet_type
        else:
            size = {0x20: 4, 0x28: 2, 0x30: 1}[operation]
            if value + size > len(frame):
                return False
            accumulator = int.from_bytes(frame[value : value + size], "big")


def question(target: bytes, sender: bytes = b"\xc0\0\2\2", operation: int = 1) -> bytes:
    head = wire.BROADCAST + MAC + bytes.fromhex("0806000108000604") + operation.to_bytes(2, "big")
    return head + MAC + sender + bytes(6) + target


def solicitation(target: bytes, kind: int = 135, next_header: int = 58) -> bytes:
    frame = bytearray(wire.advertisement(MAC, target, MAC, target, solicited=False))
    frame[20], frame[54] = next_header, kind
    return bytes(frame)


def numbered(count: int, size: int = 4) -> list[bytes]:
    return [b"\x0a" + bytes(size - 3) + number.to_bytes(2, "big") for number in range(count)]


def well_formed(program: bytes) -> bool:
    """What the kernel's checker asks: at most 4,096, every jump lands inside, a return at the end."""
    code = list(struct.iter_unpack("=HBBI", program))
    for place, (operation, if_true, if_false, value) in enumerate(code):
        reach = value if operation == 0x05 else max(if_true, if_false) if operation in (0x15, 0x25) else 0
        if place + 1 + reach >= len(code) and operation != 0x06:
            return False
    return len(code) <= 4096 and code[-1][0] == 0x06 and filters.instructions(program) == len(code)


@settings(max_examples=40)
@given(st.integers(0, filters.LIMIT), st.data())
def test_exactly_the_claimed_addresses_pass(count: int, data: st.DataObject) -> None:
    claimed = numbered(count)
    program = filters.arp(claimed)
    assert well_formed(program)
    assert not accepts(program, question(b"\x0b\0\0\1"))
    if claimed:
        one = data.draw(st.sampled_from(claimed))
        assert accepts(program, question(one))
        assert accepts(program, question(b"\x0b\0\0\1", sender=one, operation=2))


@settings(max_examples=40)
@given(st.integers(0, filters.LIMIT), st.data())
def test_exactly_the_claimed_targets_pass(count: int, data: st.DataObject) -> None:
    claimed = numbered(count, 16)
    program = filters.ndp(claimed)
    assert well_formed(program)
    assert not accepts(program, solicitation(b"\x20" + b"\xee" * 15))
    if claimed:
        one = data.draw(st.sampled_from(claimed))
        assert accepts(program, solicitation(one))
        assert accepts(program, solicitation(one, kind=136))
        assert not accepts(program, solicitation(one, kind=134))
        assert not accepts(program, solicitation(one, next_header=44))


def test_other_hosts_frames_never_pass() -> None:
    four, sixteen = numbered(1)[0], numbered(1, 16)[0]
    for program, frame in (
        (filters.arp([four]), question(four)),
        (filters.arp_requests(), question(four)),
        (filters.ndp([sixteen]), solicitation(sixteen)),
        (filters.ndp_solicitations(), solicitation(sixteen)),
    ):
        passed = [packet_type for packet_type in range(5) if accepts(program, frame, packet_type)]
        assert passed == [HOST, BROADCAST, MULTICAST]


def test_too_many_addresses_let_all_questions_pass_and_nothing_else() -> None:
    arp, ndp = filters.arp(numbered(filters.LIMIT + 1)), filters.ndp(numbered(filters.LIMIT + 1, 16))
    assert (arp, ndp) == (filters.arp(filters.EVERY), filters.ndp(filters.EVERY))
    assert well_formed(arp)
    assert well_formed(ndp)
    assert accepts(arp, question(b"\x0b\0\0\1"))
    assert not accepts(arp, question(b"\x0b\0\0\1", operation=2))
    assert accepts(ndp, solicitation(b"\x20" + b"\xee" * 15))
    assert not accepts(ndp, solicitation(b"\x20" + b"\xee" * 15, kind=136))


def test_a_truncated_frame_does_not_pass() -> None:
    assert not accepts(filters.arp(numbered(3)), question(numbered(3)[0])[:30])
    assert not accepts(filters.nothing(), question(numbered(3)[0]))
