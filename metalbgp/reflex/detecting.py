"""BFD's place in the reflex: its edge, and the connection that hears of it.

In:  the parent's list (sessions.py); the loop's wake-ups. Out: rows by key, to the connection that said the
     list last: all of them after each list, then those that change.
Elsewhere: what a row means is metalbgp/bfd/report.py; the loop process.py.
"""

from typing import Any

from metalbgp import logs
from metalbgp.bfd import report
from metalbgp.bfd.edge import Edge
from metalbgp.bfd.values import SHAKY, STEADY
from metalbgp.clocks import clock
from metalbgp.reflex.sessions import Sessions


class Detecting:
    """`steady`: in a realtime class."""

    def __init__(self, *, steady: bool) -> None:
        self.edge = Edge(STEADY if steady else SHAKY)
        self.client: int | None = None  # a descriptor
        self._refused: dict[str, str] = {}

    def run(self) -> None:
        """If it is due."""
        if clock() >= self.edge.deadline or self.edge.readable:
            self.edge.run()

    def obey(self, descriptor: int, message: Sessions) -> dict[str, Any]:
        """What to answer."""
        if self.client != descriptor:
            logs.log("bfd-client", sessions=len(message.wanted), before=len(self.edge))
            self.client = descriptor
        if message.refused and message.refused != self._refused:
            logs.warn("bfd-refused", why=list(message.refused.values()))
        self._refused = message.refused
        self.edge.change(message.wanted, frozenset(message.refused))
        self.edge.run()
        rows = self.rows()
        self.edge.told()
        return {"bfd": rows}

    def closed(self, descriptor: int) -> None:
        """Sessions stay: the parent may only be restarting."""
        if self.client == descriptor:
            self.client = None
            logs.warn("bfd-client-gone", sessions=len(self.edge))

    def news(self) -> dict[str, Any]:
        """What changed, for the client; nothing is lost without one: who comes hears everything."""
        if self.client is None:
            return {}
        rows = self._amended(self.edge.told())
        return {"bfd": rows} if rows else {}

    def rows(self) -> dict[str, Any]:
        return self._amended(dict.fromkeys(self._refused, report.NOTHING) | self.edge.rows())

    def state(self) -> dict[str, Any]:
        """For people who ask."""
        edge = self.edge
        return {
            "bfd": self.rows(),
            "bfd_dropped": {**edge.drops, "kernel": edge.refused},
            "bfd_send_errors": edge.send_errors,
        }

    def _amended(self, rows: dict[str, Any]) -> dict[str, Any]:
        return {
            key: row | {"why": "; ".join(filter(None, (self._refused[key], row["why"])))}
            if key in self._refused
            else row
            for key, row in rows.items()
        }
