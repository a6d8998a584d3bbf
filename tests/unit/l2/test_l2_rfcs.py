"""ARP and NDP section by section: what a host that owns the address must, and must not, say.

Not here because we have no table of neighbours: updating one (RFC 826, RFC 4861 §7.2.3, §7.2.5). Not here
because we own what we answer for: anycast and proxies (§7.2.7, §7.2.8), so O is 1 and nothing is delayed.
"""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.l2 import wire
from metalbgp.l2.machine import Conflict, Effect, Send
from tests.unit.l2.test_l2_machine import ASKER, ETH0, FOREIGN, HOST, HOST6, VIP, VIP2, VIP6, arp, ready, sent

GROUP = wire.solicited_node(VIP6)
NONE6 = bytes(16)


def solicitation(
    target: bytes = VIP6,
    *,
    sender: bytes = HOST6,
    to: bytes = GROUP,
    to_mac: bytes = b"",
    source: bytes = ASKER,
    options: bytes | None = None,
    next_header: int = 58,
    kind: int = 135,
    flags: int = 0,
) -> bytes:
    if options is None:
        options = b"\1\1" + source
    body = struct.pack("!I", flags) + target + options
    pseudo = sender + to + struct.pack("!II", 4 + len(body), 58)
    code = -int.from_bytes(pseudo + bytes((kind, 0, 0, 0)) + body, "big") % 0xFFFF
    head = struct.pack("!IHBB", 6 << 28, 4 + len(body), next_header, 255) + sender + to
    message = bytes((kind, 0)) + struct.pack("!H", code) + body
    return (to_mac or wire.multicast_mac(to)) + source + b"\x86\xdd" + head + message


def told(frame: bytes) -> list[Effect]:
    return ready(duties=(VIP, VIP6)).frame("eth0", frame, 0.0, 1.0)


def advertised(frame: bytes) -> bytes:
    (answer,) = sent(told(frame))
    return answer


def test_rfc_826_the_answer_goes_to_the_senders_hardware_address_with_both_pairs_exchanged() -> None:
    """Even if the frame came from another one, as a bridge or VRRP makes it."""
    (effect,) = told(wire.BROADCAST + FOREIGN + arp()[12:])
    assert effect == Send(ETH0, wire.arp_reply(ETH0.mac, VIP, ASKER, HOST))


def test_rfc_5227_2_1_1_a_probe_is_answered_and_is_no_conflict() -> None:
    (effect,) = told(arp(sender=bytes(4)))
    assert effect == Send(ETH0, wire.arp_reply(ETH0.mac, VIP, ASKER, bytes(4)))


def test_rfc_5227_2_1_1_a_probe_for_another_address_is_nobodys_business() -> None:
    assert told(arp(VIP2, sender=bytes(4))) == []


def test_rfc_5227_2_3_an_announcement_has_the_same_address_twice_and_no_target_hardware_address() -> None:
    announcement = wire.gratuitous(ETH0.mac, VIP)[0]
    assert (announcement[28:32], announcement[32:38], announcement[38:42]) == (VIP, bytes(6), VIP)


@pytest.mark.parametrize("operation", [b"\0\1", b"\0\2"])
@pytest.mark.parametrize("target", [VIP, VIP2, HOST])
def test_rfc_5227_2_4_any_arp_from_our_address_is_a_conflict(operation: bytes, target: bytes) -> None:
    effects = told(arp(target, sender=VIP, mac=FOREIGN, operation=operation))
    assert effects == [Conflict("eth0", VIP, FOREIGN)]


def test_rfc_5227_2_5_an_owned_address_is_kept_whatever_others_claim() -> None:
    machine = ready()
    for second in range(30):
        machine.frame("eth0", arp(VIP, sender=VIP, mac=FOREIGN), 0.0, float(second))
        assert sent(machine.frame("eth0", arp(), 0.0, float(second)))


def test_rfc_4861_7_2_4_the_answer_to_a_known_asker_is_solicited_overrides_and_is_no_routers() -> None:
    answer = advertised(solicitation())
    assert (answer[:6], answer[38:54], answer[58]) == (ASKER, HOST6, 0x60)


def test_rfc_4861_7_2_4_the_answer_names_the_link_address_also_where_it_might_be_left_out() -> None:
    answer = advertised(solicitation(to=VIP6, to_mac=ETH0.mac, options=b""))
    assert answer[78:] == b"\2\1" + ETH0.mac


def test_rfc_4861_7_2_4_the_answer_goes_where_the_option_says_not_where_the_frame_came_from() -> None:
    assert advertised(solicitation(options=b"\1\1" + FOREIGN))[:6] == FOREIGN


def test_rfc_4861_7_2_3_and_7_1_1_an_unspecified_asker_is_answered_to_all_nodes_unsolicited() -> None:
    answer = advertised(solicitation(sender=NONE6, options=b""))
    assert (answer[38:54], answer[58]) == (wire.ALL_NODES, 0x20)


def test_rfc_4861_7_2_6_what_is_told_unasked_goes_to_all_nodes_and_overrides() -> None:
    (frame,) = wire.gratuitous(ETH0.mac, VIP6)
    assert (frame[:6], frame[38:54], frame[58]) == (b"\x33\x33\0\0\0\1", wire.ALL_NODES, 0x20)


def test_rfc_4861_7_1_2_a_foreign_advertisement_is_a_conflict_only_if_it_is_valid() -> None:
    claim = {"kind": 136, "source": FOREIGN, "to": wire.ALL_NODES, "options": b"\2\1" + FOREIGN}
    assert told(solicitation(**claim, flags=0x20000000)) == [Conflict("eth0", VIP6, FOREIGN)]
    assert told(solicitation(**claim, flags=0x60000000)) == []


def test_rfc_4862_5_4_3_detection_of_duplicates_by_another_host_is_answered_and_is_no_conflict() -> None:
    machine = ready(duties=(VIP6,))
    frame = solicitation(sender=NONE6, source=FOREIGN, options=b"")
    assert [type(effect) for effect in machine.frame("eth0", frame, 0.0, 1.0)] == [Send]
    assert not machine.conflicts


def test_rfc_4862_5_4_3_whoever_asks_from_our_address_is_in_conflict() -> None:
    machine = ready(duties=(VIP6, VIP6[:-1] + b"\1"))
    frame = solicitation(VIP6, sender=VIP6[:-1] + b"\1", source=FOREIGN)
    effects = machine.frame("eth0", frame, 0.0, 1.0)
    assert effects[0] == Conflict("eth0", VIP6[:-1] + b"\1", FOREIGN)


@pytest.mark.parametrize("next_header", [0, 43, 44, 60])
def test_rfc_6980_5_what_is_fragmented_or_hidden_behind_another_header_is_ignored(next_header: int) -> None:
    machine = ready(duties=(VIP6,))
    assert machine.frame("eth0", solicitation(next_header=next_header), 0.0, 1.0) == []
    assert sum(machine.drops.values()) == 1


TAGS = st.sampled_from((b"", b"\x81\0\0\7", b"\x88\xa8\0\7\x81\0\0\7"))
GOOD = (
    arp(),
    arp(sender=bytes(4)),
    arp(sender=VIP, mac=FOREIGN, operation=b"\0\2"),
    solicitation(),
    solicitation(sender=NONE6, options=b""),
    *wire.gratuitous(FOREIGN, VIP),
    *wire.gratuitous(FOREIGN, VIP6),
)


@given(
    st.sampled_from(GOOD),
    TAGS,
    st.lists(st.tuples(st.integers(0, 100), st.binary(min_size=1, max_size=16)), max_size=4),
    st.integers(0, 120),
)
def test_whatever_comes_we_speak_of_what_is_ours_with_our_mac_to_one_station_or_to_all_nodes(
    frame: bytes, tag: bytes, damage: list[tuple[int, bytes]], length: int
) -> None:
    hurt = bytearray(frame[:12] + tag + frame[12:])
    for place, value in damage:
        hurt[place : place + len(value)] = value
    machine = ready(duties=(VIP, VIP6))
    for answer in sent(machine.frame("eth0", bytes(hurt[:length]), 0.0, 1.0)):
        assert answer[6:12] == ETH0.mac
        assert not answer[0] & 1 or answer[:6] == wire.multicast_mac(wire.ALL_NODES)
        if answer[12:14] == b"\x08\x06":
            assert (answer[20:22], answer[22:32]) == (b"\0\2", ETH0.mac + VIP)
        else:
            assert (answer[22:38], answer[62:78]) == (VIP6, VIP6)
    if tag and not damage:
        assert machine.drops


def test_the_vectors_are_what_they_claim_to_be() -> None:
    assert socket.inet_ntop(socket.AF_INET6, GROUP) == "ff02::1:ff00:100"
    assert all(not isinstance(wire.decode(frame), wire.Drop) for frame in GOOD)
