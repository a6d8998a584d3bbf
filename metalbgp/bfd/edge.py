"""The sockets of BFD, and which session a datagram belongs to.

In:  run() when fileno() is readable or `deadline` has come; change() says which sessions are wanted.
Out: packets on the wire; told() what changed since it was called last, rows() everything.
Elsewhere: what a session does is machine.py; socket options sockets.py; words report.py.

Nobody is judged by a queue that was not read: a session's silence ends where reading has come to.
"""

import errno
import os
import random
import select
import socket
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from metalbgp import logs
from metalbgp.bfd import report, sockets, wire
from metalbgp.bfd.live import Live
from metalbgp.bfd.machine import Parameters, Session
from metalbgp.bfd.receiver import Receiver
from metalbgp.bfd.sockets import Datagram
from metalbgp.bfd.values import Floor, Wanted
from metalbgp.bfd.wire import Drop
from metalbgp.clocks import clock

RETRY: Final = 1.0  # seconds between two tries to have a port that somebody else holds
_MS: Final = 1000  # µs


class Edge:
    """All sessions of this node."""

    def __init__(self, floor: Floor) -> None:
        self.drops: Counter[str] = Counter()
        self.send_errors = 0
        self._floor = floor
        self._lives: dict[str, Live] = {}
        self._leaving: list[Live] = []
        self._by_discriminator: dict[int, Live] = {}
        self._receivers: dict[tuple[socket.AddressFamily, bool], Receiver] = {}
        self._problems: dict[tuple[socket.AddressFamily, bool], OSError] = {}
        self._again = 0.0  # when to try for those
        self._epoll = select.epoll()
        self._planned = clock()  # when run() was due

    def fileno(self) -> int:
        """Readable when run() has something to read."""
        return self._epoll.fileno()

    @property
    def readable(self) -> bool:
        return bool(self._epoll.poll(0))

    @property
    def deadline(self) -> float:
        """When run() is due, on clock(), even if nothing is readable."""
        return self._planned

    def __len__(self) -> int:
        return len(self._lives)

    def change(self, wanted: Iterable[Wanted], keep: frozenset[str] = frozenset()) -> None:
        """These sessions and no others; `keep`: as they are, because what was said of them is unreadable."""
        now, asked = clock(), {each.key: each for each in wanted}
        for key in [key for key in self._lives if key not in asked and key not in keep]:
            self._end(key, now)
        for key, one in asked.items():
            live = self._lives.get(key)
            if live is not None and live.wanted.place != one.place:
                self._end(key, now)
                live = None
            offered = self._floor.offer(one)
            if live is None:
                self._begin(one, offered, now)
            elif live.wanted != one:
                live.wanted, live.offered = one, offered
                live.session.change(_parameters(offered), now)
                live.due, live.stirred = now, True
        self._listen(now)
        self._planned = now

    def leave(self) -> None:
        """AdminDown at once on every session; gone when it was said often enough."""
        now = clock()
        for key in tuple(self._lives):
            self._end(key, now)
        self._planned = now
        self.run()

    @property
    def gone(self) -> bool:
        return not self._lives and not self._leaving

    def run(self) -> None:
        """Read what came, judge and send what is due."""
        asked = clock()
        late = asked - self._planned
        ready = {descriptor for descriptor, _ in self._epoll.poll(0)}
        for receiver in self._receivers.values():
            if receiver.socket.fileno() in ready:
                self._read(receiver)
            else:
                receiver.nothing(asked)
            receiver.calm(asked)
        now = clock()
        if self._problems and now >= self._again:
            self._listen(now)
        for live in (*self._lives.values(), *self._leaving):
            if now >= live.due:
                self._turn(live, now, late)
        self._plan()

    def close(self) -> None:
        for live in (*self._lives.values(), *self._leaving):
            if live.sender is not None:
                live.sender.close()
        for receiver in self._receivers.values():
            receiver.socket.close()
        self._epoll.close()

    @property
    def refused(self) -> int:
        """Datagrams that the kernel kept out of our queues."""
        return sum(receiver.refused for receiver in self._receivers.values())

    # What is told

    def told(self) -> dict[str, Any]:
        """By key, the rows that changed since this was called. A failure is told once: whoever acts on it
        must not do so again because a word of the row changed."""
        changed: dict[str, Any] = {}
        for key in [key for key, live in self._lives.items() if live.stirred]:
            live = self._lives[key]
            live.stirred, row = False, self._row(live)
            if row != live.told:
                changed[key], live.told = row, row | {"failed": False}
                live.failed = False
        return changed

    def rows(self) -> dict[str, Any]:
        return {key: self._row(live) for key, live in self._lives.items()}

    def _row(self, live: Live) -> dict[str, Any]:
        return report.row(live, self._problems.get(live.port_of), self._floor)

    # Sessions

    def _begin(self, wanted: Wanted, offered: Wanted, now: float) -> None:
        for old in [one for one in self._leaving if one.wanted.place[0] == wanted.peer]:
            self._turn(old, now, 0.0)  # one goodbye at least; more would be taken for the new session's
            self._forget(old)
        session = Session(_parameters(offered), self._fresh_discriminator(), now, random.random)
        live = Live(wanted, offered, session)
        self._lives[wanted.key] = self._by_discriminator[session.discriminator] = live
        self._open(live)

    def _fresh_discriminator(self) -> int:
        found = 0
        while not found or found in self._by_discriminator:
            found = int.from_bytes(os.urandom(4), "big")
        return found

    def _end(self, key: str, now: float) -> None:
        live = self._lives.pop(key)
        live.session.end(now)
        live.due = now
        self._leaving.append(live)

    def _forget(self, live: Live) -> None:
        self._leaving.remove(live)
        del self._by_discriminator[live.session.discriminator]
        if live.sender is not None:
            live.sender.close()

    def _turn(self, live: Live, now: float, late: float) -> None:
        session, before, live.stirred = live.session, live.session.state, True
        receiver = self._receivers.get(live.port_of)
        heard = min(now, receiver.heard) if receiver is not None else now
        if late > session.receive * 1e-6:
            session.spare(now + session.receive * 1e-6)
        for packet in session.wake(now, heard):
            self._send(live, wire.encode(packet))
        live.due = session.deadline
        if session.state is not before:
            self._changed(live)
        if session.over:
            self._forget(live)

    def _changed(self, live: Live) -> None:
        session = live.session
        live.since = time.time()
        live.failed |= session.failed
        say = logs.warn if session.failed else logs.log
        why = wire.DIAGNOSTICS.get(session.diagnostic, "") if session.diagnostic else ""
        say("bfd", peer=live.wanted.key, state=session.state.word, why=why)

    def _plan(self) -> None:
        due = [live.due for live in (*self._lives.values(), *self._leaving)]
        if self._problems:
            due.append(self._again)
        self._planned = min(due, default=float("inf"))

    # Receiving

    def _listen(self, now: float) -> None:
        """A socket for every port and family that a session needs, and no other."""
        problems = dict(self._problems)
        needed = {live.port_of for live in self._lives.values()}
        kept = needed | {live.port_of for live in self._leaving}
        for which in [which for which in self._receivers if which not in kept]:
            gone = self._receivers.pop(which).socket
            self._epoll.unregister(gone.fileno())
            gone.close()
        self._problems = {which: why for which, why in self._problems.items() if which in needed}
        for which in needed - self._receivers.keys():
            try:
                self._receivers[which] = fresh = Receiver(which[0], multihop=which[1], now=now)
            except OSError as problem:
                if which not in self._problems:
                    logs.warn("bfd-port", port=sockets.port_of(multihop=which[1]), error=problem.strerror)
                self._problems[which], self._again = problem, now + RETRY
            else:
                self._problems.pop(which, None)
                self._epoll.register(fresh.socket.fileno(), select.EPOLLIN)
        for live in self._lives.values() if problems != self._problems else ():
            live.stirred = True
        for which, receiver in self._receivers.items():
            here = [live for live in self._lives.values() if live.port_of == which]
            receiver.expect({live.session.discriminator: live.peer for live in here}, now)

    def _read(self, receiver: Receiver) -> None:
        for datagram, at in receiver.read():
            dropped = self._take(receiver, datagram, at)
            if dropped is not None:
                self.drops[str(dropped)] += 1
                receiver.useless(at)

    def _take(self, receiver: Receiver, datagram: Datagram, at: float) -> Drop | None:
        packet = wire.decode(datagram.payload)
        if isinstance(packet, Drop):
            live = self._sent_by(receiver, datagram)
        elif packet.yours:
            live = self._by_discriminator.get(packet.yours)
            if live is None or not live.takes(datagram) or live.wanted.multihop != receiver.multihop:
                return Drop.DISCRIMINATOR
        else:
            live = self._sent_by(receiver, datagram)
        if live is None:
            return Drop.STRANGER
        if not live.near(datagram.ttl):
            packet = Drop.TTL
        live.stirred = True
        if isinstance(packet, Drop):
            live.refused, live.ttl = packet, datagram.ttl
            return packet
        before = live.session.state
        live.refused = None
        if isinstance(live.problem, ConnectionRefusedError):
            live.problem = None
        live.session.receive_packet(packet, at, clock())
        live.due = live.session.deadline
        if live.session.state is not before:
            self._changed(live)
        return None

    def _sent_by(self, receiver: Receiver, datagram: Datagram) -> Live | None:
        for live in self._lives.values():
            if live.wanted.multihop == receiver.multihop and live.takes(datagram):
                return live
        return None

    # Sending

    def _open(self, live: Live) -> None:
        try:
            live.sender = sockets.sender(live.wanted, live.port)
        except OSError as problem:
            live.problem = problem
        else:
            live.address, live.port = live.sender.getsockname()[:2]
            live.address = live.address.partition("%")[0]
            live.problem = None

    def _send(self, live: Live, payload: bytes) -> None:
        """What cannot be sent is lost, and the next one tried with a new socket: an interface or an address
        may have come back."""
        if live.sender is None:
            self._open(live)
        if live.sender is None:
            self.send_errors += 1
            return
        try:
            self._write(live, live.sender, payload)
        except (BlockingIOError, ConnectionRefusedError) as problem:
            live.problem = problem
        except OSError as problem:
            self.send_errors += 1
            live.problem = problem
            if problem.errno != errno.ENOBUFS:
                live.sender.close()
                live.sender = None

    @staticmethod
    def _write(live: Live, through: socket.socket, payload: bytes) -> None:
        """A refusal tells of the packet before, and keeps this one from going."""
        try:
            through.send(payload)
        except ConnectionRefusedError:
            with suppress(ConnectionRefusedError):
                through.send(payload)
            raise
        if not isinstance(live.problem, ConnectionRefusedError):  # that one ends when something is heard
            live.problem = None


def _parameters(offered: Wanted) -> Parameters:
    return Parameters(
        offered.receive * _MS, offered.transmit * _MS, offered.multiplier, passive=offered.passive
    )
