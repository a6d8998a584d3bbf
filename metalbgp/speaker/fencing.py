"""Leases for fenced addresses: nobody answers for one without holding its Lease (annotation fencing: lease).

In:  the addresses that the reflex would answer for. Out: until when it may, again and again.
Elsewhere: the law of a Lease is cluster/election.py; who would answer is l2/ownership.py. What it costs is in
     docs/layer2.md: after a crash the address waits until the dead node's Lease has run out.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from metalbgp import logs
from metalbgp.clocks import clock
from metalbgp.cluster.client import Client
from metalbgp.cluster.election import Elector
from metalbgp.cluster.errors import NotLeading
from metalbgp.model.addresses import claim_name

DURATION: Final = 6.0  # seconds that a Lease outlives its holder
RENEW: Final = 4.0  # seconds for which a renewal grants the right
RETRY: Final = 1.0
SILENT: Final = 2.0  # seconds after which a reflex that does not answer is none


class Fencing:
    """`identity`: the same for every life of this node's agent, so that a restart keeps what is held."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        identity: str,
        tell: Callable[[Mapping[str, float]], Awaitable[None]],
        answers: Callable[[], int],
    ) -> None:
        """`answers`: how often the reflex answered what it was told."""
        self._client, self._namespace, self._identity = client, namespace, identity
        self._tell, self._answers = tell, answers
        self._told: dict[str, float] = {}  # until when the reflex may answer, at most
        self._answered, self._alive = 0, clock()
        self._held: dict[str, tuple[Elector, asyncio.Task[None]]] = {}
        self._due = asyncio.Event()

    def wants(self, addresses: Iterable[str]) -> None:
        """All fenced addresses that would be this node's now. What is given up is given back."""
        wanted = set(addresses)
        if not self._held:
            self._alive = clock()
        for address in self._held.keys() - wanted:
            self._held.pop(address)[1].cancel()
        for address in wanted - self._held.keys():
            elector = Elector(
                self._client,
                self._namespace,
                f"l2-{claim_name(address)}",
                self._identity,
                duration=DURATION,
                renew=RENEW,
                retry=RETRY,
                on_change=lambda _: self._due.set(),
            )
            task = asyncio.create_task(elector.run(), name=f"lease of {address}")
            self._held[address] = elector, task

    def problems(self) -> tuple[str, ...]:
        """Why the Lease of an address cannot be had."""
        return tuple(
            f"fencing of {address}: {elector.trouble}"
            for address, (elector, _) in sorted(self._held.items())
            if elector.trouble
        )

    async def _grant(self) -> None:
        """Tell the reflex until when it may answer. One that says nothing gets no more: it may be stopped.
        When the last that it was told has passed, another node may have the Leases."""
        now = clock()
        if self._answers() != self._answered:
            self._answered, self._alive = self._answers(), now
        if now - self._alive > SILENT:
            if all(until < now for until in self._told.values()):
                logs.warn("reflex-silent", gives_back=len(self._held))
                self.wants(())
            return
        granted: dict[str, float] = {}
        for address, (elector, _) in self._held.items():
            try:
                granted[address] = now + elector.fence()
            except NotLeading:
                continue
        self._told = granted
        await self._tell(granted)

    async def run(self) -> None:
        """Until cancelled; then every Lease is given back."""
        try:
            while True:
                if self._held:
                    await self._grant()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY / 2):
                        await self._due.wait()
                self._due.clear()
        finally:
            tasks = [task for _, task in self._held.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            logs.log("leases-returned", count=len(tasks))
