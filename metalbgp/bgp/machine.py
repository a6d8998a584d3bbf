"""The journal: what every session was told, and the next command that brings it nearer to what is wanted.

In:  wants and neighbours (levels: the last word counts), lines from the child, what the edge did, the time.
Out: typed effects in the order in which they are to be carried out; nothing here reads a clock or a socket.
Elsewhere: what lines mean in hearing.py, entries in book.py and journal.py, the list of peers in reload.py.

Why it is careful. ExaBGP batches changes by attribute set, so of two quick commands for one prefix the older
may win; `done` means parsed, not sent; an identical announcement sends nothing; the first flush of a session
drops withdraws; a helper that died took answers and events with it. Hence the rules:
  1. one outstanding command per (peer, prefix), until its answer AND its sent UPDATE were seen;
  2. commands only for sessions that are up, at most WINDOW prefixes at once, a share for each (a router
     that reads nothing holds up no other); but a withdrawal never waits, or the replay (3) would announce
     for a moment what nobody wants any more;
  3. after a bounce ExaBGP replays its own table: that is waited for like a command;
  4. End-of-RIB goes last, per family: ExaBGP sends it when nothing is pending, so it is a fence as well;
  5. whatever is not confirmed in time, or unsure after a lost helper, is read back: flush and fence (resync).

One file because each of these rules is about what may be sent next, and all must hold at once.
"""

from collections.abc import Iterable, Sequence
from typing import Final, assert_never

from msgspec.structs import replace

from metalbgp.bgp import wire
from metalbgp.bgp.book import Pending
from metalbgp.bgp.effects import (
    AskAgain,
    Check,
    Effect,
    Install,
    Problem,
    RestartChild,
    RoutesChanged,
    SessionChanged,
)
from metalbgp.bgp.hearing import Hearing
from metalbgp.bgp.journal import Entry, Lacking, Outstanding, Session
from metalbgp.bgp.notifications import notification
from metalbgp.bgp.values import Answer, BadNeighbor, Found, Neighbor, Text, check, completed
from metalbgp.model.reasons import ASNotLearned, Reason, RefusedByExaBGP
from metalbgp.model.routes import Attributes

WINDOW: Final = 200  # prefixes commanded and not settled, in all: ExaBGP slows down with its queue
LEAST: Final = 25  # of these for each session that has some
LINE: Final = 100  # prefixes in one command
REPLAY_LIMIT: Final = 60.0  # seconds after which End-of-RIB is sent with routes still unconfirmed
SYNC_LIMIT: Final = 10.0  # seconds that End-of-RIB waits for an agent that has not said anything yet
TICK: Final = 0.5
Groups = dict[tuple[str, str, Attributes | None, int], list[Entry]]  # what one command may carry


class Machine(Hearing):
    """Every verb takes the time and returns what is to be done."""

    # What the agent says

    def neighbors(self, wanted: Iterable[Neighbor], now: float) -> list[Effect]:
        """The full list of sessions. A bad one keeps its last good version; all others go on."""
        asked: dict[str, Neighbor] = {}
        for neighbor in wanted:
            try:
                good = check(neighbor)
            except BadNeighbor as error:
                self._effects.append(Problem("neighbor-refused", str(error), neighbor.key))
                last = self._asked.get(neighbor.key)
                if last is None:
                    continue
                good = last
            if good.key in asked:
                text = f"two peers have the address {good.key}; only the first runs"
                self._effects.append(Problem("neighbor-refused", text, good.key))
                continue
            asked[good.key] = good
        self._asked = asked
        self._settle_neighbors(now)
        return self._pump(now)

    def found(self, peer: str, found: Found, now: float) -> list[Effect]:
        """What a neighbour lacked (seek.py), or why it is not to be had on this node."""
        if self._found.get(peer) != found:
            self._found[peer] = found
            self._settle_neighbors(now)
        return self._pump(now)

    @property
    def seeking(self) -> Sequence[Neighbor]:
        """Neighbours of which something must be looked at or learned here, for as long as they run."""
        return tuple(one for one in self._asked.values() if one.incomplete)

    def _unlearn(self, peer: str, now: float) -> None:
        if peer in self._found:
            self._found[peer] = replace(self._found[peer], asn=0, why=ASNotLearned())
            self._effects.append(AskAgain(peer))
            self._settle_neighbors(now)

    def _settle_neighbors(self, now: float) -> None:
        """Whatever is complete shall run; of the rest is said what is missing, or why ExaBGP refuses it."""
        target: dict[str, Neighbor] = {}
        addresses: dict[str, str] = {}
        lacking: dict[str, Lacking] = {}
        for key, one in self._asked.items():
            made = completed(one, self._found.get(key), addresses)
            if isinstance(made, Neighbor):
                target[key] = made
                addresses[made.address] = made.name or key
            else:
                lacking[key] = Lacking(one, made, now)
        for key in self._found.keys() - self._asked.keys():
            del self._found[key]
        if target != self._reload.asked:
            self._reload.want(target)
        for key, refused in self._reload.refused.items():
            why = RefusedByExaBGP(why=refused.why, keeps=key in self._reload.target)
            lacking[key] = Lacking(refused.neighbor, why, now)
        for key, before in self.lacking.items():
            if key in lacking and lacking[key].why == before.why:
                lacking[key] = before
        changed = [
            key for key in lacking.keys() | self.lacking.keys() if lacking.get(key) != self.lacking.get(key)
        ]
        self.lacking = lacking
        self._effects += [SessionChanged(key) for key in sorted(changed)]

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

    def cease(self, peer: str, subcode: int, text: str, now: float) -> list[Effect]:
        """End the session once, with a NOTIFICATION also where graceful restart was negotiated; if it is up.

        `text`: why, for people. Nothing keeps ExaBGP from connecting again.
        """
        session = self.sessions.get(peer)
        if session is not None and session.up:
            session.cease, session.cease_told = subcode, False
            session.why = notification(6, subcode, ours=True, text=text)
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

    def explained(self, peer: str, why: Reason, now: float) -> list[Effect]:
        """Why the router does not let us in, as far as knocking can tell."""
        self._explained(peer, why)
        return self._pump(now)

    def installed(self, generation: int, error: str | None, now: float) -> list[Effect]:
        """The file of this generation is in place, or was refused and is not."""
        self._reload.installed(generation, error)
        if error is not None:
            self._go_on()
        if error is not None and not self._reload.sifting:
            self._effects.append(Problem("reload", f"the new list of peers was refused: {error}"))
        return self._pump(now)

    def checked(self, error: str | None, now: float) -> list[Effect]:
        """A peer of a list that was refused was checked alone: is it the one?"""
        if peer := self._reload.checked(error):
            self._settle_neighbors(now)
            one = self.lacking[peer]
            text = f"peer {one.neighbor.name or peer}: {one.why.explain()}"
            self._effects.append(Problem("neighbor-refused", text, peer))
        return self._pump(now)

    def unwritten(self, generation: int, error: str, now: float) -> list[Effect]:
        """There was no room for the file: nobody in the list is to blame. install_again() follows."""
        self._reload.unwritten(generation)
        self._go_on()
        self._effects.append(Problem("reload", error))
        return self._pump(now)

    def install_again(self, now: float) -> list[Effect]:
        """What kept the file from its place may be over."""
        self._reload.want(self._reload.asked)
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
            session.cease_told = False
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

    @property
    def configured(self) -> Sequence[Neighbor]:
        """As asked for: what they lacked is not told."""
        return tuple(self._asked.values())

    @property
    def reloading(self) -> bool:
        return self._reload.busy

    # What goes out

    def _pump(self, now: float) -> list[Effect]:
        if not self._closing:
            self._step(now)
        if self._connected:
            for peer, session in self.sessions.items():
                held = self._reload.exclusive or self._unanswered(peer)
                if session.cease and not session.cease_told:
                    session.cease_told = True
                    self._write([wire.cease(session.neighbor, session.cease)], [])
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
        # Without graceful restart the end of the session takes all routes with it.
        leaving = {p for p in self._reload.leaving if p in self.sessions and self.sessions[p].graceful}
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
            case "check":
                self._effects.append(Check(self._reload.suspect))
            case "reload":
                self._adopt(self._reload.moving, now)
                gone = self._reload.running.keys() & self.farewells.keys() - self._reload.moving.keys()
                said = [wire.farewell(self._reload.running[key], self.farewells[key]) for key in sorted(gone)]
                self._write([*said, wire.RELOAD], [Pending("reload", now)])
            case "show":
                self._write([wire.SHOW_CONFIGURATION], [Pending("show", now)])
            case "restart":
                self._effects.append(RestartChild("it does not take the new list of peers"))
            case None:
                pass
            case _:
                assert_never(step)

    def _quiet(self) -> bool:
        leaving = (e for p in self._leaving for e in self.routes.get(p, {}).values())
        up = {p for p, s in self.sessions.items() if s.up}
        return not any(e.told for e in leaving if e.key[0] in up) and not any(k[0] in up for k in self._owing)

    def _send_routes(self, now: float) -> None:
        groups: Groups = {}
        share = max(LEAST, WINDOW // max(1, len(self._dirty.keys() | self._commanded.keys())))
        for peer in tuple(self._dirty):
            self._choose(peer, share, groups, now)
        for (peer, _, goal, _), members in groups.items():
            neighbor, local = self.sessions[peer].neighbor, self.sessions[peer].local
            for start in range(0, len(members), LINE):
                part = members[start : start + LINE]
                names = [e.key[1] for e in part]
                text = (
                    wire.withdraw(neighbor, names)
                    if goal is None
                    else wire.announce(neighbor, goal, names, local)
                )
                outs = [(e, e.out) for e in part if e.out is not None]
                self._write([text], [Pending("routes", now, peer, outs)])

    def _choose(self, peer: str, share: int, groups: Groups, now: float) -> None:
        """What one session is told next. Each has a share: a router that reads nothing holds up no other."""
        if self._reload.busy and peer not in self._leaving:
            self._held.update(self._dirty.pop(peer))
            return
        dirty, commanded = self._dirty[peer], self._commanded.setdefault(peer, set())
        if len(commanded) > share // 2 and len(dirty) > share - len(commanded):
            return  # a full window is refilled in large pieces: grouped prefixes cost a third of single ones
        while dirty and len(commanded) < share:
            key = next(iter(dirty))
            del dirty[key]
            entry = self.routes[peer].get(key[1])
            if entry is None or not self._due(entry, self.sessions.get(peer), now):
                continue
            goal = self._goal(entry)
            self._await(entry, Outstanding(goal, now))
            commanded.add(key)
            lone = len(groups) if entry.alone else -1
            groups.setdefault((peer, entry.afi, goal, lone), []).append(entry)
        if not dirty:
            del self._dirty[peer]
        if not commanded:
            del self._commanded[peer]

    def _due(self, entry: Entry, session: Session | None, now: float) -> bool:
        """Is a command for this prefix due now? Forgets what nobody wants and nobody holds."""
        goal = self._goal(entry)
        if entry.wanted is None and entry.idle:
            del self.routes[entry.key[0]][entry.key[1]]
            if session is not None:
                session.replay.discard(entry.key)
            return False
        if entry.out is not None or entry.error or session is None or session.resyncing:
            return False
        if entry.afi not in session.families:
            return False
        if not session.up:
            return goal is None and entry.told is not None
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
            wire.check_next_hop(session.neighbor, entry.key[1], goal, extended=session.extended_next_hop)
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
