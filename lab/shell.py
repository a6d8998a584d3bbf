"""Running programs, waiting for conditions, and saying what takes time.

In:  argument lists, a namespace's name, a predicate.
Out: completed processes, or `LabError` with what the program said.
Elsewhere: long-running processes in processes.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

NETNS: Final = Path("/run/netns")
T = TypeVar("T")


class LabError(Exception):
    """Something of the lab did not work; the message says what and where to look."""


def inside(namespace: str, argv: Sequence[str]) -> list[str]:
    """The same command in a network namespace.

    nsenter and not `ip netns exec`: the latter mounts a fresh /sys, which hides the cgroups from kubelet.
    """
    return ["nsenter", f"--net={NETNS / namespace}", "--", *argv]


def run(
    *argv: str | Path,
    input: str | None = None,
    check: bool = True,
    timeout: float | None = 300,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to the end and keep what it said; a failure raises with that text."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            text=True,
            errors="replace",
            capture_output=True,
            check=False,
            timeout=timeout,
            env={**os.environ, **env} if env else None,
            cwd=cwd,
        )
    except subprocess.TimeoutExpired as late:
        raise LabError(f"{' '.join(words)[:300]}: no end after {timeout:g} s") from late
    except FileNotFoundError as missing:
        raise LabError(
            f"{words[0]} is not installed; start with lab/lab, which installs what is missing"
        ) from missing
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-3000:]
        raise LabError(f"{' '.join(words)[:300]}: exit code {done.returncode}\n{said}")
    return done


def wait_until(ready: Callable[[], T | None], what: str, timeout: float = 60, pause: float = 0.05) -> T:
    """Ask until the answer is true; the message says what was missing."""
    deadline = time.monotonic() + timeout
    while True:
        answer = ready()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not so after {timeout:g} s")
        threading.Event().wait(pause)


@contextmanager
def step(text: str) -> Iterator[None]:
    """One line on the screen: what is being done, then how long it took; a long one shows that it lives."""
    start = time.monotonic()
    done = threading.Event()
    terminal = sys.stdout.isatty()

    def say_that_it_lives() -> None:
        while not done.wait(1 if terminal else 20):
            seconds = time.monotonic() - start
            if terminal:
                print(f"\r  {text} … {seconds:.0f} s ", end="", flush=True)
            else:
                print(f"  {text} … {seconds:.0f} s so far", flush=True)

    if terminal:
        print(f"  {text} … ", end="", flush=True)
    teller = threading.Thread(target=say_that_it_lives, daemon=True)
    teller.start()
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        done.set()
        teller.join()
        seconds = time.monotonic() - start
        print(f"{chr(13) if terminal else ''}  {text}: {outcome}, {seconds:.1f} s   ", flush=True)
