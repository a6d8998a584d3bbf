"""What the kernel's books say of one process: CPU seconds, memory now and at its peak; and who comes first.

In:  pids. Out: seconds and MiB.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def seconds(pid: int) -> float:
    """User and system time of the process and of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB"""
    return _status(pid, "VmRSS")


def peak(pid: int) -> float:
    """MiB, since the process began or since start_peak()."""
    return _status(pid, "VmHWM")


def start_peak(pid: int) -> None:
    """The peak counts from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, key: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def descendants(pid: int) -> list[int]:
    """It and all that it and its children started."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # gone meanwhile
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


@contextmanager
def ahead(wanted: bool) -> Iterator[None]:
    """This process and all that it started come before everything else on the machine, if wanted.

    A busy machine then measures like a free one: for moments only, since others wait meanwhile.
    """
    if not wanted:
        yield
        return
    _schedule(os.SCHED_RR, 1)
    try:
        yield
    finally:
        _schedule(os.SCHED_OTHER, 0)


def _schedule(policy: int, priority: int) -> None:
    for pid in descendants(os.getpid()):
        with suppress(FileNotFoundError, ProcessLookupError):  # gone meanwhile
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setscheduler(int(task.name), policy, os.sched_param(priority))
