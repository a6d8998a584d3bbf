"""What the kernel's filter lets into the queue: asked of the kernel itself, over the loopback."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from metalbgp.bfd import filters, sockets
from metalbgp.bfd.wire import Packet, State, encode


class Pair:
    def __init__(self, family: socket.AddressFamily, address: str) -> None:
        self.address = socket.inet_pton(family, address)
        self.receiver, self.sender = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        self.receiver.bind((address, 0))
        self.receiver.setblocking(False)
        self.sender.connect(self.receiver.getsockname())
        level, option = (
            (socket.IPPROTO_IP, socket.IP_TTL)
            if family == socket.AF_INET
            else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
        )
        self.ttl = lambda value: self.sender.setsockopt(level, option, value)

    def takes(self, program: bytes, payload: bytes = b"x") -> bool:
        sockets.attach(self.receiver, program)
        self.sender.send(payload)
        try:
            return self.receiver.recv(99) == payload
        except BlockingIOError:
            return False


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(*request.param)
    with closing(made.receiver), closing(made.sender):
        yield made


def others(size: int, count: int) -> list[bytes]:
    return [bytes(size - 4) + b"\x0a\0" + number.to_bytes(2, "big") for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 200, filters.LIMIT - 1])
def test_the_routers_packets_pass_and_no_strangers(pair: Pair, count: int) -> None:
    size = len(pair.address)
    assert pair.takes(filters.program(size, [*others(size, count), pair.address]))
    assert not pair.takes(filters.program(size, others(size, count)))


def test_with_too_many_routers_everybody_passes(pair: Pair) -> None:
    size = len(pair.address)
    assert pair.takes(filters.program(size, others(size, filters.LIMIT + 1)))


def test_near_means_that_no_router_was_crossed(pair: Pair) -> None:
    size = len(pair.address)
    for ttl, near in ((64, False), (254, False), (255, True)):
        pair.ttl(ttl)
        assert pair.takes(filters.program(size, [pair.address], near=True)) is near
        assert pair.takes(filters.program(size, [pair.address]))
        assert not pair.takes(filters.program(size, others(size, 3), near=True))


@pytest.mark.parametrize("count", [1, 300])
def test_in_a_flood_only_packets_to_our_sessions_pass(pair: Pair, count: int) -> None:
    ours = {number * 7919 for number in range(1, count + 1)}
    program = filters.program(len(pair.address), [pair.address], discriminators=ours)

    def packet(yours: int) -> bytes:
        return encode(Packet(State.DOWN, 0, 3, 1, yours, 1, 1))

    assert pair.takes(program, packet(0))
    assert all(pair.takes(program, packet(yours)) for yours in (min(ours), max(ours)))
    assert not pair.takes(program, packet(7918))
    assert not pair.takes(program, b"short")
    assert not pair.takes(program, bytes(24))  # version 0
