"""The long-running processes of one lab: started, recorded, found again, stopped.

In:  a name, an argument list, a namespace.
Out: `<run>/processes/NAME.json` with pid, start time and arguments, so that any later `lab` command can
     stop or restart it, and none ever signals a stranger that was given the same pid. Every process also
     carries METALBGP_LAB=<name> in its environment: one that was started but not yet recorded when `lab up`
     was killed is found by that.
Elsewhere: containers are found by their cgroups, see teardown.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.settings import REPOSITORY, Settings
from lab.shell import LabError, inside, wait_until

MARK: Final = "METALBGP_LAB"
_LISTEN: Final = "0A"  # the state's number in /proc/net/tcp
_UNSHARED: Final = ("NOTIFY_SOCKET", "KUBECONFIG", "INVOCATION_ID")


def started_at(pid: int) -> str | None:
    """The kernel's start time of a living process, None for a dead one or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def kill(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Signal all, and reap those that are our own children."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def gone(pids: Iterable[int]) -> bool:
    """Whether none of them runs any more."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if started_at(pid) is not None:
            return False
    return True


@dataclass(frozen=True)
class Process:
    """One that was started, perhaps by another program and long ago."""

    name: str
    pid: int
    start: str
    argv: tuple[str, ...]
    namespace: str | None

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return started_at(self.pid) == self.start

    def listens(self, port: int) -> bool:
        """Whether something in that process's network namespace listens on that TCP port."""
        wanted = f":{port:04X}"
        try:
            lines = Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()
        except OSError:
            return False
        rows = (line.split() for line in lines[1:])
        return any(row[1].endswith(wanted) and row[3] == _LISTEN for row in rows)


@dataclass(frozen=True)
class Processes:
    """The processes of one lab."""

    settings: Settings

    @property
    def directory(self) -> Path:
        """Where the records are."""
        return self.settings.run / "processes"

    def start(self, name: str, argv: Sequence[str | Path], namespace: str | None = None) -> Process:
        """Start in the background, its output in logs/NAME.log, and record it."""
        words = tuple(str(word) for word in argv)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.settings.logs.mkdir(parents=True, exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if key not in _UNSHARED}
        environment |= {
            MARK: self.settings.name,
            "PYTHONPATH": str(REPOSITORY),
            "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
        }
        with (self.settings.logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                inside(self.settings.namespace(namespace), words) if namespace else words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # ctrl-C of `lab up` is not meant for them
                cwd="/",
            )
        # It is not waited for: it outlives this program. kill() and gone() reap it if it ends before.
        child.returncode = 0
        process = Process(name, child.pid, started_at(child.pid) or "", words, namespace)
        self._record(name).write_text(json.dumps(process.__dict__))
        return process

    def get(self, name: str) -> Process:
        """The recorded process of that name."""
        try:
            return self._read(self._record(name))
        except OSError as missing:
            known = ", ".join(process.name for process in self.all()) or "none"
            raise LabError(f"no process {name} in lab {self.settings.name}; there are: {known}") from missing

    def all(self) -> list[Process]:
        """All that were recorded, dead or alive, oldest first."""
        if not self.directory.is_dir():
            return []
        records = sorted(self.directory.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [process for record in records if (process := self._try(record))]

    def stop(self, name: str, number: int = signal.SIGTERM, timeout: float = 15) -> None:
        """Signal one process and wait for its end; its record stays, for restart()."""
        process = self.get(name)
        if process.alive:
            kill([process.pid], number)
            wait_until(lambda: gone([process.pid]), f"end of {name} (pid {process.pid})", timeout)

    def restart(self, name: str) -> Process:
        """Start it again with the arguments of the last time."""
        process = self.get(name)
        if process.alive:
            self.stop(name, signal.SIGKILL)
        return self.start(name, process.argv, process.namespace)

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The last lines it wrote: what to print when it did not come up."""
        path = self.settings.logs / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def marked(self) -> set[int]:
        """Every living process that carries this lab's mark, recorded or not."""
        mark = f"{MARK}={self.settings.name}".encode()
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                    found.add(int(entry.name))
        return found

    def _record(self, name: str) -> Path:
        return self.directory / f"{name}.json"

    @staticmethod
    def _read(path: Path) -> Process:
        fields = json.loads(path.read_text())
        return Process(**{**fields, "argv": tuple(fields["argv"])})

    def _try(self, path: Path) -> Process | None:
        try:
            return self._read(path)
        except (OSError, ValueError, TypeError, KeyError):
            return None  # half-written when its writer was killed; the mark finds that process
