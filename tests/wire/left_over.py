"""Namespaces of wire tests are named NAME-PID-WHAT; a run removes what one that is gone left behind."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path


def clean(prefix: str) -> None:
    """Remove our namespaces and those of runs that are gone, with the processes in them."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        parts = name.split("-")
        if parts[0] != prefix or len(parts) != 3 or not parts[1].isdigit():
            continue
        if parts[1] != str(os.getpid()) and Path(f"/proc/{parts[1]}").exists():
            continue
        for pid in _ip("netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "delete", name)


def _ip(*words: str) -> str:
    return subprocess.run(("ip", *words), check=True, capture_output=True, text=True, timeout=20).stdout
