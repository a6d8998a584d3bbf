"""What every laboratory of the wire does: run a command, wait for a condition, print a figure.

In:  words of a command; a condition and what it is for.
Out: its output; AssertionError that says what was in vain.
Elsewhere: what dead runs left is left_over.py.
"""

import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


def run(*command: str, given: str | None = None) -> str:
    """`given`: its standard input."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20, input=given)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{given or ''}"
    return done.stdout


@contextmanager
def if_the_kernel_can() -> Iterator[None]:
    """Around a `run` of `ip link add`: the test is skipped where this kernel has no links of that type."""
    try:
        yield
    except AssertionError as problem:
        if "Unknown device type" in str(problem) or "not supported" in str(problem):
            pytest.skip(f"this kernel has no such links: {problem}")
        raise


def figures(text: str) -> None:
    """Seen with pytest -s."""
    sys.stdout.write(f"\n{text}\n")


def nothing_for(seconds: float) -> None:
    """A stretch of time that is itself the fault, or in which something must not happen: nothing is waited
    for."""
    threading.Event().wait(seconds)


def wait_for(
    condition: Callable[[], Any],
    what: str,
    limit: float = 15.0,
    report: Callable[[], str] = str,
    pause: float = 0.02,
) -> Any:
    """Ask again and again until it holds; what it answered then. `report`: more words for a failure."""
    end = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {limit} s: {what}\n{report()}"
        select.select([], [], [], pause)
    return value
