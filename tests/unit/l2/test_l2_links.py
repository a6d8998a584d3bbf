"""Which interfaces are fit, told in the kernel's own messages."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.l2.links import EXCLUDED, Interface, Links, dump_requests, excluded

MAC = bytes.fromhex("020000000010")
UP = 0x1 | 0x2 | 0x1000 | 0x10000  # up, broadcast, multicast, carrier
LINK_LOCAL = bytes.fromhex("fe80") + bytes(13) + b"\1"


def message(kind: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + padded


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link(
    name: str = "eth0",
    *,
    index: int = 2,
    flags: int = UP,
    hardware: int = 1,
    master: int = 0,
    kind: int = 16,
    family: int = 0,
    mac: bytes = MAC,
) -> bytes:
    body = struct.pack("=BxHiII", family, hardware, index, flags, 0)
    body += attribute(3, name.encode() + b"\0") + attribute(1, mac)
    if master:
        body += attribute(10, struct.pack("=I", master))
    return message(kind, body)


def address(value: bytes = LINK_LOCAL, index: int = 2, kind: int = 20) -> bytes:
    return message(kind, struct.pack("=BBBBi", 10, 64, 0, 253, index) + attribute(1, value))


def fit(*datagrams: bytes) -> dict[str, Interface]:
    links = Links()
    for datagram in datagrams:
        links.apply(datagram)
    return links.fit(excluded())


def test_a_link_with_carrier_answers_arp_and_with_a_link_local_address_ndp() -> None:
    assert fit(link()) == {"eth0": Interface("eth0", 2, MAC, arp=True, ndp=False)}
    assert fit(link() + address())["eth0"].ndp
    assert not fit(link(), address(), address(kind=21))["eth0"].ndp
    assert not fit(link(), address(bytes.fromhex("2001") + bytes(14)))["eth0"].ndp


@pytest.mark.parametrize(
    "datagram",
    [
        link(flags=UP & ~0x1),
        link(flags=UP & ~0x10000),
        link(flags=UP | 0x80),
        link(flags=UP | 0x8),
        link(hardware=772),
        link(master=7),
        link(mac=bytes(20)),
        *(
            link(name)
            for name in ("docker0", "veth1a2b", "lo", "cali12", "cni0", "flannel.1", "kube-ipvs0", "lxc9")
        ),
    ],
)
def test_what_is_not_fit(datagram: bytes) -> None:
    assert fit(datagram) == {}


def named(name: str, *patterns: str) -> bool:
    links = Links()
    links.apply(link(name))
    return not links.fit(excluded(patterns))


def test_our_own_patterns_match_from_the_start_only() -> None:
    assert fit(link("xlo")) != {}
    assert all(excluded().search(pattern.removeprefix("^")) for pattern in EXCLUDED)


def test_patterns_match_where_they_say_and_one_is_enough() -> None:
    assert named("wan0", "an")
    assert named("wan0", "^eth", "0$")
    assert not named("wan0", "^an", "^wan$")
    assert not named("wan0")
    assert named("WAN0", "^eth", "(?i)^wan")
    assert not named("WAN0", "(?i)^eth", "^wan")


def test_a_bad_pattern_costs_the_others_nothing() -> None:
    assert named("wan0", "(", "^wan", "*", "(?P<a>x)")
    assert not named("eth0", "(", "^wan", "*", "(?P<a>x)")


def test_leaving_a_bridge_is_not_the_end_of_the_link() -> None:
    assert fit(link(master=7), link(kind=17, family=7), link()) != {}
    assert fit(link(), link(kind=17)) == {}


def test_a_link_that_is_renamed_is_known_by_its_new_name() -> None:
    assert list(fit(link("eth0"), link("lan0"))) == ["lan0"]


def test_a_dump_ends_with_done_or_an_error() -> None:
    links = Links()
    assert not links.apply(link() + link("eth1", index=3))
    assert links.apply(message(3, bytes(4)))
    assert links.apply(message(2, bytes(20)))
    assert len(dump_requests()) == 2


@given(st.binary(max_size=120), st.integers(0, 60), st.integers(0, 255))
def test_no_datagram_raises(datagram: bytes, place: int, value: int) -> None:
    links = Links()
    links.apply(datagram)
    hurt = bytearray(link() + address())
    hurt[place] = value
    links.apply(bytes(hurt) + datagram)
    links.fit(excluded())
