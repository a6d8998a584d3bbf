"""The words for each way of not getting through; and whose reason counts when several are known."""

import errno

import pytest

from metalbgp.bgp import knock
from metalbgp.bgp.machine import Machine
from metalbgp.bgp.values import Answer, Down, Neighbor, Notified, Text

TOR = Neighbor(address="10.0.0.1", name="tor", local_as=1, peer_as=2, router_id="10.0.0.9", interface="eth7")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (errno.ECONNREFUSED, "connection refused: nothing listens on port 179"),
        (errno.ENETUNREACH, "no route to 10.0.0.1 on this node"),
        (errno.EHOSTUNREACH, "nobody answers for it on its segment"),
        (errno.EADDRNOTAVAIL, "this node does not have the address"),
        (errno.ENODEV, "this node has no device eth7"),
        (errno.ECONNRESET, "cannot connect: Connection reset by peer"),
        ("silent", "it is down, filtered, or wants a password"),
        ("closed", "does it know this node as a neighbor?"),
        ("open", "is it a BGP speaker that knows this node?"),
    ],
)
def test_every_outcome_has_words_that_say_where_to_look(outcome: int | str, words: str) -> None:
    assert words in knock.words(TOR, outcome)


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
    machine.explained("10.0.0.1", "connection refused", 5.0)
    session = machine.sessions["10.0.0.1"]
    assert session.last_error == "connection refused"
    # ExaBGP's own word says less, and another knock may find something else.
    machine.line(Down("10.0.0.1", "closing connection"), 6.0)
    assert session.last_error == "connection refused"
    machine.explained("10.0.0.1", "no answer", 8.0)
    assert session.last_error == "no answer"
    machine.line(Notified("10.0.0.1", False, "OPEN Message Error / Bad Peer AS"), 9.0)
    assert list(machine.unexplained(20.0)) == []
    machine.explained("10.0.0.1", "connection refused", 21.0)
    assert session.last_error.startswith("OPEN Message Error / Bad Peer AS")


@pytest.mark.parametrize(
    ("ended", "kept"),
    [
        ("Cease / Administrative Shutdown (from the router)", True),
        ("closing connection", True),
        ("Cease / Administrative Reset (from the router)", False),
        ("Cease / Administrative Shutdown (from us)", False),
        ("Cease (from the router)", False),
    ],
)
def test_the_words_of_a_notification_outlive_the_end_of_its_session_and_not_another_reason(
    ended: str, kept: bool
) -> None:
    """The operator's "maint window" was gone within a millisecond: ExaBGP's `down` has the numbers alone."""
    machine = running()
    machine.line(Notified("10.0.0.1", False, "Cease / Administrative Shutdown: maint window"), 1.0)
    said = "Cease / Administrative Shutdown: maint window (from the router)"
    assert machine.sessions["10.0.0.1"].last_error == said
    machine.line(Down("10.0.0.1", ended), 1.0)
    assert machine.sessions["10.0.0.1"].last_error == (said if kept else ended)
