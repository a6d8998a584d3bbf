"""What the other nodes are, looked at while this one leaves, and at no other time.

In:  the API server's Nodes, NodeStates, and Pods of speakers; `active`, whether this node leaves.
Out: `tell` with Nodes and the reports of speakers that live, at once and then every few seconds: a NodeState
     outlives its Pod. An API server that does not answer changes nothing: what was seen last stays true, and
     where nothing was seen yet nothing is withdrawn.
Elsewhere: what is made of it is draining.py.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from metalbgp import logs
from metalbgp.cluster import decode
from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import ClusterError
from metalbgp.cluster.resources import NODE_STATES, NODES, PODS
from metalbgp.config import nodestate
from metalbgp.model.names import SPEAKER_PODS
from metalbgp.model.report import NodeReport
from metalbgp.model.services import Node

PACE: Final = 5.0  # seconds between two looks: as often as NodeStates are written
FIRST: Final = 2.0  # seconds that a start on a node which leaves waits for the first


class Around:
    def __init__(
        self,
        client: Client,
        namespace: str,
        active: Callable[[], bool],
        tell: Callable[[Iterable[Node], Iterable[NodeReport]], None],
    ) -> None:
        self._client, self._namespace = client, namespace
        self._active, self._tell = active, tell
        self._due = asyncio.Event()

    def due(self) -> None:
        """This node may have begun to leave."""
        if self._active():
            self._due.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            while self._active():
                await self._look()
                await asyncio.sleep(PACE)

    async def first(self) -> None:
        """Before anything is said, so that what was withdrawn is not announced again for a moment."""
        if self._active():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST):
                    await self._look()

    async def _look(self) -> None:
        try:
            nodes = [
                decode.node(raw) async for page in self._client.list_pages(NODES) for raw in page.items or ()
            ]
            pods = [
                decode.pod(raw)
                async for page in self._client.list_pages(PODS, self._namespace, label_selector=SPEAKER_PODS)
                for raw in page.items or ()
            ]
            alive = {pod.name for pod in pods if pod.ready and not pod.deleting}
            reports = [
                report
                async for page in self._client.list_pages(NODE_STATES, self._namespace)
                for raw in page.items or ()
                if (report := nodestate.decode(raw)).pod in alive
            ]
        except (ClusterError, msgspec.ValidationError, ValueError) as error:
            logs.warn("others-unknown", error=str(error), keeps="what was known of other nodes")
            return
        self._tell(nodes, reports)
