"""A person's question about an address: three times, and everybody who answers is counted."""

import socket

import pytest

from metalbgp.l2 import wire
from metalbgp.l2.asking import LISTEN, QUESTIONS, SPACING, Asking
from metalbgp.l2.links import Interface

OURS, FIRST, SECOND = (bytes([2, 0, 0, 0, 0, number]) for number in (1, 2, 3))
ADDRESS = bytes([192, 0, 2, 100])
ADDRESS6 = socket.inet_pton(socket.AF_INET6, "2001:db8::100")


def interface(name: str = "eth0", *, arp: bool = True, ndp: bool = True) -> Interface:
    return Interface(name, 2, OURS, arp, ndp)


def test_it_asks_three_times_and_listens_half_a_second_after_the_last() -> None:
    asking = Asking(ADDRESS, [interface(), interface("eth1")], 10.0)
    now, asked = 10.0, 0
    while not asking.over(now):
        frames = asking.wake(now)
        assert [name for name, _ in frames] == ["eth0", "eth1"]
        assert all(frame == wire.question(OURS, ADDRESS) for _, frame in frames)
        asked += 1
        now = asking.deadline
    assert asked == QUESTIONS
    assert now == pytest.approx(10.0 + 2 * SPACING + LISTEN)


def test_everybody_who_answers_is_counted_with_how_long_it_took() -> None:
    asking = Asking(ADDRESS, [interface()], 0.0)
    asking.wake(0.0)
    for mac, now in ((FIRST, 0.001), (SECOND, 0.002), (FIRST, 0.003)):
        asking.heard("eth0", wire.arp_reply(mac, ADDRESS, OURS, bytes(4)), now)
    assert list(asking.rows()) == [
        {"interface": "eth0", "mac": FIRST.hex(":"), "ms": 1.0, "times": 2},
        {"interface": "eth0", "mac": SECOND.hex(":"), "ms": 2.0, "times": 1},
    ]


def test_advertisements_answer_for_ipv6() -> None:
    asking = Asking(ADDRESS6, [interface()], 0.0)
    asking.wake(0.0)
    to_all = wire.multicast_mac(wire.ALL_NODES)
    asking.heard("eth0", wire.advertisement(FIRST, ADDRESS6, to_all, wire.ALL_NODES, solicited=False), 0.01)
    assert [one["mac"] for one in asking.rows()] == [FIRST.hex(":")]


def test_questions_of_others_about_it_and_what_is_about_others_are_no_answers() -> None:
    asking = Asking(ADDRESS, [interface()], 0.0)
    asking.wake(0.0)
    for frame in (
        wire.question(SECOND, ADDRESS),
        wire.arp_reply(SECOND, bytes([192, 0, 2, 101]), OURS, bytes(4)),
        wire.arp_reply(OURS, ADDRESS, OURS, bytes(4)),  # a wire that leads back to us
        b"rubbish",
    ):
        asking.heard("eth0", frame, 0.01)
    assert list(asking.rows()) == []


def test_an_interface_without_a_link_local_address_is_not_asked_for_ipv6() -> None:
    assert not Asking(ADDRESS6, [interface(ndp=False)], 0.0).interfaces
    assert Asking(ADDRESS, [interface(ndp=False)], 0.0).interfaces
