"""The reason for each way of not getting through; and whose reason counts when several are known."""

import base64
import errno

import pytest
from msgspec.structs import replace

from metalbgp.bgp import door
from metalbgp.bgp.machine import Machine
from metalbgp.bgp.notifications import ended, notification
from metalbgp.bgp.values import Answer, Down, Neighbor, Notified, Text
from metalbgp.model.reasons import ConnectionClosed, ConnectionRefused, NoAnswer

TOR = Neighbor(address="10.0.0.1", name="tor", local_as=1, peer_as=2, router_id="10.0.0.9", interface="eth7")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "connection refused: nothing listens on port 179"),
        (errno.ENETUNREACH, "no route to 10.0.0.1 on this node"),
        (errno.EHOSTUNREACH, "nobody answers for it on its segment"),
        (errno.EADDRNOTAVAIL, "this node does not have the address"),
        (errno.ENODEV, "this node has no interface eth7"),
        (errno.ECONNRESET, "cannot connect: Connection reset by peer"),
    ],
)
def test_every_failure_has_words_that_say_where_to_look(number: int, words: str) -> None:
    assert words in door.failed(TOR, number).explain()


def test_silence_of_a_router_with_a_password_is_suspicious() -> None:
    assert "it is down, filtered, or wants a password" in door.silent(TOR).explain()
    secret = replace(TOR, password_base64=base64.b64encode(b"x").decode())
    assert "do both ends have the same password?" in door.silent(secret).explain()


def running() -> Machine:
    """Whose child runs TOR, and has said nothing of it."""
    machine = Machine("helper")
    machine.connected(0.0, fresh=True)
    machine.neighbors([TOR], 0.0)
    machine.installed(1, None, 0.0)
    machine.line(Answer(ok=True), 0.0)
    machine.line(Text('  description "metalbgp 1";'), 0.0)
    machine.line(Answer(ok=True), 0.0)
    assert "10.0.0.1" in machine.sessions
    return machine


def test_who_is_down_without_a_reason_is_knocked_at_and_what_a_router_says_comes_first() -> None:
    machine = running()
    assert list(machine.unexplained(1.0)) == []
    assert [one.address for one in machine.unexplained(5.0)] == ["10.0.0.1"]
    machine.explained("10.0.0.1", ConnectionRefused(port=179), 5.0)
    session = machine.sessions["10.0.0.1"]
    assert session.why == ConnectionRefused(port=179)
    # ExaBGP's own word says less, and another knock may find something else.
    machine.line(Down("10.0.0.1", ConnectionClosed()), 6.0)
    assert session.why == ConnectionRefused(port=179)
    machine.explained("10.0.0.1", NoAnswer(address="10.0.0.1", seconds=4), 8.0)
    assert session.why == NoAnswer(address="10.0.0.1", seconds=4)
    said = notification(2, 2, ours=False)
    machine.line(Notified("10.0.0.1", said), 9.0)
    assert list(machine.unexplained(20.0)) == []
    machine.explained("10.0.0.1", ConnectionRefused(port=179), 21.0)
    assert session.why == said


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("notification received (6,2)", True),
        ("closing connection", True),
        ("notification received (6,4)", False),
        ("notification sent (6,2)", False),
    ],
)
def test_the_words_of_a_notification_outlive_the_end_of_its_session_and_not_another_reason(
    reason: str, kept: bool
) -> None:
    """The operator's "maint window" was gone within a millisecond: ExaBGP's `down` has the numbers alone."""
    machine = running()
    said = notification(6, 2, ours=False, text="maint window")
    machine.line(Notified("10.0.0.1", said), 1.0)
    assert said.explain() == "Cease / Administrative Shutdown: maint window (from the router)"
    machine.line(Down("10.0.0.1", ended(reason)), 1.0)
    assert machine.sessions["10.0.0.1"].why == (said if kept else ended(reason))
