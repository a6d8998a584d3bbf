"""A child that is started again whenever it ends: the agent and the reflex, each for itself.

In:  a command, whether it keeps its capabilities, how much memory it may hold.
Out: a running process; reaped() when it ended.
Elsewhere: the ExaBGP child has more to it, bgp/edge.py; the rights are processes.py.
"""

import os
import signal
from collections.abc import Sequence
from typing import Final

from metalbgp import logs, processes
from metalbgp.loop import Loop

BACKOFF_FIRST: Final = 0.1
BACKOFF_LAST: Final = 30.0
HEALTHY: Final = 30.0
STOP_LIMIT: Final = 3.0


class Child:
    """One process, kept running."""

    def __init__(self, name: str, command: Sequence[str], loop: Loop, budget: int, *, capable: bool) -> None:
        self.name = name
        self.pid = 0
        self.budget = budget  # bytes
        self.restarts = 0
        self._command = command
        self._loop = loop
        self._capable = capable
        self._stopping = False
        self._started = 0.0
        self._backoff = BACKOFF_FIRST

    def start(self) -> None:
        if self._stopping or self.pid or not self._command:
            return
        self.pid = processes.spawn(self._command, os.environ, keep_capabilities=self._capable)
        self._started = self._loop.now()
        logs.log("child-started", child=self.name, pid=self.pid)

    def reaped(self, pid: int, code: int) -> bool:
        if pid != self.pid or not pid:
            return False
        lived = self._loop.now() - self._started
        self.pid = 0
        if self._stopping:
            logs.log("child-stopped", child=self.name, code=code)
            return True
        self.restarts += 1
        self._backoff = BACKOFF_FIRST if lived > HEALTHY else min(self._backoff * 2, BACKOFF_LAST)
        logs.warn("child-ended", child=self.name, code=code, lived=round(lived, 3), again=self._backoff)
        self._loop.after(self._backoff, self.start)
        return True

    def stop(self) -> None:
        self._stopping = True
        self.restart()

    def restart(self) -> None:
        """SIGTERM, then SIGKILL. start() follows from reaped(), unless stopping."""
        pid = self.pid
        if pid:
            processes.kill(pid, signal.SIGTERM)
            self._loop.after(
                STOP_LIMIT, lambda: processes.kill(pid, signal.SIGKILL) if self.pid == pid else None
            )
