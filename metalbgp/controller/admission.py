"""What admission answers, with everything that the controller knows: the configuration, and who holds what.

In:  an Attempt (config/admit.py). Out: its Answer, with the Services that would lose an address.
Elsewhere: the rules are config/admit.py and allocate/losses.py; bytes and TLS are webhook.py.

A view may be some milliseconds old, and nobody may be refused for what is gone by then: before a refusal is
said, the objects are read from the API server itself and judged once more. What is allowed needs no such
care, for reading judges it again.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from metalbgp.allocate.losses import losses
from metalbgp.cluster.client import Client
from metalbgp.config.admit import Answer, Attempt, Scene, admit
from metalbgp.config.objects import READERS, AnyObject, IPAddressPool
from metalbgp.controller.claims import Claims
from metalbgp.controller.tell import KINDS
from metalbgp.inventory.inventory import Inventory
from metalbgp.model.reasons import WouldLose

MOST: Final = 5  # Services that one answer names; a pool may have thousands


class Admission:
    def __init__(
        self, client: Client, inventory: Inventory, claims: Claims, scene: Callable[[], Scene]
    ) -> None:
        self._client = client
        self._inventory, self._claims = inventory, claims
        self._scene = scene

    async def judge(self, attempt: Attempt) -> Answer:
        answer = self._judged(attempt, self._scene())
        if answer.refused:
            answer = self._judged(attempt, await self._fresh())
        return answer

    def _judged(self, attempt: Attempt, scene: Scene) -> Answer:
        answer = admit(attempt, scene)
        lost = tuple(self._lost(attempt, answer))
        if not lost:
            return answer
        policy = scene.in_force.policy_of(attempt.name)
        if policy.protect and not answer.refused:
            return replace(answer, refused=tuple(replace(one, policy=policy.name) for one in lost[:MOST]))
        return replace(answer, warnings=(*answer.warnings, *_some(one.explain() for one in lost)))

    def _lost(self, attempt: Attempt, answer: Answer) -> Iterator[WouldLose]:
        old, new = attempt.old, attempt.new
        if not isinstance(old, IPAddressPool) or answer.after is None:
            return
        if new is not None and (new.spec, new.metadata.labels) == (old.spec, old.metadata.labels):
            return
        inventory = self._inventory
        holders = ((one, inventory.held(one.key)) for one in inventory.holders_in(attempt.name))
        yield from losses(holders, answer.after, self._claims.taken, inventory.namespaces)

    async def _fresh(self) -> Scene:
        scene = self._scene()
        found = await asyncio.gather(*(self._listed(kind, scene.namespace) for kind in KINDS))
        return replace(scene, objects=tuple(one for group in found for one in group))

    async def _listed(self, kind: str, namespace: str) -> list[AnyObject]:
        read = READERS[kind]
        found: list[AnyObject] = []
        async for page in self._client.list_pages(KINDS[kind], namespace):
            found += [read(item) for item in page.items or ()]
        return found


def _some(lines: Iterable[str]) -> Iterator[str]:
    every = list(lines)
    yield from every[:MOST]
    if len(every) > MOST:
        yield f"and {len(every) - MOST} more addresses in use"
