"""What happened between two NodeStates of one node: sessions, orders, what its speaker said of itself. Pure.

In:  the NodeReport before (None: there was none) and after (None: it was deleted).
Out: Changes in the order in which they are to be read, those of routes among them.
Elsewhere: which routes changed is route_changes.py; the watch and the lines on the screen are watch.py.
"""

from collections.abc import Iterator
from datetime import timedelta

from metalbgp.cli.ages import parse
from metalbgp.cli.changes import SHUT, UP, Change, counted
from metalbgp.cli.obeying import order_of, order_words
from metalbgp.cli.render import many
from metalbgp.cli.route_changes import routes
from metalbgp.cli.sessions import trouble
from metalbgp.model.orders import RELEASE
from metalbgp.model.orders import SHUT as SHUT_ORDER
from metalbgp.model.report import NodeReport, OrderReport, SessionReport

REFUSED = "Refused"
OFF = (REFUSED, SHUT)  # it is not even tried
SAME = timedelta(seconds=2)


def changes(before: NodeReport | None, after: NodeReport | None) -> Iterator[Change]:
    if after is None:
        if before is not None:
            yield Change(before.updated, "node-gone", "its NodeState was deleted", before.node)
        return
    if before is None:
        yield Change(after.updated, "node-new", f"its speaker reports: {standing(after)}", after.node)
        return
    yield from _speaker(before, after)
    yield from _orders(before, after)
    was = {one.peer: one for one in before.sessions}
    now = {one.peer: one for one in after.sessions}
    for peer in sorted(was.keys() | now.keys()):
        old, new = was.get(peer), now.get(peer)
        if new is None:
            yield Change(after.updated, "session-removed", "session is configured no more", after.node, peer)
            continue
        yield from _session(old, new, after)
        if old is not None:
            yield from routes(before, after, old, new)


def standing(report: NodeReport) -> str:
    up = sum(one.state == UP for one in report.sessions)
    return f"{up} of {len(report.sessions)} sessions established, {counted(*totals(report))}"


def totals(report: NodeReport) -> tuple[int, int]:
    """(confirmed, wanted) over the sessions that are shown."""
    return (
        sum(one.routes_confirmed for one in report.sessions),
        sum(one.routes_wanted for one in report.sessions),
    )


# ------------------------------------------------------------------ the speaker


def _speaker(before: NodeReport, after: NodeReport) -> Iterator[Change]:
    node, time = after.node, after.updated
    if after.pod != before.pod:
        yield Change(time, "speaker-replaced", f"speaker {before.pod} was replaced by {after.pod}", node)
    if after.ready != before.ready:
        what = "speaker-ready" if after.ready else "speaker-not-ready"
        yield Change(time, what, "speaker is ready" if after.ready else "speaker is not ready", node)
    if after.configuration != before.configuration:
        # All that is seen of attributes that change where the router takes them at once.
        words = f"configuration {after.configuration} is in force (before: {before.configuration})"
        yield Change(time, "configuration", words, node)
    for problem in after.problems:
        if problem not in before.problems:
            yield Change(time, "problem", problem, node, why=problem)


def _orders(before: NodeReport, after: NodeReport) -> Iterator[Change]:
    """What it began to obey, and what it obeys no more."""
    was = {(one.name, one.local): one for one in before.orders}
    now = {(one.name, one.local): one for one in after.orders}

    def change(what: str, words: str, one: OrderReport) -> Change:
        message = f"{words}: {order_words(one, after.node)}"
        peer = one.target if one.action in (SHUT_ORDER, RELEASE) else ""
        return Change(after.updated, what, message, after.node, peer, why=one.reason)

    for key, one in now.items():
        if key not in was:
            yield change("order-given", "obeys an order", one)
        elif one != was[key]:
            yield change("order-changed", "obeys a changed order", one)
    for key, one in was.items():
        if key in now:
            continue
        if _over(one, after):
            yield change("order-over", "obeys no more, its time is over", one)
        else:
            yield change("order-taken-back", "obeys no more", one)


def _over(one: OrderReport, after: NodeReport) -> bool:
    """An order ends by the node's own clock, which the report has too."""
    then = parse(after.updated)
    return then is not None and then.timestamp() >= order_of(one).until


# ------------------------------------------------------------------ sessions


def _session(old: SessionReport | None, new: SessionReport, after: NodeReport) -> Iterator[Change]:
    def change(what: str, message: str, why: str = "") -> Change:
        time = new.since or after.updated
        return Change(
            time,
            what,
            message,
            after.node,
            new.peer,
            why=why,
            reason=new.reason if why == new.last_error else "",
        )

    if new.state == UP:
        if old is None or old.state != UP:
            yield change("session-established", f"session Established: {_carried(new)}")
        elif new.flaps > old.flaps:  # faster than its speaker reports
            yield _flapped(old, new, after)
            yield change("session-established", f"session Established: {_carried(new)}")
        elif _later(old.since, new.since):  # its speaker began anew, or lost sight of it
            yield change("session-established", f"session Established anew: {_carried(new)}")
        return
    if new.state in OFF:
        if old is not None and (old.state, old.last_error) == (new.state, new.last_error):
            return
        if new.state == SHUT:
            yield change("session-shut", new.last_error, new.last_error)
        else:
            yield change("session-refused", _because("session refused here", new.last_error), new.last_error)
    elif old is None or old.state in OFF:
        what = "is tried again" if old is not None and old.state == SHUT else "is new"
        yield change("session-new", _because(f"session {what}: {new.state}", trouble(new)), new.last_error)
    elif old.state == UP:
        waits = f"; {many(new.routes_wanted, 'route')} waiting" if new.routes_wanted else ""
        # What ended it, and what keeps it down: the second may be known already.
        ended = new.ended_why if new.flaps > old.flaps and new.ended_why != new.last_error else ""
        words = "; now: ".join(part for part in (ended, trouble(new)) if part)
        yield change("session-down", _because("session down", words) + waits, ended or new.last_error)
    elif new.flaps > old.flaps:
        yield _flapped(old, new, after)
    elif new.last_error and old.last_error != new.last_error:
        # Its `since` is when it went down; this was learnt now.
        yield Change(
            after.updated,
            "session-failing",
            _because("session still down", trouble(new)),
            after.node,
            new.peer,
            why=new.last_error,
            reason=new.reason,
        )


def _flapped(old: SessionReport, new: SessionReport, after: NodeReport) -> Change:
    """It was up for a while between the two reports, or down: what is known is when and how it ended last."""
    times = new.flaps - old.flaps
    often = f", {times} times since the last report" if times > 1 else " since the last report"
    message = _because(f"session went down{often}", new.ended_why)
    return Change(
        new.ended or after.updated, "session-down", message, after.node, new.peer, why=new.ended_why
    )


def _later(before: str, after: str) -> bool:
    """By more than what a speaker's rounding of one and the same moment makes of it."""
    then, now = parse(before), parse(after)
    return then is not None and now is not None and now - then > SAME


def _carried(session: SessionReport) -> str:
    families = " ".join(session.families) or "no family"
    return f"{families}, {counted(session.routes_confirmed, session.routes_wanted)}"


def _because(words: str, why: str) -> str:
    return f"{words}: {why}" if why else words
