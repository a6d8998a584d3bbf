"""A claim that vanished: released, or taken away by other hands, or by a list that will be corrected?

In:  VirtualIPs that are there no more. Out: `drop`, when an address is to be announced no longer.
"""

import asyncio
from collections.abc import Callable

from metalbgp import logs
from metalbgp.model.virtualips import VirtualIP

DOUBT = 5.0  # seconds to keep announcing an address whose claim vanished without having been released


class Doubt:
    def __init__(self, drop: Callable[[str], None]) -> None:
        self._drop = drop
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    def __contains__(self, address: object) -> bool:
        return address in self._waiting

    def vanished(self, vip: VirtualIP) -> None:
        """Withdraw at once what was released; wait a moment where nothing announced the end."""
        self.back(vip.address)
        if vip.phase != "bound":
            self._drop(vip.address)
            return
        logs.warn("claim-vanished", address=vip.address, wait=DOUBT)
        self._waiting[vip.address] = asyncio.get_running_loop().call_later(DOUBT, self._end, vip.address)

    def back(self, address: str) -> None:
        timer = self._waiting.pop(address, None)
        if timer is not None:
            timer.cancel()

    def _end(self, address: str) -> None:
        del self._waiting[address]
        self._drop(address)
