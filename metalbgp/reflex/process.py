"""The reflex process: one loop over L2's edge and the agents' socket. Standard library only, about 16 MiB.

In:  reflex.sock: what to answer for (messages.py). While no agent is there, the last it said stays in force.
Out: frames, through l2/edge.py; {"state": …} to the agent when interfaces or conflicts change, and on asking.
Elsewhere: scheduling class in realtime.py; capabilities in privileges.py; the agent's side in client.py.
"""

import gc
import os
import re
import resource
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any, Final

from metalbgp import logs
from metalbgp.l2.edge import Edge, text
from metalbgp.l2.links import EXCLUDED, excluded
from metalbgp.l2.probing import Question
from metalbgp.reflex import messages, privileges

FUSE: Final = 200_000  # µs of CPU without blocking once: a loop gone wrong would eat its core for ever
WINDOW: Final = 0.01  # seconds over which the share of a core is measured
SHARE: Final = 0.5  # of a core, at most: a flood must not take it from everybody else, nor blow the fuse
TELL_EVERY: Final = 0.25  # states to the agent at most so often: one of 1,000 addresses takes milliseconds
CONNECTIONS: Final = 16


class Connection:
    """One agent, or somebody who asks."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.received = b""
        self.waiting = b""

    def lines(self) -> list[bytes] | None:
        """The whole lines that came; None at the end, or when a line is longer than any message."""
        try:
            received = self.channel.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        *lines, self.received = (self.received + received).split(b"\n")
        return lines if received and len(self.received) <= messages.LONGEST else None

    def send(self, line: bytes) -> bool:
        """Send or keep; False when the other side does not read any more."""
        self.waiting += line
        try:
            self.waiting = self.waiting[self.channel.send(self.waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return len(self.waiting) <= 4 * messages.LONGEST


class Process:
    """The loop and its two kinds of work: frames first, then lines."""

    def __init__(self, path: Path, granted: str, exclude: re.Pattern[str]) -> None:
        self._granted = granted
        self._edge = Edge(exclude)
        self._poll = select.epoll()
        self._listener = _listen(path)
        self._path = path
        self._connections: dict[int, Connection] = {}
        self._agent: int | None = None  # the connection that last sent the full set
        self._refused: tuple[str, ...] = ()
        self._stopping = False
        self._tell_at: float | None = None
        self._told_at = 0.0
        self._window = time.monotonic(), time.process_time()
        self._alarm = _signals()
        for descriptor in (self._edge.fileno(), self._listener.fileno(), self._alarm.fileno()):
            self._poll.register(descriptor, select.EPOLLIN)

    def run(self) -> None:
        """Until SIGTERM."""
        edge = self._edge.fileno()
        while not self._stopping:
            ready = dict(self._wait())
            if edge in ready or time.monotonic() >= self._edge.deadline:
                self._edge_ran(self._edge.run())
            for descriptor, event in ready.items():
                if descriptor != edge:
                    self._serve(descriptor, event)
            if self._tell_at is not None and time.monotonic() >= self._tell_at:
                self._tell()
        self._edge.close()
        self._path.unlink(missing_ok=True)

    def _wait(self) -> list[tuple[int, int]]:
        """Sleep until something is to do."""
        now = time.monotonic()
        if now - self._window[0] > WINDOW:
            self._breathe(now)
            now = time.monotonic()
        due = self._edge.deadline if self._tell_at is None else min(self._edge.deadline, self._tell_at)
        return self._poll.poll(max(0.0, due - now))

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
            self._tell_at = max(time.monotonic(), self._told_at + TELL_EVERY)

    def _tell(self) -> None:
        self._tell_at, self._told_at = None, time.monotonic()
        if self._agent is not None:
            self._send(self._agent, {"state": self._state()})

    # Lines

    def _serve(self, descriptor: int, event: int) -> None:
        if descriptor == self._alarm.fileno():
            self._stopping = bool(self._alarm.recv(64))
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
        lines = self._connections[descriptor].lines()
        if lines is None:
            self._close(descriptor)
            return
        for line in lines:
            if descriptor in self._connections:
                self._obey(descriptor, messages.decode(line))

    def _obey(self, descriptor: int, message: messages.Message) -> None:
        machine, now = self._edge.machine, time.monotonic()
        if isinstance(message, messages.Problem):
            logs.warn("reflex-message", problem=message.text)
            self._send(descriptor, {"problem": message.text})
        elif isinstance(message, messages.Ask):
            self._send(descriptor, {"state": self._state(), "asked": True})
        elif isinstance(message, messages.Duties):
            if self._agent != descriptor:
                logs.log("agent-here", duties=len(message.duties), before=len(machine.duties))
            self._agent = descriptor
            machine.set_duties(message.duties, now)
            self._obeyed(message.refused)
        elif descriptor == self._agent and isinstance(message, messages.Probes):
            machine.set_probes({address: Question(*one) for address, one in message.probes.items()}, now)
            self._obeyed(message.refused)
        elif descriptor == self._agent and isinstance(message, messages.Change):
            machine.change(message.add, message.remove, now)
            self._obeyed(message.refused)
        else:  # another agent took over, or this one never said what its change is a change of
            self._send(descriptor, {"problem": "send all duties first"})

    def _obeyed(self, refused: tuple[str, ...]) -> None:
        self._refused = refused[:16]
        if refused:
            logs.warn("duties-refused", refused=list(self._refused))
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
        if self._agent == descriptor:
            self._agent = None
            logs.warn("agent-gone", duties=len(self._edge.machine.duties))

    def _state(self) -> dict[str, Any]:
        """What is in force: what was said before is done first, so an answer proves it."""
        self._edge_ran(self._edge.run())
        machine, now = self._edge.machine, time.monotonic()
        return {
            "realtime": self._granted,
            "interfaces": sorted(machine.interfaces),
            "conflicts": [
                {
                    "address": text(conflict.address),
                    "interface": conflict.interface,
                    "mac": conflict.mac.hex(":"),
                    "seen": sighting.times,
                    "ago": round(now - sighting.last, 3),
                }
                for conflict, sighting in machine.conflicts.items()
            ],
            "counters": {
                text(address): {
                    "requests": count.requests,
                    "replies": count.replies,
                    "gratuitous": count.gratuitous,
                    "interfaces": machine.holding(address),
                }
                for address, count in machine.counts.items()
            },
            "probes": [
                {
                    "address": text(address),
                    "token": probe.question.token,
                    "done": probe.done,
                    "interface": probe.answer[0] if probe.answer else "",
                    "mac": probe.answer[1].hex(":") if probe.answer else "",
                    "failed": probe.failed,
                }
                for address, probe in machine.probing.probes.items()
            ],
            "dropped": {reason.value: count for reason, count in machine.drops.items()},
            "send_errors": self._edge.send_errors,
            "problems": [*self._refused, *(f"{what}: {why}" for what, why in self._edge.problems.items())],
        }


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
