"""The ExaBGP child: its process, its file, its log, and the socket over which its helper speaks.

In:  effects of machine.py; the runtime directory.
Out: lines and happenings to machine.py; reports to the owner (parent.py).
Elsewhere: what to say is machine.py; the rights of the process are processes.py.

It always reads: an unread helper blocks ExaBGP's only thread, and its sessions die at hold time. Writing
never blocks us: what the socket does not take waits here.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, assert_never

from metalbgp import logs, processes
from metalbgp.bgp import wire
from metalbgp.bgp.config_file import refusal, render
from metalbgp.bgp.effects import AskAgain, Check, Effect, Install, Problem, RestartChild, Write
from metalbgp.bgp.knock import Knocker
from metalbgp.bgp.machine import Machine
from metalbgp.bgp.seek import Seeker
from metalbgp.bgp.values import Found, Neighbor
from metalbgp.lines import Lines
from metalbgp.loop import Loop
from metalbgp.model.reasons import PeersNotWritten, Reason

STOP_LIMIT: Final = 3.0  # seconds from SIGTERM to SIGKILL
IMAGE: Final = Path("/opt/metalbgp/exabgp-conf")
LONGEST_LINE: Final = 16 * 1024 * 1024
BACKOFF_FIRST: Final = 0.05  # seconds before the respawn; doubled for a child that does not live long
BACKOFF_LAST: Final = 20.0
WRITE_AGAIN: Final = 10.0  # seconds after which a file is tried again that could not be written
HEALTHY: Final = 30.0  # seconds of life after which the backoff starts again

ENVIRONMENT: Final = {
    "exabgp.daemon.user": "root",  # as nobody it could not read its file again, and PDEATHSIG would be lost
    "exabgp.daemon.daemonize": "false",
    "exabgp.log.destination": "stderr",
    "exabgp.log.level": "WARNING",
    "exabgp.log.short": "true",
    "exabgp.api.cli": "false",
    "exabgp.api.ack": "true",
    "exabgp.reactor.speed": "5",  # 0.5% of a core idle instead of 1.9%, the same latencies
}
INHERITED: Final = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")


def configuration_directory() -> Path:
    """Where launch.py and helper.py are: METALBGP_EXABGP_CONF, else beside the package, else in the image."""
    if named := os.environ.get("METALBGP_EXABGP_CONF"):
        return Path(named)
    beside = Path(__file__).resolve().parents[2] / "exabgp-conf"
    return beside if beside.is_dir() else IMAGE


class Edge:
    """Runs the child for as long as it is not told to stop."""

    def __init__(self, loop: Loop, run: Path, report: Callable[[Effect], None]) -> None:
        self._loop = loop
        self._report = report
        self._file = run / "exabgp.conf"
        self._socket = run / "exabgp.sock"
        scripts = configuration_directory()
        self._launch = [sys.executable, str(scripts / "launch.py")]
        self._helper = f"{sys.executable} -I -S {scripts / 'helper.py'} {self._socket}"
        self.machine = Machine(self._helper)
        self._env = {k: os.environ[k] for k in INHERITED if k in os.environ} | ENVIRONMENT
        self.pid = 0
        self.started = 0.0
        self._greeted = 0  # pid of the child whose first helper has come
        self._backoff = BACKOFF_FIRST
        self._stopping = False
        self._stopped: Callable[[], None] | None = None
        self._link: Lines | None = None
        self._validating: dict[int, Install | Check] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._knocker = Knocker(
            loop, lambda: () if self._stopping else self.machine.unexplained(loop.now()), self._explained
        )
        self._seeker = Seeker(loop, lambda: () if self._stopping else self.machine.seeking, self._found)

    def start(self) -> None:
        with suppress(FileNotFoundError):
            self._socket.unlink()
        self._listener.bind(str(self._socket))
        self._socket.chmod(0o600)
        self._listener.listen(4)
        self._listener.setblocking(False)
        self._loop.watch(self._listener, self._accept)
        self._begin()
        self._knocker.start()
        self._seeker.start()

    def _begin(self) -> None:
        """The first child needs a file; while there is no room for one, L2 and whoever asks go on."""
        try:
            self._write_file(self._file, render((), self._helper, 0))
        except OSError as error:
            self._report(Problem("child", _unwritten(self._file, error, runs=False)))
            self._loop.after(WRITE_AGAIN, self._begin)
        else:
            self._spawn()

    def neighbors(self, wanted: Iterable[Neighbor]) -> None:
        """The full list of sessions."""
        self.do(self.machine.neighbors(wanted, self._loop.now()))
        self._seeker.look()

    def _explained(self, peer: str, why: Reason) -> None:
        self.do(self.machine.explained(peer, why, self._loop.now()))

    def _found(self, peer: str, found: Found) -> None:
        self.do(self.machine.found(peer, found, self._loop.now()))

    def stop(self, stopped: Callable[[], None]) -> None:
        """SIGTERM, then SIGKILL; no respawn. `stopped` is called when it is gone."""
        self._stopping, self._stopped = True, stopped
        if self.pid:
            self._end()
        else:
            stopped()

    def do(self, effects: Iterable[Effect]) -> None:
        """Carry out what the machine asks for; reports go to the owner."""
        for effect in effects:
            match effect:
                case Write(lines):
                    if self._link is not None:  # else settled by the machine when the next helper comes
                        self._link.say("".join(f"{line}\n" for line in lines).encode("ascii"))
                case Install() | Check():
                    self._validate(effect)
                case AskAgain(peer):
                    self._seeker.unlearn(peer)
                case RestartChild(reason):
                    logs.warn("exabgp-restart", reason=reason)
                    self._end()
                case _:
                    self._report(effect)

    def wake(self) -> None:
        self.do(self.machine.wake(self._loop.now()))

    def restart(self, reason: str) -> None:
        self.do([RestartChild(reason)])

    # The process

    def _spawn(self) -> None:
        if self._stopping or self.pid:
            return
        readable, writable = os.pipe()
        self.pid = processes.spawn([*self._launch, "server", str(self._file)], self._env, output=writable)
        os.close(writable)
        os.set_blocking(readable, False)
        self._loop.watch(readable, lambda: self._read_log(readable))
        self.started = self._loop.now()
        logs.log("exabgp-started", pid=self.pid)

    def _end(self) -> None:
        pid = self.pid
        if pid:
            processes.kill(pid, signal.SIGTERM)
            self._loop.after(
                STOP_LIMIT, lambda: processes.kill(pid, signal.SIGKILL) if self.pid == pid else None
            )

    def reaped(self, pid: int, code: int) -> bool:
        """Was it one of ours?"""
        if pid in self._validating:
            self._validated(self._validating.pop(pid), code)
            return True
        if pid != self.pid or not pid:
            return False
        lived = self._loop.now() - self.started
        self.pid = 0
        self._drop_link()
        logs.warn("exabgp-ended", pid=pid, code=code, lived=round(lived, 3))
        self.do(self.machine.child_lost(self._loop.now()))
        if self._stopping:
            if self._stopped:
                self._stopped()
            return True
        self._backoff = BACKOFF_FIRST if lived > HEALTHY else min(self._backoff * 2, BACKOFF_LAST)
        self._loop.after(self._backoff, self._spawn)
        return True

    def _read_log(self, readable: int) -> None:
        """Always drained. Reload failures and tracebacks are here and nowhere else."""
        try:
            text = os.read(readable, 65536)
        except BlockingIOError:
            return
        if not text:
            self._loop.forget(readable)
            os.close(readable)
            return
        for line in text.decode("utf-8", "replace").splitlines():
            if line.strip() and "environment file missing" not in line and "exabgp env >" not in line:
                logs.warn("exabgp-log", line=self._redacted(" ".join(line.split())))

    def _redacted(self, line: str) -> str:
        for neighbor in self.machine.configured:
            if neighbor.password_base64:
                line = line.replace(neighbor.password_base64, "(redacted)")
        return line

    # The file

    @staticmethod
    def _write_file(path: Path, text: str) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)

    def _validate(self, wanted: Install | Check) -> None:
        following, said = self._file.with_suffix(".next"), self._file.with_suffix(".said")
        try:
            self._write_file(following, wanted.text)
            self._write_file(said, "")
        except OSError as error:
            with suppress(OSError):
                following.unlink()  # it may be what the disk is full of
            self._unwritten(wanted, following, error)
            return
        output = os.open(said, os.O_WRONLY)  # a file: nobody has to read a pipe in time
        pid = processes.spawn([*self._launch, "validate", str(following)], self._env, output=output)
        os.close(output)
        self._validating[pid] = wanted

    def _validated(self, wanted: Install | Check, code: int) -> None:
        said = self._file.with_suffix(".said").read_text("utf-8", "replace") if code else ""
        error = self._redacted(refusal(said, code)) if code else None
        now = self._loop.now()
        match wanted:
            case Install(_, generation):
                try:
                    if error is None:
                        self._file.with_suffix(".next").replace(self._file)
                except OSError as problem:
                    self._unwritten(wanted, self._file, problem)
                    return
                self.do(self.machine.installed(generation, error, now))
            case Check():
                self.do(self.machine.checked(error, now))
            case _:
                assert_never(wanted)

    def _unwritten(self, wanted: Install | Check, path: Path, error: OSError) -> None:
        """Nothing is wrong with the list: routes go on, and it is tried again."""
        now = self._loop.now()
        if isinstance(wanted, Check):  # one that was not looked at is not refused; the list is tried again
            self.do(self.machine.checked(None, now))
            return
        self.do(self.machine.unwritten(wanted.generation, _unwritten(path, error), now))
        self._loop.after(WRITE_AGAIN, lambda: self.do(self.machine.install_again(self._loop.now())))

    # The helper's socket

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            link, _ = self._listener.accept()
            self._drop_link()
            self._link = Lines(link, self._loop, self._line, self._helper_lost, LONGEST_LINE)
            fresh = self._greeted != self.pid
            self._greeted = self.pid
            logs.log("helper-connected", fresh=fresh)
            self.do(self.machine.connected(self._loop.now(), fresh=fresh))

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _helper_lost(self) -> None:
        logs.warn("helper-lost")
        self._link = None
        self.do(self.machine.helper_lost(self._loop.now()))

    def _line(self, line: bytes) -> None:
        try:
            decoded = wire.decode(line)
        except wire.BadLine as error:
            logs.error("exabgp-line", error=str(error))
            return
        self.do(self.machine.line(decoded, self._loop.now()))


def _unwritten(path: Path, error: OSError, *, runs: bool = True) -> str:
    """In words, with the remedy."""
    why = PeersNotWritten(file=str(path), why=error.strerror or str(error), runs=runs)
    return f"{why.explain()}; {why.remedy()}"
