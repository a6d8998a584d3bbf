"""How many answers one asker gets, and all together. Sans-I/O.

In:  the MAC that asks, how many addresses are ours, `now` (seconds, monotonic).
Out: may it be answered?
Elsewhere: which frames are questions at all, in machine.py.

The limits are for floods: a router that lost its cache asks for every address at once, and is served. Whoever
forges a new MAC for every question is held by the limit for all; what then gets lost is asked again.
"""

from collections import OrderedDict
from typing import Final

RATE: Final = 500.0  # answers a second to one asker, in the long run
BURST: Final = 1000  # at once, or twice what is ours if that is more
RATE_OF_ALL: Final = 4000.0  # costs a quarter of a core
BURST_OF_ALL: Final = 4000  # or four times what is ours
KEPT: Final = 1024  # askers; whoever asked longest ago is forgotten, and so may have a burst again
ROUNDING: Final = 0.5  # of an answer: sums of floats


class Askers:
    """A bucket each, told by one number: when it will be full again if nothing more is taken."""

    def __init__(self) -> None:
        self._full: OrderedDict[bytes, float] = OrderedDict()
        self._all_full = 0.0

    def __len__(self) -> int:
        return len(self._full)

    def one_more(self, mac: bytes, now: float, owned: int) -> bool:
        """Whether this asker has an answer left. What is refused costs it nothing."""
        full = max(self._full.get(mac, now), now) + 1 / RATE
        if (full - now) * RATE > max(BURST, 2 * owned) + ROUNDING:
            return False
        self._full[mac] = full
        self._full.move_to_end(mac)
        if len(self._full) > KEPT:
            self._full.popitem(last=False)
        return True

    def one_more_of_all(self, now: float, owned: int) -> bool:
        """Whether there is an answer left for anybody."""
        full = max(self._all_full, now) + 1 / RATE_OF_ALL
        if (full - now) * RATE_OF_ALL > max(BURST_OF_ALL, 4 * owned) + ROUNDING:
            return False
        self._all_full = full
        return True
