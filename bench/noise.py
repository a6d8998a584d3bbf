"""How fast the machine was meanwhile: a fixed piece of work, timed. Where it differs, figures do not compare.

In:  nothing. Out: Yardstick; CPU seconds say how fast the cores are, wall seconds how busy they were besides.
"""

import os
import time

from msgspec import Struct

ROUNDS = 1_500_000


class Yardstick(Struct, frozen=True):
    cpu: float  # seconds of CPU for the fixed loop
    wall: float  # seconds that it took
    load: float  # the machine's load average over a minute

    def __str__(self) -> str:
        return f"fixed loop {self.cpu:.2f} s CPU, {self.wall:.2f} s wall; load average {self.load:.1f}"


def measure() -> Yardstick:
    """About 0.2 s."""
    cpu, wall = time.thread_time(), time.perf_counter()
    total = 0
    for number in range(ROUNDS):
        total += number ^ 0x5A
    return Yardstick(time.thread_time() - cpu, time.perf_counter() - wall, os.getloadavg()[0])
