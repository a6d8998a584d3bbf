"""The journal: what every session was told, and the next command that brings it nearer to what is wanted.

In:  wants and neighbours (levels: the last word counts), lines from the child, what the edge did, the time.
Out: typed effects in the order in which they are to be carried out; nothing here reads a clock or a socket.
Elsewhere: the words of lines in wire.py, the list of sessions in reload.py, entries in journal.py.

Why it is careful. ExaBGP batches changes by attribute set, so of two quick commands for one prefix the older
may win; `done` means parsed, not sent; an identical announcement sends nothing; the first flush of a session
drops withdraws; a helper that died took answers and events with it. Hence the rules:
  1. one outstanding command per (peer, prefix), until its answer AND its sent UPDATE were seen;
  2. commands only for sessions that are up, at most WINDOW prefixes at once;
  3. after a bounce ExaBGP replays its own table: that is waited for like a command;
  4. End-of-RIB goes last, per family: ExaBGP sends it when nothing is pending, so it is a fence as well;
  5. whatever is not confirmed in time, or unsure after a lost helper, is read back: flush and fence (resync).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, assert_never

from metalbgp.bgp import wire
from metalbgp.bgp.effects import (
    Effect,
    Install,
    Problem,
    RestartChild,
    RoutesChanged,
    SessionChanged,
    Write,
)
from metalbgp.bgp.journal import Entry, Key, Outstanding, Session, State, attributes_of
from metalbgp.bgp.reload import Reload, identity
from metalbgp.bgp.values import (
    Answer,
    BadNeighbor,
    Connected,
    Down,
    Event,
    Ignored,
    Negotiated,
    Neighbor,
    Notified,
    Opened,
    PeerState,
    Sent,
    SentEor,
    Shutdown,
    Text,
    Up,
    check,
)
from metalbgp.model.routes import Attributes

WINDOW: Final = 200  # prefixes commanded and not settled, over all sessions: ExaBGP slows down with its queue
LINE: Final = 100  # prefixes in one command
ACK_LIMIT: Final = 20.0  # seconds without the answer that is due: the child hangs
CONFIRM_LIMIT: Final = 5.0  # seconds of silence of a session that owes an UPDATE: read it back
RESYNC_LIMIT: Final = 15.0  # seconds that a read-back may take; twice within them, and the child is restarted
REPLAY_LIMIT: Final = 60.0  # seconds after which End-of-RIB is sent with routes still unconfirmed
SYNC_LIMIT: Final = 10.0  # seconds that End-of-RIB waits for an agent that has not said anything yet
SILENCE: Final = 10.0  # seconds without a session after which "no connection" is said
TICK: Final = 0.5

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


class Machine:
    """Every verb takes the time and returns what is to be done."""

    def __init__(self, helper: str) -> None:
        self.sessions: dict[str, Session] = {}
        self.routes: dict[str, dict[str, Entry]] = {}
        self._reload = Reload(helper)
        self._connected = False
        self._fifo: deque[Pending] = deque()
        self._dirty: dict[Key, None] = {}  # keys to look at, oldest first
        self._held: dict[Key, None] = {}  # the same, while a reload is under way
        self._commanded: set[Key] = set()
        self._owing: set[Key] = set()  # keys with something outstanding
        self._touched: dict[Key, None] = {}
        self._effects: list[Effect] = []
        self._spoken = False  # has an agent said what it wants?
        self._draining = False
        self._closing = False
        self._leaving: set[str] = set()
        self._tick = 0.0

    # What the agent says

    def neighbors(self, wanted: Iterable[Neighbor], now: float) -> list[Effect]:
        """The full list of sessions. A bad one keeps its last good version; all others go on."""
        target: dict[str, Neighbor] = {}
        for neighbor in wanted:
            try:
                good = check(neighbor)
            except BadNeighbor as error:
                self._effects.append(Problem("neighbor-refused", str(error), neighbor.address))
                last = self._reload.target.get(neighbor.address)
                if last is None:
                    continue
                good = last
            if good.address in target:
                text = f"two peers have the address {good.address}; only the first runs"
                self._effects.append(Problem("neighbor-refused", text, good.address))
                continue
            target[good.address] = good
        self._reload.want(target)
        return self._pump(now)

    def want(self, wants: Iterable[tuple[str, str, Attributes | None]], now: float) -> list[Effect]:
        """Levels: the last one said for a (peer, prefix) is what we work towards. None: withdrawn."""
        self._spoken = True
        for peer, prefix, attributes in wants:
            try:
                wire.check_prefix(prefix)
                good = wire.check_attributes(attributes) if attributes is not None else None
            except wire.BadRoute as error:
                self._effects.append(Problem("route-refused", str(error), peer))
                continue
            entry = self.routes.get(peer, {}).get(prefix)
            if entry is None:
                if good is None:
                    continue
                entry = self._entry((peer, prefix), now)
            if entry.wanted != good:
                entry.wanted, entry.error = good, ""
                self._look(entry)
                session = self.sessions.get(peer)
                if good is not None and session and session.up and not session.eor_told:
                    session.replay.add(entry.key)
        return self._pump(now)

    def synced(self, now: float) -> list[Effect]:
        """The agent has said everything it knows (also if that was nothing): End-of-RIB may go."""
        self._spoken = True
        return self._pump(now)

    def drain(self) -> None:
        """At shutdown routes go also where graceful restart was negotiated."""
        self._draining = True

    def shutdown(self, now: float) -> list[Effect]:
        """Withdraw what must not stay; `finished` says when. Graceful ones keep theirs unless draining."""
        self._closing = True
        self._leaving = {p for p, s in self.sessions.items() if self._draining or not s.graceful}
        for peer in self._leaving:
            for entry in self.routes.get(peer, {}).values():
                self._look(entry)
        return self._pump(now)

    @property
    def finished(self) -> bool:
        """Nothing is left to withdraw, or no way to do it."""
        if not self._connected:
            return True
        up = (p for p in self._leaving if p in self.sessions and self.sessions[p].up)
        return not any(e.told or e.out or e.confirmed for p in up for e in self.routes.get(p, {}).values())

    # What the edge says

    def installed(self, generation: int, error: str | None, now: float) -> list[Effect]:
        """The file of this generation is in place, or was refused and is not."""
        self._reload.installed(generation, error)
        if error is not None:
            self._effects.append(Problem("reload", f"the new list of peers was refused: {error}"))
        return self._pump(now)

    def child_lost(self, now: float) -> list[Effect]:
        """The child died: every session with it, and everything that it was told."""
        self._connected = False
        self._fifo.clear()
        for peer in list(self.sessions):
            self._forget(peer, now)
        return self._pump(now)

    def helper_lost(self, now: float) -> list[Effect]:
        """Answers and events may be missing from now on; commands may have been lost in the pipe."""
        self._connected = False
        self._fifo.clear()
        for session in self.sessions.values():
            session.unsure = True
            session.resync_since, session.resync_wanted = None, False
        return self._pump(now)

    def connected(self, now: float, *, fresh: bool) -> list[Effect]:
        """A helper is there. `fresh`: of a new child, which knows its file and no route."""
        self._connected = True
        if fresh:
            self._fifo.clear()
            self._reload.child_started()
            for peer in [p for p in self.sessions if p not in self._reload.running]:
                self._forget(peer, now)
                del self.sessions[peer]
            self._adopt(self._reload.running, now)
            for peer in self.sessions:
                self._forget(peer, now)
        else:
            self._reload.helper_back()
            self._write([wire.SHOW_STATE], [Pending("state", now)])
        return self._pump(now)

    def line(self, line: wire.Line, now: float) -> list[Effect]:
        """One decoded line of the child's."""
        match line:
            case Answer(ok):
                self._answer(ok, now)
            case Text(text):
                if self._fifo:
                    self._fifo[0].lines.append(text)
            case tuple():
                if self._fifo:
                    self._fifo[0].states = line
            case _:
                self._event(line, now)
        return self._pump(now)

    def wake(self, now: float) -> list[Effect]:
        """Time has passed: what is overdue?"""
        if now >= self._tick:
            self._tick = now + TICK
            self._overdue(now)
        return self._pump(now)

    @property
    def deadline(self) -> float:
        """When wake() is due."""
        return min(self._tick, self._reload.due)

    # Journal

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

    @property
    def configured(self) -> Sequence[Neighbor]:
        return tuple(self._reload.target.values())

    @property
    def reloading(self) -> bool:
        return self._reload.busy

    # Lines in

    def _answer(self, ok: bool, now: float) -> None:
        if not self._fifo:
            self._effects.append(Problem("child", "an answer that nothing asked for"))
            return
        if self._fifo[0].kind == "state" and self._fifo[0].states is None:
            return  # an answer to a command of the helper that died: ExaBGP gives it to the next one
        pending = self._fifo.popleft()
        match pending.kind:
            case "routes":
                for entry, out in pending.entries:
                    if entry.out is out:
                        self._acked(entry, out, ok, len(pending.entries) > 1)
            case "eor":
                if not ok:
                    self._effects.append(Problem("child", "End-of-RIB was refused", pending.peer))
            case "flush":
                if not ok:
                    self._effects.append(RestartChild(f"the table of {pending.peer} could not be read back"))
            case "reload":
                self._reload.answered()
            case "show":
                if self._reload.shown(pending.lines, now):
                    self._reloaded(now)
            case "state":
                for shown in pending.states or ():
                    self._read_back(shown, now)
            case _:
                assert_never(pending.kind)

    def _acked(self, entry: Entry, out: Outstanding, ok: bool, grouped: bool) -> None:
        session = self.sessions.get(entry.key[0])
        if not ok:
            # Nothing of a refused line was taken. In a group only one may be guilty: each gets its own line.
            self._settle(entry)
            entry.alone = grouped
            if not grouped:
                entry.error = "refused by ExaBGP"
                text = f"{entry.key[1]}: ExaBGP refused the command; its log line has the reason"
                self._effects.append(Problem("route-refused", text, entry.key[0]))
            return
        entry.told = out.attributes
        out.acked = True
        if out.seen or session is None or not session.up:
            entry.again = entry.again and not out.seen
            self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        entry.out = None
        self._owing.discard(entry.key)
        self._commanded.discard(entry.key)
        session = self.sessions.get(entry.key[0])
        if session is not None:
            session.replay.discard(entry.key)
        self._look(entry)

    def _event(self, event: Event, now: float) -> None:
        match event:
            case Shutdown() | Ignored():
                return
            case _:
                session = self.sessions.get(event.peer)
        if session is None:
            return  # a peer that the file no longer has
        match event:
            case Sent():
                self._sent(session, event, now)
            case SentEor(peer, afi):
                self._fence(session, peer, afi, now)
            case Up(peer, local):
                self._up(session, peer, local, now)
            case Down(peer, reason):
                self._down(session, peer, reason, now)
            case Connected():
                session.connected = True
                session.tries += 1
            case Negotiated(_, families, _):
                session.families = frozenset(families)
            case Opened(_, graceful, _):
                session.offered_graceful = graceful
            case Notified(peer, sent, reason):
                session.last_error = f"{reason} ({'from us' if sent else 'from the router'})"
                self._effects.append(SessionChanged(peer))
            case _:
                assert_never(event)

    def _sent(self, session: Session, sent: Sent, now: float) -> None:
        session.progress = now
        for prefix in sent.announced:
            entry = self._entry((sent.peer, prefix), now)
            out = entry.out
            known = (out.attributes if out else None, entry.told, entry.wanted)
            carried = next((a for a in known if session.is_of(sent, a)), None) or attributes_of(sent)
            entry.confirmed = entry.flushed = carried
            if out is None:
                entry.told = carried  # a replay that we did not expect: believe the wire
            elif session.is_of(sent, out.attributes):
                out.seen = True
            self._after_sent(entry)
        for prefix in sent.withdrawn:
            known_entry = self.routes.get(sent.peer, {}).get(prefix)
            if known_entry is None:
                continue
            known_entry.confirmed = None
            if known_entry.out is None:
                known_entry.told = None
            elif known_entry.out.attributes is None:
                known_entry.out.seen = True
            self._after_sent(known_entry)

    def _after_sent(self, entry: Entry) -> None:
        if entry.out is not None and entry.out.seen and entry.out.acked:
            entry.again = False
            self._settle(entry)
        else:
            self._look(entry)

    def _fence(self, session: Session, peer: str, afi: str, now: float) -> None:
        session.progress = now
        if session.resync_since is not None:
            session.fences.discard(afi)
            if not session.fences:
                self._resynced(session, peer, now)
            return
        session.eor_seen.add(afi)
        for entry in list(self.routes.get(peer, {}).values()):
            if entry.out and entry.out.fence_settles and entry.out.acked and entry.afi == afi:
                entry.confirmed = None
                self._settle(entry)

    def _up(self, session: Session, peer: str, local: str, now: float) -> None:
        session.up, session.connected, session.since, session.local = True, True, now, local
        session.graceful = bool(session.neighbor.graceful_restart) and session.offered_graceful
        session.tries, session.last_error, session.progress = 0, "", now
        session.eor_told, session.eor_seen = set(), set()
        session.replay = set()
        session.resync_wanted = session.unsure
        for entry in self.routes.get(peer, {}).values():
            entry.error, entry.confirmed, entry.again, entry.flushed = "", None, False, None
            if entry.afi not in session.families:
                continue
            if entry.out is not None:  # written for the last session, not answered yet
                entry.out.since = now
                entry.out.fence_settles = entry.out.attributes is None
            elif entry.told is not None:
                self._await(entry, Outstanding(entry.told, now, acked=True))
            if (entry.wanted or entry.told) and not (entry.out and entry.out.fence_settles):
                session.replay.add(entry.key)
            self._look(entry)
        self._effects.append(SessionChanged(peer))

    def _down(self, session: Session, peer: str, reason: str, now: float) -> None:
        session.connected = False
        if reason and not (session.last_error and reason == "closing connection"):
            session.last_error = reason
        if session.up:
            session.up, session.since = False, now
            session.unsure = session.unsure or session.resyncing
            session.resync_since, session.resync_wanted = None, False
            for entry in self.routes.get(peer, {}).values():
                entry.confirmed, entry.again = None, False
                if entry.out is not None and entry.out.acked:
                    self._settle(entry)
                self._look(entry)
        self._effects.append(SessionChanged(peer))

    # Reading back

    def _read_back(self, shown: PeerState, now: float) -> None:
        """After a lost helper: is the session up, and as what?"""
        session = self.sessions.get(shown.peer)
        if session is None:
            return
        for entry in self.routes.get(shown.peer, {}).values():
            if entry.out is not None:
                self._settle(entry)
        if shown.up:
            session.families = frozenset(shown.families)
            session.offered_graceful = shown.graceful_restart
            self._up(session, shown.peer, shown.local, now)
        else:
            self._down(session, shown.peer, "", now)

    def _resync(self, session: Session, peer: str, now: float) -> None:
        """Let ExaBGP send all that it holds, with End-of-RIB behind as the fence."""
        session.resync_wanted, session.resync_since = False, now
        session.fences = set(session.families)
        for entry in self.routes.get(peer, {}).values():
            entry.flushed = None
            if entry.out is not None:
                self._settle(entry)
        fences = [wire.end_of_rib(session.neighbor, afi) for afi in sorted(session.families)]
        pending = [Pending("flush", now, peer)] + [Pending("eor", now, peer) for _ in fences]
        self._write([wire.flush(session.neighbor), *fences], pending)

    def _resynced(self, session: Session, peer: str, now: float) -> None:
        session.resync_since, session.resynced, session.unsure = None, now, False
        session.eor_told, session.eor_seen = set(session.families), set(session.families)
        session.replay = set()
        for entry in self.routes.get(peer, {}).values():
            if entry.afi in session.families:
                entry.again = entry.flushed is None and (entry.confirmed or entry.told) is not None
                entry.told = entry.confirmed = entry.flushed
                entry.flushed = None
                self._look(entry)

    def _overdue(self, now: float) -> None:
        if self._fifo and now - self._fifo[0].since > ACK_LIMIT:
            self._fifo.clear()
            self._effects.append(RestartChild(f"no answer for {ACK_LIMIT:.0f} s"))
            return
        for key in self._owing:
            peer, prefix = key
            session, out = self.sessions.get(peer), self.routes[peer][prefix].out
            if session is None or out is None or not session.up or not out.acked or session.resyncing:
                continue
            if now - max(out.since, session.progress) > CONFIRM_LIMIT:
                text = f"{prefix}: no UPDATE for {CONFIRM_LIMIT:.0f} s; reading the session back"
                self._doubt(session, peer, text, now)
        for peer, session in self.sessions.items():
            self._overdue_session(peer, session, now)

    def _doubt(self, session: Session, peer: str, text: str, now: float) -> None:
        """What we believe of the session may be wrong: read it back, and if that did not help, start anew."""
        self._effects.append(Problem("confirmation", text, peer))
        if now - session.resynced < RESYNC_LIMIT:
            self._effects.append(RestartChild(f"reading back the session with {peer} did not help"))
        session.resync_wanted = True

    def _overdue_session(self, peer: str, session: Session, now: float) -> None:
        stuck = session.resync_since is not None and now - session.resync_since > RESYNC_LIMIT
        if stuck and now - session.progress > CONFIRM_LIMIT:
            session.resync_since = None
            self._effects.append(RestartChild(f"the session with {peer} cannot be read back"))
        if not session.up and not session.last_error and now - session.since > SILENCE:
            session.last_error = (
                f"no connection for {SILENCE:.0f} s: unreachable, refused, or another password"
            )
            self._effects.append(SessionChanged(peer))

    # Sessions come and go

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
            session.neighbor = neighbor

    def _forget(self, peer: str, now: float) -> None:
        session = self.sessions[peer]
        if session.up:
            session.since = now
        session.up = session.connected = session.unsure = False
        session.resync_since, session.resync_wanted = None, False
        for entry in self.routes.get(peer, {}).values():
            entry.told = entry.confirmed = None
            entry.error, entry.again = "", False
            self._settle(entry)
        self._effects.append(SessionChanged(peer))

    def _reloaded(self, now: float) -> None:
        for peer in [p for p in self.sessions if p not in self._reload.running]:
            self._forget(peer, now)
            del self.sessions[peer]
        self._dirty.update(self._held)
        self._held.clear()

    # Lines out

    def _pump(self, now: float) -> list[Effect]:
        if not self._closing:
            self._step(now)
        if self._connected:
            for peer, session in self.sessions.items():
                held = self._reload.exclusive or self._unanswered(peer)
                if session.resync_wanted and session.up and not held:
                    self._resync(session, peer, now)
            self._send_routes(now)
            for peer, session in self.sessions.items():
                self._end_of_rib(session, peer, now)
        changed = tuple(self._touched)
        self._touched.clear()
        if moved := tuple(key for key in changed if self._moved(key, now)):
            self._effects.append(RoutesChanged(moved))
        effects, self._effects = self._effects, []
        return effects

    def _step(self, now: float) -> None:
        leaving = self._reload.leaving
        if leaving != self._leaving:
            self._leaving = leaving
            for peer in leaving:
                for entry in self.routes.get(peer, {}).values():
                    self._look(entry)
        idle = not self._fifo
        quiet = idle and self._reload.pending and self._quiet()
        step = self._reload.step(now, connected=self._connected, idle=idle, quiet=quiet)
        match step:
            case "install":
                self._effects.append(Install(self._reload.text, self._reload.generation))
            case "reload":
                self._adopt(self._reload.moving, now)
                self._write([wire.RELOAD], [Pending("reload", now)])
            case "show":
                self._write([wire.SHOW_CONFIGURATION], [Pending("show", now)])
            case "restart":
                self._effects.append(RestartChild("it does not take the new list of peers"))
            case None:
                pass
            case _:
                assert_never(step)

    def _quiet(self) -> bool:
        leaving = (e for p in self._reload.leaving for e in self.routes.get(p, {}).values())
        up = {p for p, s in self.sessions.items() if s.up}
        return not any(e.told for e in leaving if e.key[0] in up) and not any(k[0] in up for k in self._owing)

    def _send_routes(self, now: float) -> None:
        if len(self._commanded) > WINDOW // 2 and len(self._dirty) > WINDOW - len(self._commanded):
            return  # a full window is refilled in large pieces: grouped prefixes cost a third of single ones
        groups: dict[tuple[str, str, Attributes | None, int], list[Entry]] = {}
        while self._dirty and len(self._commanded) < WINDOW:
            key = next(iter(self._dirty))
            del self._dirty[key]
            if self._reload.busy and key[0] not in self._leaving:
                self._held[key] = None
                continue
            entry = self.routes[key[0]].get(key[1])
            session = self.sessions.get(key[0])
            if entry is None or not self._due(entry, session, now):
                continue
            goal = self._goal(entry)
            self._await(entry, Outstanding(goal, now))
            self._commanded.add(key)
            lone = len(groups) if entry.alone else -1
            groups.setdefault((key[0], entry.afi, goal, lone), []).append(entry)
        for (peer, _, goal, _), members in groups.items():
            neighbor = self.sessions[peer].neighbor
            for start in range(0, len(members), LINE):
                part = members[start : start + LINE]
                names = [e.key[1] for e in part]
                text = (
                    wire.withdraw(neighbor, names) if goal is None else wire.announce(neighbor, goal, names)
                )
                outs = [(e, e.out) for e in part if e.out is not None]
                self._write([text], [Pending("routes", now, peer, outs)])

    def _due(self, entry: Entry, session: Session | None, now: float) -> bool:
        """Is a command for this prefix due now? Forgets what nobody wants and nobody holds."""
        goal = self._goal(entry)
        if entry.wanted is None and entry.idle:
            del self.routes[entry.key[0]][entry.key[1]]
            if session is not None:
                session.replay.discard(entry.key)
            return False
        if entry.out is not None or entry.error or session is None or not session.up or session.resyncing:
            return False
        if entry.afi not in session.families:
            return False
        if goal is None:
            return entry.told is not None or entry.again
        if not entry.again and session.same_on_wire(goal, entry.told):
            entry.told = goal
            if session.same_on_wire(goal, entry.confirmed):
                entry.confirmed = goal
                session.replay.discard(entry.key)
            else:
                text = f"{entry.key[1]}: ExaBGP holds it, the wire was not seen to carry it"
                self._doubt(session, entry.key[0], text, now)
            return False
        try:
            wire.check_next_hop(session.neighbor, entry.key[1], goal)
        except wire.BadRoute as error:
            entry.error = str(error)
            session.replay.discard(entry.key)
            self._effects.append(Problem("route-refused", str(error), entry.key[0]))
            return False
        return True

    def _end_of_rib(self, session: Session, peer: str, now: float) -> None:
        if not session.up or session.resyncing or session.eor_told or self._reload.busy:
            return
        if not self._spoken and now - session.since < SYNC_LIMIT:
            return
        if session.replay and now - session.since < REPLAY_LIMIT:
            return
        if self._unanswered(peer):
            return  # the fence must stand behind every command that it is to settle
        session.eor_told = set(session.families)
        lines = [wire.end_of_rib(session.neighbor, afi) for afi in sorted(session.families)]
        self._write(lines, [Pending("eor", now, peer) for _ in lines])

    def _unanswered(self, peer: str) -> bool:
        return any(pending.peer == peer for pending in self._fifo)

    def _write(self, lines: list[str], pending: list[Pending]) -> None:
        self._fifo.extend(pending)
        if self._effects and isinstance(self._effects[-1], Write):
            self._effects[-1] = Write(self._effects[-1].lines + tuple(lines))
        elif lines:
            self._effects.append(Write(tuple(lines)))

    def _await(self, entry: Entry, out: Outstanding) -> None:
        entry.out = out
        self._owing.add(entry.key)
        self._touched[entry.key] = None

    def _look(self, entry: Entry) -> None:
        self._dirty[entry.key] = None
        self._touched[entry.key] = None

    def _entry(self, key: Key, now: float) -> Entry:
        table = self.routes.setdefault(key[0], {})
        if key[1] not in table:
            table[key[1]] = Entry(key, since=now)
        return table[key[1]]

    def _goal(self, entry: Entry) -> Attributes | None:
        return None if entry.key[0] in self._leaving else entry.wanted

    def _moved(self, key: Key, now: float) -> bool:
        entry = self.routes.get(key[0], {}).get(key[1])
        if entry is None:
            return True
        state = self.state(entry)
        if state == entry.reported:
            return False
        entry.reported, entry.since = state, now
        return True
