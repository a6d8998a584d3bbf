"""What happened to the routes of one session between two NodeStates. Pure.

In:  both NodeReports of a node, and the session in each.
Out: Changes; named where a report names the route, counted where it only counts.
Elsewhere: sessions are node_changes.py.

A NodeState names the routes that are on their way (at most 50) and counts those that are confirmed. So the
number of wanted routes tells what became of a route that is no longer on its way, and how many came and went
without ever being named. Where several readings fit, it is the one with the fewest movements; where that
does not decide, the line says so (route-settled). An attribute that changed between two reports and was
confirmed before the second one leaves no trace at all.
"""

from collections.abc import Iterator, Mapping, Sequence

from metalbgp.cli.changes import UP, Change, counted
from metalbgp.cli.obeying import obeyed_by
from metalbgp.cli.render import many
from metalbgp.model.report import NodeReport, RouteReport, SessionReport
from metalbgp.select.orders import held_by

MANY = 10  # routes of one peer with the same fate in one report: beyond it one line with their number
MOVING = ("wanted", "sent")
LEAVING = "withdrawing"
GOING = ("route-withdrawing", "route-withdrawn")
EITHER = "announced or withdrawn (metalbgp routes knows)"
Rows = Mapping[str, RouteReport]


def routes(before: NodeReport, after: NodeReport, old: SessionReport, new: SessionReport) -> Iterator[Change]:
    was, now = _listed(before, old.peer), _listed(after, new.peer)
    say = Words(after, new)
    for prefix, row in now.items():
        if row.state == "refused" and (prefix not in was or was[prefix].state != "refused"):
            yield say.named("route-refused", row, "refused", row.why)
    if old.state == UP and new.state != UP:
        return  # all of them wait, and the session's own line says so
    if not (_whole(old, was) and _whole(new, now)):
        yield from _by_counts(say, old, new)
    elif new.state == UP and old.state != UP:
        yield from _of_a_new_session(say, was, now)
    elif new.state == UP:
        yield from _on_the_wire(say, was, now, new.routes_wanted - old.routes_wanted)
    else:
        yield from _while_down(say, was, now)


class Words:
    """How the changes of one peer are said."""

    def __init__(self, report: NodeReport, session: SessionReport) -> None:
        self._report, self._session = report, session
        self._orders = obeyed_by([report])[report.node]

    def named(self, what: str, row: RouteReport, words: str, why: str = "") -> Change:
        if what in GOING and (order := self._orders.hold_of(row.prefix)) is not None:
            why = held_by(order).explain()
        behind = f" ({', '.join(row.services)})" if row.services else ""
        return Change(
            # The row may be one of the report before: then this was learnt now.
            row.since if row in self._report.unconfirmed and row.since else self._report.updated,
            what,
            f"route {row.prefix}{behind} {words}" + (f": {why}" if why else ""),
            self._report.node,
            self._session.peer,
            row.prefix,
            row.services,
            why=why,
        )

    def each(self, what: str, rows: Sequence[RouteReport], words: str, why: str = "") -> Iterator[Change]:
        if len(rows) > MANY:
            yield self.number(what, len(rows), words, why)
            return
        for row in rows:
            yield self.named(what, row, words, why)

    def number(self, what: str, count: int, words: str, why: str = "") -> Change:
        one = self._session
        total = counted(one.routes_confirmed, one.routes_wanted)
        because = f": {why}" if why else ""
        return Change(
            self._report.updated,
            what,
            f"{many(count, 'route')} {words}{because} ({total})",
            self._report.node,
            one.peer,
            count=count,
            why=why,
        )


def _listed(report: NodeReport, peer: str) -> Rows:
    return {row.prefix: row for row in report.unconfirmed if row.peer == peer}


def _whole(session: SessionReport, rows: Rows) -> bool:
    """Does the report name every route of the session that is not confirmed?"""
    return session.routes_wanted - session.routes_confirmed == len(_open(rows))


def _open(rows: Rows) -> list[str]:
    return [prefix for prefix, row in rows.items() if row.state != LEAVING]


def _on_the_wire(say: Words, was: Rows, now: Rows, more: int) -> Iterator[Change]:
    """The session was up and is up. `more`: wanted routes, now against before."""
    leaving = [row for prefix, row in now.items() if row.state == LEAVING and not _is(was, prefix, LEAVING)]
    back = [prefix for prefix in _open(now) if _is(was, prefix, LEAVING)]
    opened = [now[prefix] for prefix in _open(now) if prefix not in was]
    gone = [row for prefix, row in was.items() if row.state == LEAVING and prefix not in now]
    ended = [was[prefix] for prefix in _open(was) if prefix not in now]
    # What the lists do not explain: > 0, that many are new beside them; < 0, that many are wanted no more.
    rest = more + len(leaving) - len(back)

    new = min(len(opened), max(rest, 0))
    moving = [row for row in opened if row.state in MOVING]
    if new:
        yield from say.each("route-sent", moving, "on the way")
    else:
        yield from say.each("route-changed", moving, "changed, on the way")
    stuck = [row for prefix, row in now.items() if row.state == "waiting" and not _is(was, prefix, "waiting")]
    yield from say.each("route-waiting", stuck, "waiting", "the session does not carry its family")
    again = [now[prefix] for prefix in back if now[prefix].state in MOVING]
    stood = [prefix for prefix in _open(was) if was[prefix].state not in MOVING]
    retried = [now[prefix] for prefix in stood if prefix in now and now[prefix].state in MOVING]
    yield from say.each("route-sent", [*again, *retried], "on the way")
    yield from say.each("route-withdrawing", leaving, "being withdrawn")

    hidden = rest - new
    if rest >= 0:
        yield from say.each("route-announced", ended, "announced")
    elif -rest >= len(ended):
        yield from say.each("route-withdrawn", ended, "withdrawn")
        hidden += len(ended)
    else:
        yield from say.each("route-settled", ended, EITHER)
        hidden = 0
    if hidden < len(gone) and hidden > 0:
        yield from say.each("route-settled", gone, EITHER)
        return
    if hidden > 0:  # wanted again, and confirmed
        yield from say.each("route-announced", gone, "announced")
        hidden -= len(gone)
    else:
        yield from say.each("route-withdrawn", gone, "withdrawn")
    if hidden > 0:
        yield say.number("route-announced", hidden, "announced")
    elif hidden < 0:
        yield say.number("route-withdrawn", -hidden, "withdrawn")


def _while_down(say: Words, was: Rows, now: Rows) -> Iterator[Change]:
    """Nothing is sent: a route comes to wait, or is wanted no more."""
    fresh = [row for prefix, row in now.items() if prefix not in was and row.state in ("waiting", *MOVING)]
    yield from say.each("route-waiting", fresh, "waiting", "session down")
    yield from say.each(
        "route-withdrawn", [row for prefix, row in was.items() if prefix not in now], "wanted no more"
    )


def _of_a_new_session(say: Words, was: Rows, now: Rows) -> Iterator[Change]:
    """Its line has the count; what this session does not carry still waits."""
    stuck = [row for prefix, row in now.items() if row.state == "waiting"]
    yield from say.each("route-waiting", stuck, "waiting", "the session does not carry its family")


def _by_counts(say: Words, old: SessionReport, new: SessionReport) -> Iterator[Change]:
    """More are on their way than a report names: numbers alone."""
    confirmed = new.routes_confirmed - old.routes_confirmed
    wanted = new.routes_wanted - old.routes_wanted
    if new.state == UP != old.state:
        return  # the session's line has both
    if wanted < 0:
        yield say.number("route-withdrawn", -wanted, "wanted no more")
    if new.state != UP:
        if wanted > 0:
            yield say.number("route-waiting", wanted, "more waiting", "session down")
    elif confirmed > 0:
        yield say.number("route-announced", confirmed, "announced")
    elif confirmed < 0 <= wanted:
        yield say.number("route-changed", -confirmed, "changed, on the way")
    elif wanted > 0:
        yield say.number("route-sent", wanted, "more on the way")


def _is(rows: Rows, prefix: str, state: str) -> bool:
    return prefix in rows and rows[prefix].state == state
