"""What the child's lines, and its silence, mean for the journal.

In:  answers and events (values.py), the time.
Out: changed entries and sessions; a table that must be read back is (flush, with End-of-RIB as the fence).
Elsewhere: the entries are book.py; the next command is machine.py, which also lists the rules.
"""

from collections.abc import Iterator
from typing import Final, assert_never

from msgspec.structs import replace

from metalbgp.bgp import wire
from metalbgp.bgp.book import Book, Pending
from metalbgp.bgp.effects import Problem, RestartChild, SessionChanged
from metalbgp.bgp.journal import Entry, Outstanding, Session, attributes_of
from metalbgp.bgp.values import (
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
    Up,
)
from metalbgp.model.reasons import BadPeerAS, ConnectionClosed, NoConnection, Notification, Reason

ACK_LIMIT: Final = 20.0  # seconds without the answer that is due: the child hangs
CONFIRM_LIMIT: Final = 5.0  # seconds of silence of a session that owes an UPDATE: read it back
RESYNC_LIMIT: Final = 15.0  # seconds that a read-back may take; twice within them, and the child is restarted
SEND_HOLD: Final = 480.0  # seconds after which launch.py gives up a deaf router that has no hold time
SILENCE: Final = 10.0  # seconds without a session after which "no connection" is said
UNEXPLAINED: Final = 3.0  # seconds without a session and without a reason: it is looked for


class Hearing(Book):
    """Takes in one thing at a time; nothing is sent here but what reading back needs."""

    # Answers and events

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

    def _event(self, event: Event, now: float) -> None:
        match event:
            case Shutdown() | Ignored():
                return
            case _:
                event = replace(event, peer=self._key(event.peer))
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
            case Down(peer, why):
                self._down(session, peer, why, now)
            case Connected():
                session.connected = True
                session.tries += 1
            case Negotiated(_, families, hold_time, extended, capabilities):
                session.families, session.extended_next_hop = frozenset(families), extended
                session.hold_time, session.capabilities = hold_time, capabilities
            case Opened(_, graceful, asn):
                session.offered_graceful, session.heard_as = graceful, asn
            case Notified(peer, why):
                self._notified(session, peer, why, now)
            case _:
                assert_never(event)

    def _notified(self, session: Session, peer: str, why: Notification, now: float) -> None:
        if isinstance(why, BadPeerAS) and why.ours:
            why = replace(why, heard=session.heard_as, expected=session.neighbor.peer_as)
            if session.neighbor.external:
                self._unlearn(peer, now)
        if not _says_less(why, session.why):
            session.why = why
        self._effects.append(SessionChanged(peer))

    def _unlearn(self, peer: str, now: float) -> None:
        """The router has another AS than it had: machine.py has it asked again."""
        raise NotImplementedError

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
        session.tries, session.why, session.progress = 0, None, now
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

    def _down(self, session: Session, peer: str, why: Reason | None, now: float) -> None:
        session.connected, session.cease = False, 0
        if why is not None and not _says_less(why, session.why):
            session.why = why
        if session.up:
            session.up, session.since = False, now
            session.flaps, session.ended, session.ended_why = session.flaps + 1, now, session.why
            session.unsure = session.unsure or session.resyncing
            session.resync_since, session.resync_wanted = None, False
            for entry in self.routes.get(peer, {}).values():
                entry.confirmed, entry.again = None, False
                if entry.out is not None and entry.out.acked:
                    self._settle(entry)
                self._look(entry)
        self._effects.append(SessionChanged(peer))

    def _reloaded(self, now: float) -> None:
        for peer in [p for p in self.sessions if p not in self._reload.running]:
            self._forget(peer, now)
            del self.sessions[peer]
        self._go_on()

    def _go_on(self) -> None:
        """What waited for the reload is looked at."""
        for key in self._held:
            self._dirty.setdefault(key[0], {})[key] = None
        self._held.clear()

    # Reading back, and what is overdue

    def _read_back(self, shown: PeerState, now: float) -> None:
        """After a lost helper: is the session up, and as what?"""
        peer = self._key(shown.peer)
        session = self.sessions.get(peer)
        if session is None:
            return
        for entry in self.routes.get(peer, {}).values():
            if entry.out is not None:
                self._settle(entry)
        if shown.up:
            session.families = frozenset(shown.families)
            session.offered_graceful = shown.graceful_restart
            self._up(session, peer, shown.local, now)
        else:
            self._down(session, peer, None, now)

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

    def unexplained(self, now: float) -> Iterator[Neighbor]:
        """Sessions that we dial, that do not come up, and of which nobody said why."""
        for session in self.sessions.values():
            dials = not session.up and not session.neighbor.passive
            if dials and session.vague and now - session.since >= UNEXPLAINED:
                yield session.neighbor

    def _explained(self, peer: str, why: Reason) -> None:
        session = self.sessions.get(peer)
        if session is not None and not session.up and session.vague and session.why != why:
            session.why = why
            self._effects.append(SessionChanged(peer))

    def _overdue_session(self, peer: str, session: Session, now: float) -> None:
        # A router that is busy, or broken, reads nothing for a while; launch.py ends its session in time.
        # Only when that is over and the session stands is the child itself in doubt.
        limit = RESYNC_LIMIT + (2 * session.hold_time or SEND_HOLD)
        stuck = session.resync_since is not None and now - session.resync_since > limit
        if stuck and now - session.progress > limit:
            session.resync_since = None
            self._effects.append(RestartChild(f"the session with {peer} cannot be read back"))
        if not session.up and session.why is None and now - session.since > SILENCE:
            session.why = NoConnection(seconds=round(SILENCE))
            self._effects.append(SessionChanged(peer))


def _says_less(why: Reason, known: Reason | None) -> bool:
    """`down` has the numbers alone; its NOTIFICATION came just before, and may have had words as well."""
    if isinstance(why, Notification) and isinstance(known, Notification):
        return (why.words, why.ours) == (known.words, known.ours)
    return known is not None and isinstance(why, ConnectionClosed)
