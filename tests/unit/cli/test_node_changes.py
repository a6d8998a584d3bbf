"""What two NodeStates tell of sessions and of the speaker itself; a state that stays says nothing."""

import pytest
from msgspec.structs import replace

from metalbgp.cli.changes import Change
from metalbgp.cli.node_changes import changes
from metalbgp.model.report import NodeReport, OrderReport, SessionReport
from tests.unit.cli.world import before, down, session, waiting

UPDATED = before(seconds=1)
REFUSED = session("tor-b", state="Refused", since="", families=(), last_error="spec.vrf blue: not in force")


def report(*sessions: SessionReport, **fields: object) -> NodeReport:
    about = {"node": "n1", "pod": "speaker-a", "ready": True, "updated": UPDATED, "configuration": 3}
    return NodeReport(**{**about, "sessions": sessions, **fields})


def told(old: SessionReport, new: SessionReport) -> list[tuple[str, str]]:
    return [(one.what, one.message) for one in changes(report(old), report(new))]


def test_a_session_that_goes_down_says_why_since_when_and_what_waits() -> None:
    (one,) = changes(report(session("tor-b")), report(down(routes_wanted=2, reason="ConnectionRefused")))
    assert one == Change(
        time=before(minutes=4, seconds=12),
        what="session-down",
        message=("session down: connection refused (nobody listens on port 179), 17 tries; 2 routes waiting"),
        node="n1",
        peer="tor-b",
        why="connection refused (nobody listens on port 179)",
        reason="ConnectionRefused",
    )


def test_what_ended_a_session_stands_before_what_keeps_it_down() -> None:
    new = down(flaps=1, ended_why="Hold Timer Expired", tries=1, reason="ConnectionRefused")
    (one,) = changes(report(session("tor-b")), report(new))
    assert one.message == (
        "session down: Hold Timer Expired; now: connection refused (nobody listens on port 179); "
        "1 route waiting"
    )
    assert (one.why, one.reason) == ("Hold Timer Expired", "")
    same = replace(new, last_error="Hold Timer Expired")
    ((_, message),) = told(session("tor-b"), same)
    assert message == "session down: Hold Timer Expired; 1 route waiting"


def test_a_session_that_comes_up_says_what_it_carries() -> None:
    new = session("tor-b", since=before(seconds=3), families=("ipv4",))
    (one,) = changes(report(down()), report(new))
    assert one.time == before(seconds=3)
    assert (one.what, one.message) == (
        "session-established",
        "session Established: ipv4, 1 of 1 routes confirmed",
    )


def test_a_reset_between_two_reports_is_two_lines_with_its_reason() -> None:
    old = session("tor-b", since=before(minutes=9), flaps=1)
    new = session("tor-b", since=before(seconds=4), flaps=2, ended=before(seconds=7), ended_why="Cease")
    gone, back = changes(report(old), report(new))
    assert (gone.what, gone.time, gone.why) == ("session-down", before(seconds=7), "Cease")
    assert gone.message == "session went down since the last report: Cease"
    assert (back.what, back.time) == ("session-established", before(seconds=4))
    assert back.message == "session Established: ipv4 ipv6, 1 of 1 routes confirmed"


def test_a_session_that_was_up_between_two_reports_is_told_as_well() -> None:
    assert told(down(flaps=1), down(flaps=4, ended=before(seconds=2), ended_why="Hold Timer Expired")) == [
        ("session-down", "session went down, 3 times since the last report: Hold Timer Expired")
    ]


def test_a_speaker_that_began_anew_counts_anew() -> None:
    old = session("tor-b", since=before(minutes=9), flaps=7)
    assert told(old, session("tor-b", since=before(seconds=4))) == [
        ("session-established", "session Established anew: ipv4 ipv6, 1 of 1 routes confirmed")
    ]


def test_a_second_that_rounding_makes_is_no_reset() -> None:
    assert told(session("tor-b", since=before(seconds=9)), session("tor-b", since=before(seconds=8))) == []


def test_tries_and_steps_of_the_state_machine_are_no_changes_and_another_reason_is_one() -> None:
    assert told(down(tries=3), down(tries=4, state="OpenSent")) == []
    (one,) = changes(report(down()), report(down(last_error="no answer")))
    assert (one.what, one.message) == ("session-failing", "session still down: no answer, 17 tries")
    assert one.time == UPDATED, "it is not down since now"
    assert told(down(), down(last_error="")) == []


def test_sessions_come_go_and_are_refused() -> None:
    assert [one.message for one in changes(report(), report(down(last_error="", tries=0)))] == [
        "session is new: Connect"
    ]
    assert [one.what for one in changes(report(), report(session("tor-a")))] == ["session-established"]
    (gone,) = changes(report(session("tor-a")), report())
    assert (gone.what, gone.peer, gone.time) == ("session-removed", "tor-a", UPDATED)
    assert told(session("tor-b"), REFUSED) == [
        ("session-refused", "session refused here: spec.vrf blue: not in force")
    ]
    assert told(REFUSED, REFUSED) == []
    assert [what for what, _ in told(REFUSED, down())] == ["session-new"]


def test_peers_are_told_apart_and_in_order() -> None:
    old = report(session("tor-a"), session("tor-b"))
    found = list(changes(old, report(session("tor-a", state="Connect"), down())))
    assert [(one.what, one.peer) for one in found] == [("session-down", "tor-a"), ("session-down", "tor-b")]


def test_a_node_comes_and_goes() -> None:
    (new,) = changes(None, report(session("tor-a"), down()))
    assert (new.what, new.node) == ("node-new", "n1")
    assert new.message == "its speaker reports: 1 of 2 sessions established, 1 of 2 routes confirmed"
    (gone,) = changes(report(session("tor-a")), None)
    assert (gone.what, gone.node, gone.peer) == ("node-gone", "n1", "")
    assert list(changes(None, None)) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ready": False}, ("speaker-not-ready", "speaker is not ready")),
        ({"pod": "speaker-b"}, ("speaker-replaced", "speaker speaker-a was replaced by speaker-b")),
        ({"configuration": 4}, ("configuration", "configuration 4 is in force (before: 3)")),
        ({"problems": ("the child was restarted",)}, ("problem", "the child was restarted")),
    ],
)
def test_what_a_speaker_says_of_itself_is_a_line(fields: dict[str, object], said: tuple[str, str]) -> None:
    old, new = report(session("tor-a")), report(session("tor-a"), **fields)
    assert [(one.what, one.message) for one in changes(old, new)] == [said]


def test_a_problem_that_goes_is_no_news_and_a_speaker_that_is_ready_again_is() -> None:
    old = report(problems=("one", "two"), ready=False)
    assert [one.what for one in changes(old, report(problems=("two",)))] == ["speaker-ready"]


def test_a_report_that_only_is_newer_says_nothing() -> None:
    old = report(session("tor-a"), down())
    assert list(changes(old, replace(old, updated=before(seconds=0), addresses=9, realtime="FIFO"))) == []


HOLD = OrderReport(
    name="hold-10.252.252.100",
    action="Hold",
    target="10.252.252.100",
    author="eve",
    reason="fibre work",
    expires=before(seconds=-600),
)
HELD = f"hold 10.252.252.100 by eve until {HOLD.expires}: fibre work"
UNTIL_NOW = replace(HOLD, expires=UPDATED)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ((), (HOLD,), [("order-given", f"obeys an order: {HELD}")]),
        ((HOLD,), (), [("order-taken-back", f"obeys no more: {HELD}")]),
        (
            (UNTIL_NOW,),
            (),
            [
                (
                    "order-over",
                    f"obeys no more, its time is over: {HELD.replace(HOLD.expires, UPDATED)}",
                )
            ],
        ),
        (
            (HOLD,),
            (replace(HOLD, reason="cable"),),
            [("order-changed", f"obeys a changed order: {HELD.replace('fibre work', 'cable')}")],
        ),
        (
            (HOLD,),
            (HOLD, replace(HOLD, local=True, author="", reason="")),
            [("order-given", f"obeys an order: hold 10.252.252.100 on n1 until {HOLD.expires}")],
        ),
        ((HOLD,), (HOLD,), []),
    ],
)
def test_an_order_that_comes_changes_is_over_or_taken_back_is_a_line(
    was: tuple[OrderReport, ...], now: tuple[OrderReport, ...], said: list[tuple[str, str]]
) -> None:
    assert [(one.what, one.message) for one in changes(report(orders=was), report(orders=now))] == said


def test_a_session_that_an_order_shuts_says_by_whom_and_is_tried_again_when_it_goes() -> None:
    words = "the session is shut by eve: fibre work"
    shut = session(
        "tor-b", state="Shut", since="", families=(), routes_wanted=0, routes_confirmed=0, last_error=words
    )
    order = OrderReport(name="shut-tor-b", action="Shut", target="tor-b", author="eve", reason="fibre work")
    given, off = changes(report(session("tor-b")), report(shut, orders=(order,)))
    assert (given.what, given.peer) == ("order-given", "tor-b")
    assert (off.what, off.message, off.why) == ("session-shut", words, words)
    assert told(shut, down(last_error="", tries=0, routes_wanted=0)) == [
        ("session-new", "session is tried again: Connect")
    ]
    assert [what for what, _ in told(shut, session("tor-b"))] == ["session-established"]


def test_a_route_that_goes_because_its_address_is_held_says_so() -> None:
    leaving = waiting(prefix="10.252.252.100/32", state="withdrawing", services=("web/nginx",))
    other = replace(leaving, prefix="10.252.252.101/32")
    one = session("tor-b", routes_wanted=0, routes_confirmed=0)
    after = report(one, orders=(HOLD,), unconfirmed=(leaving, other))
    _, *lines = changes(report(session("tor-b", routes_wanted=2, routes_confirmed=2)), after)
    words = f"held by eve, until {HOLD.expires}: fibre work"
    assert [line.message for line in lines] == [
        f"route 10.252.252.100/32 (web/nginx) being withdrawn: {words}",
        "route 10.252.252.101/32 (web/nginx) being withdrawn",
    ]
    gone = list(changes(after, replace(after, unconfirmed=())))
    assert [line.what for line in gone] == ["route-withdrawn"] * 2
    assert [line.why for line in gone] == [words, ""]
