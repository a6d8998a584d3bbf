"""What speakers say of their segments: NodeStates, watched from the moment that somebody waits for it.

In:  ask(), when an address is to be probed; NodeStates. Out: Probes kept up to date; the Services that wait.
Elsewhere: what it means for an address is probes.py.

Not watched before, because NodeStates change often and nothing else in them concerns the controller.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from metalbgp.cluster.client import Client
from metalbgp.cluster.reflector import Changed, Reflector, Removed
from metalbgp.cluster.resources import NODE_STATES
from metalbgp.config import nodestate
from metalbgp.controller.claims import Claims
from metalbgp.controller.probes import Probes
from metalbgp.inventory.touched import Touched
from metalbgp.model.names import INSTALLATION


class Segments:
    def __init__(
        self,
        client: Client,
        claims: Claims,
        namespace: str,
        installation: str,
        touched: Callable[[Touched], None],
    ) -> None:
        self.probes = Probes()
        self._claims, self._touched = claims, touched
        self._asked = asyncio.Event()
        self._view = Reflector(
            client,
            NODE_STATES,
            nodestate.probes,
            namespace=namespace,
            label_selector=f"{INSTALLATION}={installation}",
        )

    def ask(self) -> None:
        self._asked.set()

    async def run(self) -> None:
        await self._asked.wait()
        await self._view.run(self._on_node_state)

    def _on_node_state(self, event: Any) -> None:
        match event:
            case Changed(new=found):
                answered = self.probes.heard(found.node, found.probes)
                claims = (self._claims.get(address) for address in answered)
                names = {key for vip in claims if vip is not None for key in vip.holders}
                self._touched(Touched(services=frozenset(names)))
            case Removed(key=key):
                self.probes.gone(key.rpartition("/")[2])
            case _:
                return
