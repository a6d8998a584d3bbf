"""Lines over a socket that blocks nobody, whatever the other side does."""

import socket
from collections.abc import Iterator

import pytest

from metalbgp.lines import Lines
from metalbgp.loop import Loop


class Talk:
    """One end as Lines, the other as a plain socket."""

    def __init__(self) -> None:
        self.loop = Loop()
        ours, self.theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.heard: list[bytes] = []
        self.ended = 0
        self.lines = Lines(ours, self.loop, self.heard.append, self._end, longest=100)

    def _end(self) -> None:
        self.ended += 1

    def turn(self) -> None:
        """What is ready now, and no more."""
        self.loop.after(0.0, lambda: self.loop.after(0.0, self.loop.stop))
        self.loop.run(lambda: float("inf"), lambda: None)


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    yield made
    made.lines.close()
    made.theirs.close()


def test_lines_come_whole_however_they_were_cut(talk: Talk) -> None:
    for piece in (b"on", b"e\ntwo\nth", b"ree\n"):
        talk.theirs.sendall(piece)
        talk.turn()
    assert talk.heard == [b"one", b"two", b"three"] and not talk.ended


def test_the_end_is_told_once_and_after_what_was_said_before_it(talk: Talk) -> None:
    talk.theirs.sendall(b"last\nhalf")
    talk.theirs.close()
    for _ in range(3):
        talk.turn()
    assert (talk.heard, talk.ended, talk.lines.open) == ([b"last"], 1, False)


def test_a_line_that_never_ends_ends_the_connection(talk: Talk) -> None:
    talk.theirs.sendall(b"x" * 101)
    talk.turn()
    assert (talk.heard, talk.ended) == ([], 1)


def test_what_the_other_side_does_not_take_waits_and_arrives_in_order(talk: Talk) -> None:
    said = b"".join(b"%d\n" % number for number in range(50000))
    talk.lines.say(said)
    assert talk.lines.unsent > 0
    talk.lines.finish()  # closed when all is said, and not before
    got = b""
    while len(got) < len(said):
        got += talk.theirs.recv(1 << 16)
        talk.turn()
    assert got == said and talk.theirs.recv(1) == b"" and not talk.ended


def test_a_write_to_nobody_ends_nothing_before_what_is_still_to_be_read(talk: Talk) -> None:
    talk.theirs.sendall(b"goodbye\n")
    talk.theirs.close()
    talk.lines.say(b"hello?\n")
    assert talk.lines.open and not talk.ended
    for _ in range(2):
        talk.turn()
    assert (talk.heard, talk.ended) == ([b"goodbye"], 1)


def test_an_owner_that_closes_in_the_middle_hears_no_more(talk: Talk) -> None:
    talk.lines._on_line = lambda line: (talk.heard.append(line), talk.lines.close())  # type: ignore[assignment]  # a tuple, for two calls in one expression
    talk.theirs.sendall(b"one\ntwo\n")
    talk.turn()
    assert talk.heard == [b"one"] and not talk.ended
