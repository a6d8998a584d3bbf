"""The controller's writes: claims, Service status. Each a compare-and-swap, none that would change nothing.

In:  a fenced Client (its writes are refused when the Lease's deadline has passed), values of model/.
Out: the object as the API server now has it, or an exception of cluster/errors.py.
Elsewhere: what to write is decided in reconcile.py; the JSON of our kinds is config/.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs

from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import AlreadyExists, ClusterError, Conflict, NotFound
from metalbgp.cluster.resources import SERVICES, VIRTUAL_IPS
from metalbgp.config import virtualip
from metalbgp.controller.contest import writers
from metalbgp.controller.metrics import ControllerMetrics
from metalbgp.model.addresses import claim_name
from metalbgp.model.names import ADDRESS_ALLOCATED, FROM_POOL
from metalbgp.model.services import Condition, Service
from metalbgp.model.virtualips import VirtualIP


def conditions_with(service: Service, why: Condition | None) -> tuple[Condition, ...]:
    """Everybody's conditions, with ours among them or without it. Its time moves with its status only."""
    others = tuple(one for one in service.conditions if one.type != ADDRESS_ALLOCATED)
    if why is None:
        return others
    before = next((one for one in service.conditions if one.type == ADDRESS_ALLOCATED), None)
    if before is not None and before.status == why.status:
        why = structs.replace(why, last_transition_time=before.last_transition_time)
    return (*others, why)


def is_marked(service: Service) -> bool:
    """Something of ours stands on it: the pool's name, or why it has no address."""
    return service.pool_annotation is not None or any(
        one.type == ADDRESS_ALLOCATED for one in service.conditions
    )


class Writes:
    def __init__(self, client: Client, installation: str, metrics: ControllerMetrics) -> None:
        self._client = client
        self._installation = installation
        self._metrics = metrics

    async def claim(self, vip: VirtualIP) -> VirtualIP | None:
        """POST the VirtualIP: from then on the address is ours and announced. None: somebody has it."""
        try:
            answer = await self._client.create(VIRTUAL_IPS, virtualip.encode(vip, self._installation))
        except AlreadyExists:
            self._count("claim", "taken")
            return None
        except ClusterError:
            self._count("claim", "failed")
            raise
        self._count("claim", "done")
        return virtualip.decode(answer)

    async def read(self, address: str) -> VirtualIP | None:
        """The claim of an address as it is now, of whatever installation; None: there is none."""
        try:
            return virtualip.decode(await self._client.get(VIRTUAL_IPS, claim_name(address)))
        except NotFound:
            return None

    async def rewrite(self, old: VirtualIP, new: VirtualIP) -> VirtualIP:
        """Make `old`, which was just read, `new`. Conflict when it is no longer `old`."""
        patch = virtualip.merge_patch(old, new)
        if patch is None:
            return old
        answer = await self._counted(
            "virtualip",
            self._client.patch(
                VIRTUAL_IPS,
                claim_name(old.address),
                patch,
                resource_version=old.resource_version,
                uid=old.uid,
            ),
        )
        return virtualip.decode(answer)

    async def delete(self, vip: VirtualIP) -> None:
        """Give the address up, if the claim is still the one that was seen."""
        try:
            await self._counted(
                "release",
                self._client.delete(
                    VIRTUAL_IPS, claim_name(vip.address), uid=vip.uid, resource_version=vip.resource_version
                ),
            )
        except NotFound:
            return

    async def show(
        self, service: Service, addresses: Sequence[str], pool: str | None, why: Condition | None = None
    ) -> bool:
        """Status and pool annotation in one request, as MetalLB writes them, with the condition that
        says why there is no address. False: they stood already."""
        conditions = conditions_with(service, why)
        if (
            tuple(addresses) == service.ingress
            and service.pool_annotation == pool
            and not service.foreign_ingress
            and conditions == service.conditions
        ):
            return False
        status: dict[str, Any] = {
            "loadBalancer": {"ingress": [{"ip": address} for address in addresses] or None}
        }
        if conditions != service.conditions:  # the list as a whole; resourceVersion guards the others'
            status["conditions"] = msgspec.to_builtins([*conditions]) or None
        body: dict[str, Any] = {"metadata": {"annotations": {FROM_POOL: pool}}, "status": status}
        try:
            await self._counted(
                "status",
                self._client.patch(
                    SERVICES,
                    service.name,
                    body,
                    service.namespace,
                    subresource="status",
                    resource_version=service.resource_version,
                    uid=service.uid,
                ),
            )
        except NotFound:
            return False
        return True

    async def explain(self, service: Service, why: Condition) -> bool:
        """The condition alone: the status has nothing else of ours. False: it stood already."""
        conditions = conditions_with(service, why)
        if conditions == service.conditions:
            return False
        await self._counted(
            "status",
            self._client.patch(
                SERVICES,
                service.name,
                {"status": {"conditions": msgspec.to_builtins([*conditions])}},
                service.namespace,
                subresource="status",
                resource_version=service.resource_version,
                uid=service.uid,
            ),
        )
        return True

    async def other_writers(self, service: Service) -> tuple[str, ...]:
        """Who else writes the status of the Service, the latest first. Asked once in a contest."""
        self._metrics.contested.inc()
        found = msgspec.json.decode(await self._client.get(SERVICES, service.name, service.namespace))
        return writers(found["metadata"].get("managedFields") or ())

    async def _counted(self, kind: str, request: Any) -> Any:
        try:
            answer = await request
        except Conflict:
            self._count(kind, "conflict")
            raise
        except ClusterError:
            self._count(kind, "failed")
            raise
        self._count(kind, "done")
        return answer

    def _count(self, kind: str, outcome: str) -> None:
        self._metrics.writes.labels(kind, outcome).inc()
