"""What two NodeStates tell of routes: named where they name them, counted where they only count."""

from collections import Counter
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.cli.changes import Change
from metalbgp.cli.node_changes import changes
from metalbgp.model.report import NodeReport, RouteReport
from tests.unit.cli.world import before, down, session

P = "198.51.100.1/32"
STILL = {"198.51.100.98/32": "confirmed", "198.51.100.99/32": "confirmed"}  # two that nothing happens to
STATES = ("", "wanted", "sent", "waiting", "refused", "withdrawing", "confirmed")  # "": there is none
OPEN = ("wanted", "sent", "waiting", "refused")


def report(routes: Mapping[str, str], *, up: bool = True, most: int = 50) -> NodeReport:
    """As a speaker's record makes it: confirmed ones are counted, of the others `most` are named."""
    count = Counter(routes.values())
    confirmed = count["confirmed"]
    wanted = confirmed + sum(count[state] for state in OPEN)
    make = session if up else down
    one = make(**({"peer": "tor-b"} if up else {}), routes_wanted=wanted, routes_confirmed=confirmed)
    rows = [
        RouteReport(prefix=prefix, peer="tor-b", state=state, services=("web/nginx",))
        for prefix, state in routes.items()
        if state not in ("", "confirmed")
    ]
    return NodeReport(
        node="n1", ready=True, updated=before(seconds=1), sessions=(one,), unconfirmed=tuple(rows[:most])
    )


def told(old: NodeReport, new: NodeReport) -> list[tuple[str, str | int]]:
    """(what, prefix or number)."""
    found = [one for one in changes(old, new) if one.what.startswith("route-")]
    assert all(one.node == "n1" and one.peer == "tor-b" for one in found)
    return [(one.what.removeprefix("route-"), one.prefix or one.count) for one in found]


def step(old: str, new: str) -> list[tuple[str, str | int]]:
    return told(report({**STILL, P: old}), report({**STILL, P: new}))


# What one line says of one route, from each state to each other; what is not here has no line.
SAID = {
    **{("", state): [("sent", P)] for state in ("wanted", "sent")},
    ("", "waiting"): [("waiting", P)],
    ("", "refused"): [("refused", P)],
    # It was announced unseen, and goes already.
    ("", "withdrawing"): [("withdrawing", P), ("announced", 1)],
    ("", "confirmed"): [("announced", 1)],
    **{(old, "refused"): [("refused", P)] for old in (*STATES[1:4], "withdrawing", "confirmed")},
    **{
        (old, "waiting"): [("waiting", P)]
        for old in ("wanted", "sent", "refused", "withdrawing", "confirmed")
    },
    **{(old, "withdrawing"): [("withdrawing", P)] for old in (*OPEN, "confirmed")},
    **{(old, "confirmed"): [("announced", P)] for old in (*OPEN, "withdrawing")},
    **{(old, ""): [("withdrawn", P)] for old in (*OPEN, "withdrawing")},
    **{
        (old, new): [("sent", P)]
        for old in ("waiting", "refused", "withdrawing")
        for new in ("wanted", "sent")
    },
    **{("confirmed", state): [("changed", P)] for state in ("wanted", "sent")},
    ("confirmed", ""): [("withdrawn", 1)],
}


@pytest.mark.parametrize("new", STATES)
@pytest.mark.parametrize("old", STATES)
def test_one_route_that_moves_is_told_as_what_it_did(old: str, new: str) -> None:
    assert step(old, new) == SAID.get((old, new), [])


def many(count: int, state: str) -> dict[str, str]:
    return {f"203.0.113.{number}/32": state for number in range(count)}


def test_more_than_ten_with_one_fate_are_one_line_with_their_number() -> None:
    assert told(report({}), report(many(10, "sent"))) == [("sent", prefix) for prefix in many(10, "")]
    assert told(report({}), report(many(11, "sent"))) == [("sent", 11)]
    (one,) = changes(report({}), report(many(11, "sent")))
    assert one.message == "11 routes on the way (0 of 11 routes confirmed)"


def test_where_the_counts_do_not_decide_the_line_says_so() -> None:
    """Two were on their way, one of them is wanted no more: nothing tells which."""
    old, new = many(2, "sent"), {"203.0.113.0/32": "confirmed", "203.0.113.1/32": ""}
    assert told(report(old), report(new)) == [("settled", prefix) for prefix in old]


def test_a_report_that_is_cut_off_tells_numbers_alone() -> None:
    old, new = report(many(120, "sent")), report({**many(120, "confirmed"), P: "sent"})
    assert told(old, new) == [("announced", 120)]
    assert told(report(many(120, "confirmed")), report(many(120, "sent"))) == [("changed", 120)]
    assert told(report(many(120, "sent")), report(many(70, "sent"))) == [("withdrawn", 50)]
    assert told(report({}), report(many(120, "sent"))) == [("sent", 120)]


def test_a_refused_route_is_named_also_where_the_rest_is_counted() -> None:
    old, new = report(many(120, "sent")), report({P: "refused", **many(120, "sent")})
    assert ("refused", P) in told(old, new)


def test_routes_of_a_session_that_went_down_are_that_sessions_line() -> None:
    (one,) = changes(report(many(3, "confirmed")), report(many(3, "waiting"), up=False))
    assert one.what == "session-down"
    assert one.message.endswith("17 tries; 3 routes waiting")


def test_while_a_session_is_down_routes_come_to_wait_and_are_wanted_no_more() -> None:
    old, new = report({P: "waiting"}, up=False), report({"198.51.100.2/32": "waiting"}, up=False)
    assert told(old, new) == [("waiting", "198.51.100.2/32"), ("withdrawn", P)]
    assert told(report(many(60, "waiting"), up=False), report(many(90, "waiting"), up=False)) == [
        ("waiting", 30)
    ]


def test_what_a_new_session_does_not_carry_is_said_and_the_rest_is_its_own_line() -> None:
    (up, stuck) = changes(
        report({P: "waiting", "2001:db8::1/128": "waiting"}, up=False),
        report({P: "confirmed", "2001:db8::1/128": "waiting"}),
    )
    assert up.what == "session-established"
    assert stuck.prefix == "2001:db8::1/128"
    assert stuck.message == (
        "route 2001:db8::1/128 (web/nginx) waiting: the session does not carry its family"
    )


def test_a_named_line_has_the_service_and_the_time_since_when() -> None:
    new = report({P: "sent"})
    since = before(seconds=9)
    row = RouteReport(prefix=P, peer="tor-b", state="sent", since=since, services=("web/nginx",))
    new = NodeReport(node="n1", ready=True, sessions=new.sessions, unconfirmed=(row,))
    (one,) = changes(report({}), new)
    assert one == Change(
        time=since,
        what="route-sent",
        message=f"route {P} (web/nginx) on the way",
        node="n1",
        peer="tor-b",
        prefix=P,
        services=("web/nginx",),
    )


PREFIXES = tuple(f"192.0.2.{number}/32" for number in range(6))
tables = st.fixed_dictionaries({prefix: st.sampled_from(STATES) for prefix in PREFIXES})


@given(tables)
def test_nothing_is_told_where_nothing_moved(table: dict[str, str]) -> None:
    assert list(changes(report(table), report(table))) == []


@given(tables, tables)
def test_however_many_move_each_line_is_true_of_its_route_or_says_that_it_cannot_know(
    old: dict[str, str], new: dict[str, str]
) -> None:
    """What a name is told to be on its way to, it is; and every name that left the lists has one line."""
    lines = told(report(old), report(new))
    for what, prefix in lines:
        if isinstance(prefix, str):
            assert new[prefix] in TRUE[what], (what, old[prefix], new[prefix])
            assert old[prefix] != new[prefix]
    ended = [one for one in PREFIXES if listed(old[one]) and not listed(new[one])]
    assert [one for one in ended if names(lines).count(one) != 1] == []


# The state that a word leaves a route in; `announced` and `withdrawn` are the likelier reading of the counts.
TRUE = {
    "sent": ("wanted", "sent"),
    "changed": ("wanted", "sent"),
    "waiting": ("waiting",),
    "refused": ("refused",),
    "withdrawing": ("withdrawing",),
    "announced": ("confirmed", ""),
    "withdrawn": ("confirmed", ""),
    "settled": ("confirmed", ""),
}


def listed(state: str) -> bool:
    return state not in ("", "confirmed")


def names(lines: Iterable[tuple[str, str | int]]) -> list[str]:
    return [what for _, what in lines if isinstance(what, str)]
