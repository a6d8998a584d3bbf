"""How far a queue was read, on the loopback: nothing but that decides who was silent."""

import socket
import time
from collections.abc import Iterator

import pytest

from metalbgp import clocks
from metalbgp.bfd import receiver, sockets
from metalbgp.bfd.receiver import BUDGET, Receiver
from metalbgp.clocks import clock

PORT = 37840  # no session of the machine's own is disturbed


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(sockets, "SINGLE_HOP", PORT)
    made = Receiver(socket.AF_INET, multihop=False, now=clock())
    made.expect({1: socket.inet_aton("127.0.0.1")}, clock())
    yield made
    made.socket.close()


@pytest.fixture
def router() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.connect(("127.0.0.1", PORT))
        yield made


def test_what_came_while_nobody_read_is_as_old_as_it_is(queue: Receiver, router: socket.socket) -> None:
    router.send(b"x")
    sent = clock()
    time.sleep(0.2)  # it waits in the queue
    ((datagram, at),) = queue.read()
    assert abs(at - sent) < 0.1
    assert (datagram.payload, datagram.source) == (b"x", socket.inet_aton("127.0.0.1"))
    assert queue.heard > sent + 0.15


def test_a_queue_that_is_longer_than_one_reading_is_not_read_to_its_end(
    queue: Receiver, router: socket.socket
) -> None:
    for _ in range(BUDGET + 1):
        router.send(b"x")
    sent = clock()
    time.sleep(0.2)  # they wait in the queue
    assert len(list(queue.read())) == BUDGET
    assert queue.heard < sent + 0.1
    assert len(list(queue.read())) == 1
    assert queue.heard > sent + 0.15


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_the_wall_clock_makes_nothing_older_than_the_queue(
    queue: Receiver, router: socket.socket, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    assert list(queue.read()) == []
    empty = clock()
    router.send(b"x")
    real = time.time
    monkeypatch.setattr(clocks.time, "time", lambda: real() + jump)
    ((_, at),) = queue.read()
    assert empty - 0.01 <= at <= clock()


def test_a_port_that_is_taken_is_not_shared(queue: Receiver) -> None:
    with pytest.raises(OSError, match="in use"):
        receiver.Receiver(socket.AF_INET, multihop=False, now=clock())


def test_strangers_stay_out_and_are_counted(queue: Receiver) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.9", 0))
        stranger.connect(("127.0.0.1", PORT))
        for _ in range(5):
            stranger.send(b"x")
    assert list(queue.read()) == []
    assert queue.refused == 5
