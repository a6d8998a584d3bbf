"""The reflex process: one loop over the edges of L2 and BFD and the socket of those who ask for them.
Standard library only, about 16 MiB.

In:  reflex.sock: what to answer for, and which routers to watch (messages.py). While nobody is there, the
     last that was said stays in force.
Out: frames, through l2/edge.py and bfd/edge.py; to the agent what it came to own and lost, {"state": …} on
     changes and on asking; to the parent {"bfd": …}.
Elsewhere: scheduling class in realtime.py; capabilities in privileges.py; the agent's side in client.py;
     BFD's in detecting.py; the words of what is said, report.py.

No line and no answer takes longer than a few milliseconds, and frames are looked at after each: a list of
10,000 addresses must not cost this node its place among the living.
"""

import gc
import os
import re
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from metalbgp import logs
from metalbgp.clocks import clock
from metalbgp.l2.edge import Edge, text
from metalbgp.l2.links import EXCLUDED, excluded
from metalbgp.l2.members import FAST, SLOW
from metalbgp.l2.probing import Question
from metalbgp.reflex import messages, privileges, realtime, report
from metalbgp.reflex.connection import Connection
from metalbgp.reflex.detecting import Detecting
from metalbgp.reflex.sessions import Sessions

FUSE: Final = 200_000  # µs of CPU without blocking once: a loop gone wrong would eat its core for ever
WINDOW: Final = 0.01  # seconds over which the share of a core is measured
SHARE: Final = 0.5  # of a core, at most: a flood must not take it from everybody else, nor blow the fuse
TELL_EVERY: Final = 0.25  # states to the agent at most so often: one of 1,000 addresses takes milliseconds
CONNECTIONS: Final = 16
HANDOVER: Final = 0.08  # seconds that the others have to take note of our leaving


class Process:
    """The loop and its two kinds of work: frames first, then lines."""

    def __init__(self, path: Path, granted: str, exclude: re.Pattern[str]) -> None:
        self._granted = granted
        steady = granted in (realtime.FIFO, realtime.DEADLINE)
        self._edge = Edge(exclude, FAST if steady else SLOW)
        self._detecting = Detecting(steady=steady)
        self._poll = select.epoll()
        self._listener = _listen(path)
        self._path = path
        self._connections: dict[int, Connection] = {}
        self._agent: int | None = None  # the connection that last said who we are
        self._wants: set[bytes] | None = None  # fenced addresses that the agent was told we would answer for
        self._refused: tuple[str, ...] = ()
        self._leaving = False
        self._tell_at: float | None = None
        self._told_at = 0.0
        self._window = time.monotonic(), time.process_time()
        self._alarm = _signals()
        for each in (self._edge, self._detecting.edge, self._listener, self._alarm):
            self._poll.register(each.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Until SIGTERM, and until then that others know that we go."""
        edge = self._edge.fileno()
        edges = edge, self._detecting.edge.fileno()
        while not self._gone():
            ready = dict(self._wait())
            self._detecting.run()
            if edge in ready or clock() >= self._edge.deadline:
                self._edge_ran(self._edge.run())
            for descriptor, event in ready.items():
                if descriptor not in edges:
                    self._serve(descriptor, event)
            for descriptor in [each for each, one in self._connections.items() if one.busy]:
                self._work(descriptor)
            self._tell_news()
            if self._tell_at is not None and clock() >= self._tell_at:
                self._tell()
        self._edge.close()
        self._detecting.edge.close()
        self._path.unlink(missing_ok=True)

    def _gone(self) -> bool:
        """Whether those who listen to us know that we go."""
        if not self._leaving:
            return False
        return self._edge.members.gone(clock(), HANDOVER) and self._detecting.edge.gone

    def _wait(self) -> list[tuple[int, int]]:
        """Sleep until something is to do."""
        now = time.monotonic()
        if now - self._window[0] > WINDOW:
            self._breathe(now)
        if any(each.busy for each in self._connections.values()):
            return self._poll.poll(0)
        due = min(self._edge.deadline, self._detecting.edge.deadline)
        if self._tell_at is not None:
            due = min(due, self._tell_at)
        if self._leaving:
            due = min(due, clock() + 0.005)
        return self._poll.poll(max(0.0, due - clock()))

    def _breathe(self, now: float) -> None:
        """Whoever used more than the share sleeps until it was no more than that."""
        used = time.process_time()
        rest = (used - self._window[1]) / SHARE - (now - self._window[0])
        if rest > 0:
            select.select([], [], [], min(rest, WINDOW))
            now = time.monotonic()
        self._window = now, used

    def _edge_ran(self, changed: bool) -> None:
        if changed and self._tell_at is None:
            self._tell_at = max(clock(), self._told_at + TELL_EVERY)

    def _tell(self) -> None:
        self._tell_at, self._told_at = None, clock()
        if self._agent is not None:
            self._send(self._agent, {"state": self._state()})

    def _tell_news(self) -> None:
        """Who owns what is told at once; without an agent it is told when there is one."""
        if (told := self._detecting.news()) and self._detecting.client is not None:
            self._send(self._detecting.client, told)
        ownership = self._edge.ownership
        if self._agent is None or self._connections[self._agent].named is not None:
            ownership.news.clear()  # an agent that comes hears of all that is owned
            return
        if ownership.news:
            for message in report.news(self._edge):
                if self._agent is not None:
                    self._send(self._agent, message)
        if ownership.wants != self._wants and self._agent is not None:
            self._wants = set(ownership.wants)
            self._send(self._agent, {"wants": sorted(text(each) for each in self._wants)})

    # Lines

    def _serve(self, descriptor: int, event: int) -> None:
        if descriptor == self._alarm.fileno():
            self._alarm.recv(64)
            if not self._leaving:
                logs.log("reflex-leaving", owned=len(self._edge.ownership.owned))
                self._detecting.edge.leave()  # first of all: a router is to know before anything else is gone
            self._leaving = True
            self._edge.members.leave(clock())
        elif descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._connections:
            if event & select.EPOLLOUT:
                self._flush(descriptor)
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read(descriptor)

    def _accept(self) -> None:
        try:
            channel, _ = self._listener.accept()
        except OSError:
            return
        channel.setblocking(False)
        if len(self._connections) >= CONNECTIONS:
            channel.close()
            return
        self._connections[channel.fileno()] = Connection(channel)
        self._poll.register(channel.fileno(), select.EPOLLIN)

    def _read(self, descriptor: int) -> None:
        connection = self._connections.get(descriptor)
        if connection is not None and not connection.read():
            while connection.lines and descriptor in self._connections:
                self._obey(descriptor, messages.decode(connection.lines.popleft()))
            if descriptor in self._connections:
                self._close(descriptor)

    def _work(self, descriptor: int) -> None:
        """One line in, or one out."""
        connection = self._connections[descriptor]
        if connection.answers and len(connection.waiting) < messages.LONGEST:
            message = next(connection.answers[0], None)
            if message is None:
                connection.answers.popleft()
            else:
                self._send(descriptor, message)
        elif connection.lines:
            self._obey(descriptor, messages.decode(connection.lines.popleft()))

    def _obey(self, descriptor: int, message: messages.Message) -> None:
        now, ownership = clock(), self._edge.ownership
        if isinstance(message, messages.Problem):
            logs.warn("reflex-message", problem=message.text)
            self._send(descriptor, {"problem": message.text})
        elif isinstance(message, messages.Ask):
            self._connections[descriptor].answers.append(self._answer())
        elif isinstance(message, Sessions):
            self._watch_routers(descriptor, message)
        elif isinstance(message, messages.Identity):
            self._identify(descriptor, message)
        elif descriptor != self._agent:  # another agent took over, or this one never said who we are
            self._send(descriptor, {"problem": "say the identity first"})
        elif isinstance(message, messages.Change):
            self._change(self._connections[descriptor], message)
        elif isinstance(message, messages.Full):
            self._full(descriptor)
        elif isinstance(message, messages.Probes):
            ownership.set_probes({address: Question(*one) for address, one in message.probes.items()}, now)
            self._obeyed(message.refused)
        elif isinstance(message, messages.Fence):
            ownership.fence(message.until)
            self._send(descriptor, {"fenced": len(message.until)})  # so that the agent knows that we live
            self._obeyed(message.refused)
        elif isinstance(message, messages.Exclude):
            self._edge.exclude(excluded(message.patterns))
            self._obeyed(message.refused)

    def _watch_routers(self, descriptor: int, message: Sessions) -> None:
        if self._leaving:
            return
        for problem in message.problems:
            logs.warn("reflex-message", problem=problem)
            self._send(descriptor, {"problem": problem})
        if descriptor in self._connections:
            self._send(descriptor, self._detecting.obey(descriptor, message))

    def _identify(self, descriptor: int, message: messages.Identity) -> None:
        now, members = clock(), self._edge.members
        if self._agent != descriptor:
            logs.log("agent-here", node=message.node, before=len(self._edge.ownership.duties))
            self._agent, self._wants, self._refused = descriptor, None, ()
        self._edge.beating.keys.set(message.keys, now)
        members.identify(message.node, bool(message.keys), now)
        self._obeyed(message.refused)

    def _change(self, connection: Connection, message: messages.Change) -> None:
        ownership = self._edge.ownership
        ownership.remove(message.remove)
        ownership.add(message.add, clock())
        if connection.named is not None:
            connection.named.difference_update(message.remove)
            connection.named.update(message.add)
        self._obeyed(message.refused)

    def _full(self, descriptor: int) -> None:
        """What an agent before this one asked for, and this one does not, goes; then it hears what we own."""
        connection, ownership = self._connections[descriptor], self._edge.ownership
        if connection.named is not None:
            ownership.remove([each for each in ownership.duties if each not in (connection.named or ())])
            connection.named = None
        ownership.step(clock())
        ownership.news.clear()
        connection.answers.append(self._owned())
        self._obeyed(())

    def _owned(self) -> Iterator[dict[str, Any]]:
        ownership, to_wall = self._edge.ownership, time.time() - clock()
        waiting = iter(tuple(ownership.owned.items()))
        while part := tuple(islice(waiting, report.CHUNK)):
            still = [(each, one) for each, one in part if each in ownership.owned]
            yield {
                "gained": [
                    report.gained(each, one.since + to_wall, one.took, one.cause) for each, one in still
                ]
            }

    def _obeyed(self, refused: tuple[str, ...]) -> None:
        if refused:
            self._refused = (*self._refused, *refused)[-16:]
            logs.warn("duties-refused", refused=list(refused[:16]))
        self._edge_ran(changed=True)

    def _send(self, descriptor: int, message: dict[str, Any]) -> None:
        connection = self._connections[descriptor]
        if connection.send(messages.encode(message)):
            self._watch(descriptor)
        else:
            self._close(descriptor)

    def _flush(self, descriptor: int) -> None:
        if self._connections[descriptor].send(b""):
            self._watch(descriptor)

    def _watch(self, descriptor: int) -> None:
        waiting = select.EPOLLOUT if self._connections[descriptor].waiting else 0
        self._poll.modify(descriptor, select.EPOLLIN | waiting)

    def _close(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._connections.pop(descriptor).channel.close()
        self._detecting.closed(descriptor)
        if self._agent == descriptor:
            self._agent = None
            logs.warn("agent-gone", duties=len(self._edge.ownership.duties))

    def _answer(self) -> Iterator[dict[str, Any]]:
        """All addresses, then the state: what was said before is done first, so an answer proves it."""
        while True:
            self._edge_ran(self._edge.run())
            if not self._edge.ownership.pending:
                break
            yield {}
        yield from report.addresses(self._edge)
        yield {"state": self._state(), "asked": True}

    def _state(self) -> dict[str, Any]:
        self._edge_ran(self._edge.run())
        return report.state(self._edge, self._granted, self._refused) | self._detecting.state()


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(CONNECTIONS)
    listener.setblocking(False)
    return listener


def _signals() -> socket.socket:
    """Readable after SIGTERM and SIGINT: poll() alone would be resumed after them (PEP 475)."""
    wakes, alarm = socket.socketpair()
    for end in (wakes, alarm):
        end.setblocking(False)
    signal.set_wakeup_fd(wakes.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return alarm


def main(granted: str) -> None:
    """Run; `granted` is what realtime.take() got. Environment: METALBGP_RUN, METALBGP_L2_EXCLUDE."""
    logs.setup("reflex", os.environ.get("METALBGP_LOG_LEVEL", "info"))
    privileges.drop()
    patterns = os.environ.get("METALBGP_L2_EXCLUDE")
    exclude = excluded(EXCLUDED if patterns is None else tuple(patterns.split()))
    path = Path(os.environ.get("METALBGP_RUN", "/run/metalbgp")) / "reflex.sock"
    process = Process(path, granted, exclude)
    resource.setrlimit(resource.RLIMIT_RTTIME, (FUSE, resource.RLIM_INFINITY))
    gc.collect()
    gc.freeze()
    logs.log("reflex-ready", realtime=granted, socket=str(path))
    process.run()
    logs.log("reflex-stopped")
