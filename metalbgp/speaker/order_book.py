"""The orders that this speaker knows: the API server's, its socket's, its last run's; they end by the clock.

In:  events of the view of SpeakerOrders; those of the node's socket, from the parent; a snapshot's.
Out: all of them to `tell`, whenever one comes, changes, goes or ends.
Elsewhere: which are in force here, and what they forbid, is announcer.py; their words model/orders.py.

A view that is not there is no reason to forget: what was last known stays in force.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from metalbgp.cluster.reflector import Changed, Removed, Synced
from metalbgp.model.orders import Order, in_force, next_end

LOOK = 30.0  # seconds between two looks at the clock, which may be set while an order waits for its end


class OrderBook:
    def __init__(
        self, tell: Callable[[tuple[Order, ...]], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._tell, self._clock = tell, clock
        self._known: dict[str, Order] = {}  # of the API server, by the view's key
        self._remembered: dict[str, Order] = {}  # of a snapshot, until the view is complete
        self._local: tuple[Order, ...] = ()
        self._said: tuple[Order, ...] = ()  # of them, those that were in force when they were told
        self._synced = False
        self._timer: asyncio.TimerHandle | None = None

    def remember(self, orders: Iterable[Order]) -> None:
        """Those of the last run stand in for a view that is not complete."""
        if not self._synced:
            self._remembered = {one.name: one for one in orders}
            self._say()

    def local(self, orders: Iterable[Order]) -> None:
        self._local = tuple(orders)
        self._say()

    def event(self, event: Any) -> bool:
        """False: it is no event of an order, but of the view."""
        match event:
            case Changed(key=key, new=order):
                self._known[key] = order
            case Removed(key=key):
                self._known.pop(key, None)
            case Synced():
                self._synced = True
                self._remembered.clear()
            case _:
                return False
        self._say()
        return True

    def _all(self) -> tuple[Order, ...]:
        names = {one.name for one in self._known.values()}
        remembered = (one for name, one in self._remembered.items() if name not in names)
        return (*self._known.values(), *remembered, *self._local)

    def _say(self) -> None:
        orders = self._all()
        self._tell(orders)
        self._said = in_force(orders, self._clock())
        self._arm(orders)

    def _look(self) -> None:
        orders = self._all()
        if in_force(orders, self._clock()) != self._said:
            self._say()
        else:
            self._arm(orders)

    def _arm(self, orders: Iterable[Order]) -> None:
        """Also for one that is over: the clock that said so may be set back."""
        if self._timer is not None:
            self._timer.cancel()
        orders, now = tuple(orders), self._clock()
        end = next_end(orders, now)
        wait = LOOK if end is None else min(end - now, LOOK)
        ends = any(one.expires for one in orders)
        self._timer = asyncio.get_running_loop().call_later(wait, self._look) if ends else None
