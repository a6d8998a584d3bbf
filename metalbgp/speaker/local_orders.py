"""Holds given on the node's own socket, while the API server is away: the parent keeps, the agent obeys.

In:  what somebody in the pod said (`metalbgp hold --local`), the file of the last run, the time of day.
Out: those that still count, as JSON for the agent; the answer for whoever asked.
Elsewhere: what a hold does is select/; orders of the API server are order_book.py.

An end is a must: nobody far away can see these, nor take them back. The file is on the pod's in-memory
disk, as the snapshot is: it outlives every process of the pod, and not the pod.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from metalbgp import logs
from metalbgp.model.addresses import AddressError, canonical, trimmed
from metalbgp.model.orders import HOLD, Order, in_force, moment

LONGEST: Final = 7 * 24 * 3600.0  # seconds
MOST: Final = 1000


class Said(Struct, frozen=True):
    """One line of a client."""

    address: str
    expires: str = ""  # RFC 3339; "": the hold is taken back
    reason: str = ""
    author: str = ""


class LocalOrders:
    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._orders: dict[str, Order] = {}  # by address
        with suppress(FileNotFoundError):
            try:
                found = msgspec.json.decode(path.read_bytes(), type=list[Order])
                self._orders = {one.address: one for one in found if one.local}
            except (OSError, ValueError) as error:
                logs.warn("local-orders-unreadable", error=str(error))

    def all(self) -> list[Order]:
        return list(in_force(self._orders.values(), self._clock()))

    def take(self, said: Said) -> dict[str, Any]:
        """Obey, or say why not: {"held": […]} or {"error": …}."""
        try:
            address = canonical(trimmed(said.address))
            until = moment(said.expires) if said.expires else 0.0
        except AddressError as error:
            return {"error": str(error)}
        except ValueError:
            return {"error": f'"{said.expires}" is no time'}
        now = self._clock()
        self._orders = {one.address: one for one in self.all()}
        if not said.expires:
            if self._orders.pop(address, None) is None:
                return {"error": f"{address} is not held on this node's own socket"}
        elif not now < until <= now + LONGEST:
            return {"error": f"a hold of a node's own ends within {LONGEST / 86400:g} days"}
        elif len(self._orders) >= MOST and address not in self._orders:
            return {"error": f"there are {MOST} holds already"}
        else:
            self._orders[address] = Order(
                name=f"local-{address}",
                action=HOLD,
                address=address,
                reason=said.reason,
                author=said.author,
                expires=said.expires,
                created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
                local=True,
            )
        logs.log("local-order", address=address, expires=said.expires, author=said.author)
        return {"held": sorted(self._orders), **self._write()}

    def _write(self) -> dict[str, str]:
        """It counts without a file as well, until this process ends."""
        fresh = self._path.with_suffix(".new")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(list(self._orders.values())))
            fresh.replace(self._path)
        except OSError as error:
            return {"unwritten": error.strerror or str(error)}
        return {}
