"""CPU and memory of owning many addresses: python -m bench answers; no root, no network.

In:  nothing; the machine of l2/ takes on addresses in chunks, as the reflex feeds them, on two interfaces,
     says all first gratuitous frames, and gives everything up.
Out: a table of CPU ms, of the longest single call, of bytes an address. Sockets are not in it: tests/wire.
"""

import gc
import time
import tracemalloc
from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import noise
from metalbgp.l2.links import Interface
from metalbgp.l2.machine import Effect, Listen, Machine, Send

CHUNK: Final = 500
SIZES: Final = (1000, 10_000)
AIM_TAKE: Final = 0.4  # s for 10,000 addresses
AIM_STEP: Final = 0.02  # s for one call
AIM_BYTES: Final = 600
INTERFACES: Final = {
    name: Interface(name, index, b"\2\0\0\0\0" + bytes((index,)), arp=True, ndp=True)
    for index, name in enumerate(("eth0", "eth1"), start=2)
}


class Course(Struct, frozen=True):
    """CPU seconds of one owner's life."""

    take: float
    give: float
    worst: float  # the longest call
    frames: int
    listens: int  # filters that were changed while taking on

    def total(self) -> float:
        return self.take + self.give


def main(console: Console) -> int:
    """Exit code 0: within the aims; 1: not."""
    table = Table(
        "family", "addresses", "take on ms", "give up ms", "longest call ms", "frames", "bytes each"
    )
    good = True
    for family in (4, 6):
        for count in SIZES:
            best = min((course(count, family) for _ in range(5)), key=Course.total)
            each = memory(count, family)
            good &= best.take <= AIM_TAKE and best.worst <= AIM_STEP and each <= AIM_BYTES
            figures = (f"{best.take * 1e3:.0f}", f"{best.give * 1e3:.0f}", f"{best.worst * 1e3:.1f}")
            table.add_row(f"IPv{family}", f"{count:,}", *figures, f"{best.frames:,}", f"{each:.0f}")
    console.print(table)
    aims = f"aims: {AIM_TAKE * 1e3:.0f} ms to take on, {AIM_STEP * 1e3:.0f} ms a call, {AIM_BYTES} bytes each"
    console.print(aims, highlight=False)
    console.print(str(noise.measure()), highlight=False)
    return int(not good)


def course(count: int, family: int) -> Course:
    """Take on, tell once, give up. The clock of the machine stands still: what waits is no work."""
    machine = _machine()
    gc.collect()
    gc.freeze()  # as the reflex does when it starts
    calls: list[float] = []
    effects: list[Effect] = []
    for chunk in _chunks(count, family):
        began = time.thread_time()
        machine.change(dict.fromkeys(chunk), (), 0.0)
        calls.append(time.thread_time() - began)
        effects += _wake(machine, calls, 0.0)
    taken = len(calls)
    frames = sum(isinstance(effect, Send) for effect in effects)
    listens = sum(isinstance(effect, Listen) for effect in effects)
    del effects
    for chunk in _chunks(count, family):
        began = time.thread_time()
        machine.change({}, chunk, 0.0)
        calls.append(time.thread_time() - began)
        _wake(machine, calls, 0.0)
    gc.unfreeze()
    return Course(sum(calls[:taken]), sum(calls[taken:]), max(calls), frames, listens)


def memory(count: int, family: int) -> float:
    """Bytes that one owned address costs on one interface beyond its own, all first frames sent."""
    chunks = list(_chunks(count, family))
    machine = _machine(("eth0",))
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for chunk in chunks:
        machine.change(dict.fromkeys(chunk), (), 0.0)
        _wake(machine, [], 0.0)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


def _machine(names: tuple[str, ...] = ("eth0", "eth1")) -> Machine:
    machine = Machine()
    machine.set_interfaces({name: INTERFACES[name] for name in names}, 0.0)
    return machine


def _wake(machine: Machine, calls: list[float], now: float) -> list[Effect]:
    effects: list[Effect] = []
    while (deadline := machine.deadline) is not None and deadline <= now:
        began = time.thread_time()
        effects += machine.wake(now)
        calls.append(time.thread_time() - began)
    return effects


def _chunks(count: int, family: int) -> Iterator[list[bytes]]:
    head = b"\x0a" if family == 4 else b"\x20\x01" + bytes(11)
    every = [head + number.to_bytes(3, "big") for number in range(count)]
    for start in range(0, count, CHUNK):
        yield every[start : start + CHUNK]
