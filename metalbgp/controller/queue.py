"""A queue of keys: each key is worked on once at a time, and what is added meanwhile is worked on again.

In:  add(key), from any task of the loop; `first` keys go before the others (claims before pending Services).
Out: calls of `work(key)`, at most `workers` at once; its Outcome says what happens next.
Elsewhere: what a key means (reconcile.py, configure.py).
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from msgspec import Struct

from metalbgp import logs


class Done(Struct, frozen=True):
    """Nothing to do until something changes."""


class Retry(Struct, frozen=True):
    """Not done; another try may succeed."""

    why: str


Outcome = Done | Retry

FIRST_DELAY = 0.05  # seconds, doubled with each failure in a row
LONGEST_DELAY = 30.0


class WorkQueue:
    def __init__(self, work: Callable[[str], Awaitable[Outcome]], workers: int = 12) -> None:
        self._work = work
        self._workers = workers
        self._ready: asyncio.PriorityQueue[tuple[int, int, str]] = asyncio.PriorityQueue()
        self._order = itertools.count()  # within one priority: first come, first served
        self._waiting: set[str] = set()
        self._running: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._settled = asyncio.Event()
        self._settled.set()

    def add(self, key: str, *, first: bool = False) -> None:
        """Ask for `key` to be worked on; a key that waits already is not added twice."""
        if key in self._running:
            self._again.add(key)
            return
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        if key not in self._waiting:
            self._waiting.add(key)
            self._idle.clear()
            self._settled.clear()
            self._ready.put_nowait((0 if first else 1, next(self._order), key))

    def add_later(self, key: str, delay: float) -> None:
        """Ask for `key` after `delay` seconds, or sooner if something asked for that."""
        if key in self._waiting:
            return
        loop = asyncio.get_running_loop()
        if (timer := self._timers.get(key)) is not None:
            if timer.when() <= loop.time() + delay:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay, self._due, key)

    def clear(self) -> None:
        """Forget all that waits (this replica no longer leads)."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._waiting.clear()  # the entries of _ready find their key gone
        self._again.clear()
        self._failures.clear()
        self._rest()

    async def idle(self) -> None:
        """Return once nothing waits and nothing runs (retries that wait for their time do not count)."""
        await self._idle.wait()

    async def settled(self) -> None:
        """Return once nothing waits, nothing runs, and nothing is to be tried again."""
        await self._settled.wait()

    @property
    def depth(self) -> int:
        return len(self._waiting) + len(self._running)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            _, _, key = await self._ready.get()
            if key not in self._waiting:
                continue
            self._waiting.discard(key)
            self._running.add(key)
            try:
                outcome = await self._work(key)
            except Exception as error:  # a bug met by one key must not stop the others
                logs.exception("reconcile-failed", error, key=key)
                outcome = Retry(why=type(error).__name__)
            finally:
                self._running.discard(key)
            self._settle(key, outcome)

    def _settle(self, key: str, outcome: Outcome) -> None:
        if isinstance(outcome, Done):
            self._failures.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif isinstance(outcome, Retry):
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            self.add_later(key, min(FIRST_DELAY * 2**failures, LONGEST_DELAY))
        self._rest()

    def _due(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _rest(self) -> None:
        if not self.depth:
            self._idle.set()
            if not self._failures:
                self._settled.set()
