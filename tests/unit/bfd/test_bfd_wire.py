"""Control packets: bytes by hand from RFC 5880 §4.1, and every check of §6.8.6 that a packet can fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.bfd.wire import Drop, Packet, State, decode, encode

UP = Packet(
    State.UP, 0, 3, mine=0x01020304, yours=0x0A0B0C0D, transmit=100_000, receive=300_000, independent=True
)
UP_BYTES = bytes.fromhex("20 c8 03 18 01020304 0a0b0c0d 000186a0 000493e0 00000000")


def changed(index: int, value: int, packet: bytes = UP_BYTES) -> bytes:
    return packet[:index] + bytes([value]) + packet[index + 1 :]


def test_a_packet_has_the_bytes_of_the_rfc() -> None:
    assert encode(UP) == UP_BYTES
    assert decode(UP_BYTES) == UP


@pytest.mark.parametrize(
    ("flag", "field"), [(0x20, "poll"), (0x10, "final"), (0x08, "independent"), (0x02, "demand")]
)
def test_each_flag_is_its_own_bit(flag: int, field: str) -> None:
    read = decode(changed(1, 0xC0 | flag))
    assert isinstance(read, Packet)
    assert [name for name in ("poll", "final", "independent", "demand") if getattr(read, name)] == [field]
    assert encode(read) == changed(1, 0xC0 | flag)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", Drop.MALFORMED),
        (UP_BYTES[:23], Drop.MALFORMED),
        (changed(0, 0x00), Drop.MALFORMED),  # version 0
        (changed(0, 0x40), Drop.MALFORMED),  # version 2
        (changed(3, 23), Drop.MALFORMED),  # shorter than a packet is
        (changed(3, 25), Drop.MALFORMED),  # longer than the datagram
        (changed(2, 0), Drop.MALFORMED),  # multiplier 0
        (changed(1, 0xC9), Drop.MULTIPOINT),
        (UP_BYTES[:4] + bytes(4) + UP_BYTES[8:], Drop.MALFORMED),  # My Discriminator 0
        (UP_BYTES[:8] + bytes(4) + UP_BYTES[12:], Drop.MALFORMED),  # Your Discriminator 0 in Up
        (changed(1, 0xCC), Drop.MALFORMED),  # authenticated, and no room for it
        (changed(1, 0xCC, changed(3, 26)) + bytes(2), Drop.AUTHENTICATED),
    ],
)
def test_what_fails_a_check_is_dropped_with_its_reason(payload: bytes, why: Drop) -> None:
    assert decode(payload) is why


@pytest.mark.parametrize("state", [State.DOWN, State.ADMIN_DOWN])
def test_who_has_not_heard_us_may_only_be_down(state: State) -> None:
    read = decode(changed(1, state << 6, UP_BYTES[:8] + bytes(4) + UP_BYTES[12:]))
    assert isinstance(read, Packet)
    assert (read.state, read.yours) == (state, 0)


def test_what_follows_a_packet_is_padding() -> None:
    assert decode(UP_BYTES + b"padding") == UP


@given(st.binary(max_size=64))
def test_no_bytes_raise(payload: bytes) -> None:
    assert isinstance(decode(payload), Packet | Drop)


@given(
    st.builds(
        Packet,
        st.sampled_from(State),
        st.integers(0, 31),
        st.integers(1, 255),
        *(st.integers(1, 2**32 - 1) for _ in range(2)),
        *(st.integers(0, 2**32 - 1) for _ in range(2)),
        *(st.booleans() for _ in range(4)),
        st.integers(0, 2**32 - 1),
    )
)
def test_every_packet_survives_its_bytes(packet: Packet) -> None:
    assert decode(encode(packet)) == packet
