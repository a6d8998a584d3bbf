"""A cgroup root of its own for each node: with a shared one the kubelets kill each other's pods as orphans.

In:  a path such as /lab-n1.
Out: that directory in every hierarchy of this machine (v1, hybrid or v2), the pids below it, and its removal.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def hierarchies() -> list[Path]:
    """Where the cgroup file systems are mounted."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return [Path(fields[1]) for fields in mounts if fields[2] in ("cgroup", "cgroup2")]


def create(path: str) -> None:
    """Make it everywhere, ready to hold containers."""
    for top in hierarchies():
        group = top / path.lstrip("/")
        offered = top / "cgroup.controllers"
        if offered.exists():
            for controller in offered.read_text().split():
                with contextlib.suppress(
                    OSError
                ):  # busy in v1, or not allowed here: kubelet says what it misses
                    (top / "cgroup.subtree_control").write_text(f"+{controller}")
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # v1: empty until filled in, and then nothing may enter
            file = group / name
            if file.exists() and not offered.exists():
                file.write_text((top / name).read_text())


def pids(path: str) -> set[int]:
    """Every process in it or below, in any hierarchy."""
    found: set[int] = set()
    for top in hierarchies():
        for directory in _directories(top / path.lstrip("/")):
            with contextlib.suppress(OSError):
                found.update(map(int, (directory / "cgroup.procs").read_text().split()))
    return found


def remove(path: str) -> None:
    """Remove the empty directories, the deepest first."""
    for top in hierarchies():
        for directory in _directories(top / path.lstrip("/")):
            with contextlib.suppress(OSError):
                directory.rmdir()


def left(path: str) -> list[Path]:
    """Where it still exists."""
    return [group for top in hierarchies() if (group := top / path.lstrip("/")).exists()]


def _directories(group: Path) -> Iterator[Path]:
    for directory, _, _ in os.walk(group, topdown=False):
        yield Path(directory)
