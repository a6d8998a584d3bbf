"""An event loop whose time jumps to the next timer when nothing is left to do: an hour passes in moments.

In:  a coroutine. Out: its result. Nothing in it may wait for the real world.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._moment = 0.0

    def time(self) -> float:
        return self._moment

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]  # asyncio's own books
            self._moment = max(self._moment, self._scheduled[0]._when)  # type: ignore[attr-defined]  # the same
        super()._run_once()  # type: ignore[misc]  # the same


def run(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
