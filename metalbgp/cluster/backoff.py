"""How long to wait before the next try: doubling, bounded, with jitter.

In:  a source of randomness in [0, 1), so that tests see exact figures.
Out: delays. Whoever uses it decides what success is: the reflector resets only after an event was seen,
because a server that accepts and closes at once would otherwise be asked without pause.
"""

import random
from collections.abc import Callable

Random = Callable[[], float]


class Backoff:
    """0.1 s doubling to 30 s; each delay lies between half of its step and the whole."""

    def __init__(self, first: float = 0.1, most: float = 30.0, rand: Random = random.random) -> None:
        self._first = first
        self._most = most
        self._random = rand
        self._tries = 0

    def next(self) -> float:
        step = min(self._most, self._first * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return step * (0.5 + self._random() / 2)

    def reset(self) -> None:
        self._tries = 0
