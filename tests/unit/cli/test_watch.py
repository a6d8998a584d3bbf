"""`metalbgp watch`: its lines, what it narrows to, and how it tells of a view that is lost and comes back.

Elsewhere: what is a change is test_node_changes.py and test_route_changes.py; a real API server, Ctrl-C
included, is tests/laws_api/test_watch.py.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from metalbgp.cli.api import refusal
from metalbgp.cli.errors import CliError, Unreachable
from metalbgp.cli.following import Following
from metalbgp.cli.options import Wish
from metalbgp.cli.watch import narrowed
from metalbgp.cli.watch_screen import Screen, standing
from metalbgp.cluster.reflector import Broken, Changed, HeldBack, Reflector, Removed, Synced
from metalbgp.cluster.resources import NODE_STATES
from metalbgp.config import nodestate
from metalbgp.model.report import NodeReport, OrderReport
from tests.unit.cli.world import NOW, SYSTEM, World, before, down, report, session, waiting

STAMP = "2026-11-25T12:00:00Z"


def state(name: str, *sessions: Any, **fields: Any) -> NodeReport:
    return nodestate.decode(json.dumps(report(name, *sessions, **fields)).encode())


def screen(*, output: str = "table") -> tuple[Screen, list[str]]:
    lines: list[str] = []
    return Screen(Wish(connection=None, output=output), lambda: NOW, out=lines.append), lines  # type: ignore[arg-type]  # no cluster is asked


def test_the_first_line_says_where_things_stand() -> None:
    shown, lines = screen()
    shown.begin([state("n1"), state("n3", session("tor-a"), down())])
    assert lines == [
        f"{STAMP}   -    -       2 nodes: 3 of 4 sessions established, 3 of 4 routes confirmed; "
        "not established: n3/tor-b (metalbgp sessions --problems)"
    ]
    assert standing([], STAMP).message == "0 nodes: 0 of 0 sessions established, 0 of 0 routes confirmed"


def test_a_change_is_a_line_with_time_node_peer_and_what() -> None:
    shown, lines = screen()
    shown.begin([state("n3")])
    shown.heard(Changed("n3", state("n3"), state("n3", session("tor-a"), down())))
    assert lines[1:] == [
        "2026-11-25T11:55:48Z   n3   tor-b   session down: connection refused (nobody listens on port 179), "
        "17 tries; 1 route waiting"
    ]
    shown.heard(Removed("n3", NodeReport(node="n3")))
    assert lines[-1] == f"{STAMP}   n3   -       its NodeState was deleted", (
        "a time also where the report has none"
    )


def test_json_is_one_object_a_line_with_stable_words() -> None:
    shown, lines = screen(output="json")
    shown.begin([state("n3", session("tor-a"), down())])
    shown.heard(Changed("n3", state("n3"), state("n3", session("tor-a"), down())))
    first, second = map(json.loads, lines)
    assert {**first, "message": ""} == {
        "time": STAMP,
        "what": "standing",
        "message": "",
        "nodes": 1,
        "sessions": 2,
        "established": 1,
        "routesWanted": 2,
        "routesConfirmed": 1,
        "down": ["n3/tor-b"],
    }
    assert {**second, "message": ""} == {
        "time": before(minutes=4, seconds=12),
        "what": "session-down",
        "message": "",
        "node": "n3",
        "peer": "tor-b",
        "prefix": "",
        "services": [],
        "count": 0,
        "why": "connection refused (nobody listens on port 179)",
        "reason": "",
    }
    assert not [line for line in lines if "\n" in line]


def test_what_was_there_before_the_first_list_is_complete_is_no_change() -> None:
    shown, lines = screen()
    shown.heard(Changed("n1", None, state("n1")))
    shown.heard(Synced(1, True))
    assert lines == []


def test_a_view_that_is_lost_is_said_once_and_comes_back_before_what_changed_meanwhile() -> None:
    shown, lines = screen()
    shown.begin([state("n1"), state("n2")])
    now = [NOW]
    shown._clock = lambda: now[0]
    for _ in range(3):
        shown.lost("connection refused")
        now[0] += timedelta(seconds=4)
    shown.heard(Removed("n1", state("n1")))
    shown.heard(Synced(1, False))
    assert [line.split("   ", 3)[-1].strip() for line in lines[1:]] == [
        "view lost: connection refused; trying again",
        "view back after 12s; what changed meanwhile follows",
        "its NodeState was deleted",
    ]


def test_what_a_reflector_doubts_is_said() -> None:
    shown, lines = screen(output="json")
    shown.begin([])
    shown.heard(Broken(f"{SYSTEM}/n1", None, "not a number"))
    shown.heard(HeldBack(9, 12, 10.0))
    broken, held = map(json.loads, lines[1:])
    assert (broken["what"], broken["node"]) == ("unreadable", "n1")
    assert (held["what"], held["message"]) == (
        "view-doubtful",
        "a list lacks 9 of 12 nodes; it is asked again in 10s",
    )


def test_orders_about_other_peers_are_not_of_the_peers_that_were_asked_for() -> None:
    orders = tuple(
        OrderReport(name=name, action=action, target=target)
        for name, action, target in (
            ("a", "Shut", "tor-a"),
            ("b", "Shut", "tor-b"),
            ("c", "Hold", "10.252.252.100"),
        )
    )
    wish = Wish(connection=None, peers=("tor-b",))  # type: ignore[arg-type]  # no cluster is asked
    found = narrowed(state("n3", orders=orders), wish)
    assert found is not None
    assert [one.name for one in found.orders] == ["b", "c"]


def test_node_and_peer_narrow_reports_before_anything_is_compared() -> None:
    whole = state("n3", session("tor-a"), down(), unconfirmed=(waiting(), waiting(peer="tor-a")))

    def kept(**wish: Any) -> NodeReport | None:
        return narrowed(whole, Wish(connection=None, **wish))  # type: ignore[arg-type]  # no cluster is asked

    assert kept(nodes=("n1",)) is None
    assert kept() == whole
    for name in ("tor-b", "10.252.252.2"):
        found = kept(peers=(name,))
        assert found is not None
        assert [one.peer for one in found.sessions] == ["tor-b"]
        assert [row.peer for row in found.unconfirmed] == ["tor-b"]


# ------------------------------------------------------------------ how it begins, and why not


class Streams(World):
    """An Api whose watches are written by a test: parts, or an error, one watch after the other."""

    def __init__(self, *watches: Sequence[bytes | Exception]) -> None:
        super().__init__()
        self.watches = list(watches)
        self.asked_for: list[dict[str, str]] = []

    async def request(self, method: str, path: str, *rest: Any) -> bytes:
        """Lists have a version, as those of a real server."""
        found = json.loads(await super().request(method, path, *rest))
        return json.dumps({**found, "metadata": {"resourceVersion": "8"}}).encode()

    async def follow(
        self, path: str, query: Sequence[tuple[str, str]], silence: float
    ) -> AsyncGenerator[bytes, None]:
        if "/nodestates" not in path:  # what names routes: nothing comes but the end of an empty list
            if path.rpartition("/")[2] in self.forbidden:
                raise refusal(403, b"", path)
            yield end(1)
            await asyncio.Event().wait()
        self.asked_for.append(dict(query))
        for part in self.watches.pop(0) if self.watches else [Unreachable("the end")]:
            if not isinstance(part, bytes):
                raise part
            yield part


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--node", "n9"), 'there is no node "n9"; did you mean'),
        (("--peer", "tor-c"), 'there is no peer "tor-c"; did you mean'),
        (("-o", "yaml"), "'yaml' is not one of"),
    ],
)
def test_a_name_that_nothing_answers_to_is_wrong_usage(words: tuple[str, ...], said: str) -> None:
    result = Streams().run("watch", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_before_the_first_view_an_error_is_one_line_and_the_end() -> None:
    lists, watches, away = Streams(), Streams([refusal(403, b"", "x")]), Streams()
    lists.forbidden, away.unreachable = {"nodestates"}, True
    for world, said in (
        (lists, "not allowed to read nodestates; ask for ClusterRole metalbgp-viewer"),
        (watches, "not allowed to read nodestates; ask for ClusterRole metalbgp-viewer"),
        (away, "https://127.0.0.1:6443 does not answer: connection refused"),
        (Streams([Unreachable("reset by peer")]), "reset by peer"),
    ):
        result = world.run("watch")
        assert (result.exit_code, result.stderr) == (1, f"metalbgp: {said}\n")
        assert world.closed


def test_without_the_rights_to_name_routes_it_goes_on_and_says_so() -> None:
    world = Streams()
    world.forbidden = {"virtualips"}
    result = world.run("watch")
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "note: not allowed to read virtualips; ask for ClusterRole metalbgp-viewer; "
        "until then routes are counted, not named",
        "metalbgp: the end",
    ]


# ------------------------------------------------------------------ the connection


def event(kind: str, body: dict[str, Any], version: int, **annotations: str) -> bytes:
    meta = {**body.get("metadata", {}), "resourceVersion": str(version), "annotations": annotations}
    return json.dumps({"type": kind, "object": {**body, "metadata": meta}}).encode() + b"\n"


def end(version: int) -> bytes:
    return event("BOOKMARK", {}, version, **{"k8s.io/initial-events-end": "true"})


class Ended(Exception):
    pass


async def followed(world: Streams) -> tuple[list[Any], list[str]]:
    """Until the watches of the test are used up."""
    lost: list[str] = []
    events: list[Any] = []
    world.watches.append([Ended()])
    source = Following(world, lost.append)

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    def heard(one: Any) -> None:
        events.append(one)
        if isinstance(one, Synced):
            source.whole = True

    view: Reflector[NodeReport] = Reflector(
        source, NODE_STATES, nodestate.decode, namespace=SYSTEM, sleep=at_once
    )
    with pytest.raises(Ended):
        await view.run(heard)
    return events, lost


def kinds(events: list[Any]) -> list[str]:
    return [type(one).__name__ for one in events]


async def test_events_are_whole_however_the_connection_cuts_them() -> None:
    stream = event("ADDED", report("n1"), 5) + end(6) + event("MODIFIED", report("n1", down()), 7)
    world = Streams([stream[at : at + 100] for at in range(0, len(stream), 100)])
    events, lost = await followed(world)
    assert kinds(events) == ["Changed", "Synced", "Changed"]
    assert lost == []
    assert world.asked_for[0]["sendInitialEvents"] == "true"
    assert world.asked_for[1]["resourceVersion"] == "7", "a watch that ends cleanly goes on where it was"


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Unreachable("connection reset"),
        lambda: refusal(503, b'{"message": "connection reset"}', "GET x"),
        lambda: refusal(403, b'{"message": "connection reset"}', "GET x"),
        lambda: b"<html>connection reset</html>\n",
    ],
)
async def test_after_a_loss_everything_is_listed_and_only_differences_are_told(
    broken: Callable[[], CliError | bytes],
) -> None:
    both = event("ADDED", report("n1"), 5) + event("ADDED", report("n2"), 6) + end(7)
    world = Streams([both, broken()], [event("ADDED", report("n1"), 5) + end(9)])
    events, lost = await followed(world)
    assert kinds(events) == ["Changed", "Changed", "Synced", "Removed", "Synced"]
    assert len(lost) == 1
    assert "connection reset" in lost[0]
    assert [asked.get("sendInitialEvents") for asked in world.asked_for[:2]] == ["true", "true"]


async def test_a_version_that_is_too_old_is_listed_anew_and_no_loss() -> None:
    gone = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}, 0)
    world = Streams(
        [event("ADDED", report("n1"), 5) + end(6), gone], [event("ADDED", report("n1"), 5) + end(9)]
    )
    events, lost = await followed(world)
    assert kinds(events) == ["Changed", "Synced", "Synced"]
    assert lost == []


async def test_an_older_server_is_asked_for_a_list_and_then_for_changes() -> None:
    said = b'{"message": "sendInitialEvents is forbidden for watch"}'
    world = Streams([refusal(422, said, "GET x")], [event("MODIFIED", report("n2", down()), 9)])
    events, lost = await followed(world)
    assert kinds(events) == ["Changed"] * 3 + ["Synced", "Changed"]
    assert world.asked_for[1]["resourceVersion"] == "8"
    assert lost == []
