"""A small event loop: file descriptors and timers, one thread. For the parent, which must stay small
(importing asyncio costs 11 MB; this costs nothing).

In:  callbacks for readable and writable descriptors, and for moments.
Out: run() calls them until stop().
"""

import heapq
import itertools
import selectors
import time
from collections.abc import Callable
from typing import Any, Protocol


class HasFileno(Protocol):
    def fileno(self) -> int: ...


Callback = Callable[[], None]


class Loop:
    """Exceptions of callbacks are bugs and end the process: as pid 1 that is a restart of the container."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callback]] = []
        self._order = itertools.count()
        self._running = False

    @staticmethod
    def now() -> float:
        return time.monotonic()

    def watch(
        self, file: int | HasFileno, readable: Callback | None, writable: Callback | None = None
    ) -> None:
        """Call when ready, until changed by another watch() or ended by forget()."""
        events = (selectors.EVENT_READ if readable else 0) | (selectors.EVENT_WRITE if writable else 0)
        known = file in self._selector.get_map()
        data = (readable, writable)
        if not events:
            self.forget(file)
        elif known:
            self._selector.modify(file, events, data)
        else:
            self._selector.register(file, events, data)

    def forget(self, file: int | HasFileno) -> None:
        if file in self._selector.get_map():
            self._selector.unregister(file)

    def at(self, moment: float, callback: Callback) -> None:
        heapq.heappush(self._timers, (moment, next(self._order), callback))

    def after(self, seconds: float, callback: Callback) -> None:
        self.at(self.now() + seconds, callback)

    def stop(self) -> None:
        self._running = False

    def run(self, deadline: Callable[[], float], wake: Callback) -> None:
        """Until stop(). `deadline` is asked before each wait: wake() is called when it has passed."""
        self._running = True
        while self._running:
            first = self._timers[0][0] if self._timers else float("inf")
            wait = max(0.0, min(first, deadline(), self.now() + 60.0) - self.now())
            for key, events in self._selector.select(wait):
                self._dispatch(key.data, events)
            while self._timers and self._timers[0][0] <= self.now():
                heapq.heappop(self._timers)[2]()
            if self.now() >= deadline():
                wake()

    @staticmethod
    def _dispatch(data: Any, events: int) -> None:
        readable, writable = data
        if events & selectors.EVENT_WRITE and writable:
            writable()
        if events & selectors.EVENT_READ and readable:
            readable()
