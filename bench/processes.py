"""What the kernel's books say of one process: CPU seconds, memory now and at its peak.

In:  pids. Out: seconds and MiB.
"""

import os
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
