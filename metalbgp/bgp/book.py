"""The journal itself: sessions, prefixes, what is outstanding, what is to be looked at.

In:  one step of hearing.py or machine.py at a time.
Out: entries, their states, and the effects and commands gathered so far.
Elsewhere: what a line of the child means is hearing.py; what to send next is machine.py.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from metalbgp.bgp.effects import Effect, SessionChanged, Write
from metalbgp.bgp.journal import Entry, Key, Lacking, Outstanding, Session, State
from metalbgp.bgp.reload import Reload, identity
from metalbgp.bgp.values import Found, Neighbor, PeerState
from metalbgp.model.routes import Attributes

Kind = Literal["routes", "eor", "flush", "reload", "show", "state"]


@dataclass(slots=True)
class Pending:
    """A written command whose answer is due; answers come in the order of the commands."""

    kind: Kind
    since: float
    peer: str = ""
    entries: list[tuple[Entry, Outstanding]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    states: tuple[PeerState, ...] | None = None


class Book:
    """What is known. The subclasses add what to make of it."""

    def __init__(self, helper: str) -> None:
        self.sessions: dict[str, Session] = {}
        self.routes: dict[str, dict[str, Entry]] = {}
        self._reload = Reload(helper)
        self._connected = False
        self._fifo: deque[Pending] = deque()
        self._dirty: dict[str, dict[Key, None]] = {}  # by peer: keys to look at, oldest first
        self._held: dict[Key, None] = {}  # keys to look at when the reload is through
        self._commanded: dict[str, set[Key]] = {}  # by peer
        self._owing: set[Key] = set()  # keys with something outstanding
        self._touched: dict[Key, None] = {}
        self._effects: list[Effect] = []
        self._spoken = False  # has an agent said what it wants?
        self._draining = False
        self._closing = False
        self._leaving: set[str] = set()
        self.farewells: dict[str, str] = {}  # what peers are told that an order shuts, by key
        self._asked: dict[str, Neighbor] = {}  # as the agent wants them, by key
        self._found: dict[str, Found] = {}  # what they lacked
        self.lacking: dict[str, Lacking] = {}  # those that lack it still
        self._learned: dict[str, str] = {}  # address of an unnumbered session → its key
        self._tick = 0.0

    def state(self, entry: Entry) -> State:
        session = self.sessions.get(entry.key[0])
        if self._goal(entry) is None:
            return "withdrawn" if entry.idle else "withdrawing"
        if entry.error:
            return "refused"
        if session is None or not session.up or entry.afi not in session.families:
            return "waiting"
        if entry.out is not None:
            return "sent"
        same = session.same_on_wire(entry.wanted, entry.confirmed)
        return "confirmed" if same and not entry.again else "wanted"

    def entries(self) -> Iterable[Entry]:
        return (entry for table in self.routes.values() for entry in table.values())

    def _entry(self, key: Key, now: float) -> Entry:
        table = self.routes.setdefault(key[0], {})
        if key[1] not in table:
            table[key[1]] = Entry(key, since=now)
        return table[key[1]]

    def _goal(self, entry: Entry) -> Attributes | None:
        return None if entry.key[0] in self._leaving else entry.wanted

    def _look(self, entry: Entry) -> None:
        self._dirty.setdefault(entry.key[0], {})[entry.key] = None
        self._touched[entry.key] = None

    def _await(self, entry: Entry, out: Outstanding) -> None:
        entry.out = out
        self._owing.add(entry.key)
        self._touched[entry.key] = None

    def _settle(self, entry: Entry) -> None:
        entry.out = None
        self._owing.discard(entry.key)
        self._commanded.get(entry.key[0], set()).discard(entry.key)
        session = self.sessions.get(entry.key[0])
        if session is not None:
            session.replay.discard(entry.key)
        self._look(entry)

    def _key(self, address: str) -> str:
        """ExaBGP speaks of addresses; an unnumbered session has a name that it keeps whatever it learns."""
        return self._learned.get(address, address)

    def _forget(self, peer: str, now: float) -> None:
        session = self.sessions[peer]
        if session.up:
            session.since = now
        session.up = session.connected = session.unsure = False
        session.cease = 0
        session.resync_since, session.resync_wanted = None, False
        for entry in self.routes.get(peer, {}).values():
            entry.told = entry.confirmed = None
            entry.error, entry.again = "", False
            self._settle(entry)
        self._effects.append(SessionChanged(peer))

    def _adopt(self, neighbors: dict[str, Neighbor], now: float) -> None:
        """From here on events of these may come."""
        for peer, neighbor in neighbors.items():
            session = self.sessions.get(peer)
            if session is None:
                self.sessions[peer] = Session(neighbor, now)
                self._effects.append(SessionChanged(peer))
                continue
            if identity(session.neighbor) != identity(neighbor):
                self._forget(peer, now)  # a new peer for ExaBGP: it starts with an empty table
            elif session.neighbor != neighbor:
                self._effects.append(SessionChanged(peer))  # its name, if nothing else
            session.neighbor = neighbor
        self._learned = {
            one.neighbor.address: key for key, one in self.sessions.items() if key.startswith("%")
        }

    def _write(self, lines: list[str], pending: list[Pending]) -> None:
        self._fifo.extend(pending)
        if self._effects and isinstance(self._effects[-1], Write):
            self._effects[-1] = Write(self._effects[-1].lines + tuple(lines))
        elif lines:
            self._effects.append(Write(tuple(lines)))

    def _unanswered(self, peer: str) -> bool:
        return any(pending.peer == peer for pending in self._fifo)

    def _moved(self, key: Key, now: float) -> bool:
        entry = self.routes.get(key[0], {}).get(key[1])
        if entry is None:
            return True
        state = self.state(entry)
        if state == entry.reported:
            return False
        entry.reported, entry.since = state, now
        return True
