"""FRR as plain processes in any network namespace: one more router, in half a second, for a test.

In:  a name of its own, a namespace (or None for this one), the text of frr.conf.
Out: `Router`: start, stop, crash, vtysh, json.
     `-N NAME` gives each instance its own sockets below /var/run/frr, so any number may run beside each
     other.
Elsewhere: the lab's own router runs in a container, see router.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lab.processes import gone, kill
from lab.shell import LabError, inside, run, wait_until

_PROGRAMS: Final = Path("/usr/lib/frr")
_STATE: Final = Path("/var/run/frr")


@dataclass
class Router:
    """zebra, bgpd and, if asked for, bfdd."""

    name: str
    config: str
    namespace: str | None = None
    daemons: Sequence[str] = ("zebra", "bgpd")
    bgp_port: int = 179
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)
    _directory: Path | None = field(default=None, init=False)

    def start(self) -> None:
        """Start and wait until every daemon answers vtysh."""
        # The daemons give up root for the user frr, who must be able to read and write here.
        self._directory = Path(tempfile.mkdtemp(prefix=f"frr-{self.name}-"))
        _STATE.mkdir(parents=True, exist_ok=True)
        (_STATE / self.name).mkdir(exist_ok=True)
        (self._directory / "frr.conf").write_text(self.config)
        for path in (self._directory, self._directory / "frr.conf", _STATE / self.name):
            shutil.chown(path, "frr", "frr")
        for daemon in self.daemons:
            self.start_daemon(daemon)

    def start_daemon(self, daemon: str) -> None:
        """Start one, with the configuration from the beginning."""
        if self._directory is None:
            raise LabError(f"router {self.name} was not started")
        config = self._directory / "frr.conf"
        argv = [str(_PROGRAMS / daemon), "-N", self.name, "-f", str(config), "-A", "127.0.0.1", "-P", "0"]
        if daemon == "bgpd":
            argv += ["-p", str(self.bgp_port)]
        log = self._directory / f"{daemon}.log"
        with log.open("ab") as output:
            self._running[daemon] = subprocess.Popen(
                inside(self.namespace, argv) if self.namespace else argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        socket = _STATE / self.name / f"{daemon}.vty"

        def answers() -> bool:
            if self._running[daemon].poll() is not None:
                raise LabError(
                    f"{daemon} of router {self.name} ended:\n{log.read_text(errors='replace')[-2000:]}"
                )
            return socket.exists() and not self._vtysh(["show version"], daemon).returncode

        wait_until(answers, f"{daemon} of router {self.name} answers", 20)

    def stop(self, number: int = signal.SIGKILL) -> None:
        """Stop all and remove its files. Safe to call twice."""
        pids = [process.pid for process in self._running.values()]
        kill(pids, number)
        with contextlib.suppress(LabError):
            wait_until(lambda: gone(pids), f"end of router {self.name}", 5)
        kill([pid for pid in pids if not gone([pid])])
        for process in self._running.values():
            process.wait(15)
        self._running.clear()
        shutil.rmtree(_STATE / self.name, ignore_errors=True)
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def vtysh(self, *commands: str, check: bool = True) -> str:
        """Run commands one after another in one vtysh."""
        done = self._vtysh(commands, None)
        if check and done.returncode:
            raise LabError(f"vtysh -N {self.name} {commands}: {done.stdout}{done.stderr}")
        return done.stdout

    def json(self, command: str) -> Any:
        """One show command's answer, decoded."""
        return json.loads(self.vtysh(f"{command} json") or "{}")

    def established(self, peer: str) -> bool:
        """Whether the session to that address is up."""
        neighbours = self.json("show bgp neighbors")
        return bool(neighbours.get(peer, {}).get("bgpState") == "Established")

    def prefixes(self, family: str = "ipv4") -> dict[str, list[str]]:
        """Every prefix that bgpd holds, with the next hops of all its valid paths."""
        routes = self.json(f"show bgp {family} unicast").get("routes", {})
        return {
            prefix: sorted(hop["ip"] for path in paths for hop in path.get("nexthops", [])[:1])
            for prefix, paths in routes.items()
        }

    def _vtysh(self, commands: Sequence[str], daemon: str | None) -> subprocess.CompletedProcess[str]:
        words = [word for command in commands for word in ("-c", command)]
        one = ["-d", daemon] if daemon else []
        return run("vtysh", "-N", self.name, *one, *words, check=False, timeout=30)


@contextmanager
def router(name: str, config: str, namespace: str | None = None, **options: Any) -> Iterator[Router]:
    """A router for the length of a `with`."""
    one = Router(f"{name}-{os.getpid()}", config, namespace, **options)
    try:
        one.start()
        yield one
    finally:
        one.stop()
