"""The lines of `metalbgp watch`, for people or as JSON, and what is said of the view itself.

In:  events of the NodeStates, in order; that the view was lost.
Out: lines, each written at once.
Elsewhere: what is a change is node_changes.py; when events come is watch.py.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from metalbgp.cli.ages import words
from metalbgp.cli.changes import UP, Change, counted
from metalbgp.cli.node_changes import changes, totals
from metalbgp.cli.options import Wish
from metalbgp.cli.render import GAP, listed, many, plain
from metalbgp.cluster.reflector import Broken, Changed, Event, HeldBack, Removed, Synced
from metalbgp.model.report import NodeReport

Named = Callable[[Iterable[Change], NodeReport, NodeReport], Iterable[Change]]


class Standing(Struct, frozen=True):
    """The first line."""

    time: str
    what: str
    message: str
    nodes: int
    sessions: int
    established: int
    routes_wanted: int
    routes_confirmed: int
    down: tuple[str, ...]  # NODE/PEER


class Screen:
    """Says what it is told, and how the view itself is doing."""

    def __init__(
        self,
        wish: Wish,
        clock: Callable[[], datetime],
        named: Named = lambda found, old, new: found,
        out: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        self._json = wish.output == "json"
        self._clock = clock
        self._named = named
        self._out = out
        self._begun = False
        self._lost: datetime | None = None
        self._widths = [1, 1]  # of node and peer, as far as seen

    def begin(self, reports: Sequence[NodeReport]) -> None:
        """The first list is complete: from now on everything is a change."""
        for report in reports:
            self._widen(report)
        self._back()
        self._begun = True
        self._say(standing(reports, self._now()))

    def heard(self, event: Event[NodeReport]) -> None:
        if not self._begun:
            return
        self._back()
        match event:
            case Changed(_, old, new):
                self._widen(new)
                found = changes(old, new)
                for change in found if old is None else self._named(found, old, new):
                    self._say(change)
            case Removed(_, old):
                for change in changes(old, None):
                    self._say(change)
            case Broken(key, _, error):
                node = key.rpartition("/")[2]
                self._say(Change(self._now(), "unreadable", f"NodeState cannot be read: {error}", node))
            case HeldBack(missing, known, delay):
                lacks = f"a list lacks {missing} of {known} nodes; it is asked again in {words(delay)}"
                self._say(Change(self._now(), "view-doubtful", lacks))
            case Synced():
                pass

    def lost(self, why: str) -> None:
        """Once, until it is back."""
        if self._lost is None:
            self._lost = self._clock()
            self._say(Change(self._now(), "view-lost", f"view lost: {why}; trying again", why=why))

    def _back(self) -> None:
        if self._lost is not None:
            away = words((self._clock() - self._lost).total_seconds())
            self._lost = None
            said = f"view back after {away}; what changed meanwhile follows"
            self._say(Change(self._now(), "view-back", said))

    def _now(self) -> str:
        return self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _widen(self, report: NodeReport) -> None:
        peers = [len(one.peer) for one in report.sessions]
        self._widths = [max(self._widths[0], len(report.node)), max(self._widths[1], *peers, 1)]

    def _say(self, said: Change | Standing) -> None:
        said = replace(said, time=said.time or self._now())
        self._out(msgspec.json.encode(plain(said)).decode() if self._json else self._line(said))

    def _line(self, said: Change | Standing) -> str:
        node, peer = (said.node, said.peer) if isinstance(said, Change) else ("", "")
        cells = [
            cell.ljust(width) for cell, width in zip((node or "-", peer or "-"), self._widths, strict=True)
        ]
        return GAP.join((said.time, *cells, said.message))


def standing(reports: Sequence[NodeReport], time: str) -> Standing:
    down = tuple(
        f"{report.node}/{one.peer}" for report in reports for one in report.sessions if one.state != UP
    )
    sessions = sum(len(report.sessions) for report in reports)
    confirmed, wanted = (
        (sum(parts) for parts in zip(*map(totals, reports), strict=True)) if reports else (0, 0)
    )
    message = f"{many(len(reports), 'node')}: {sessions - len(down)} of {sessions} sessions established"
    message += f", {counted(confirmed, wanted)}"
    if down:
        message += f"; not established: {listed(down)} (metalbgp sessions --problems)"
    return Standing(
        time=time,
        what="standing",
        message=message,
        nodes=len(reports),
        sessions=sessions,
        established=sessions - len(down),
        routes_wanted=wanted,
        routes_confirmed=confirmed,
        down=down,
    )
