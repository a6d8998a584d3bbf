"""A small world on a real API server for the rules of allocation: what users apply, what they then see.

In:  an ApiServer; words like pool(), service(), which write as a person does.
Out: addresses, conditions, events, VirtualIPs, as the API server has them. The controller runs in this
     process, with the controller's own account. Everything is removed at the end.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import ClusterError, NotFound
from metalbgp.cluster.resources import (
    ADDRESS_RESERVATIONS,
    BFD_PROFILES,
    BGP_ADVERTISEMENTS,
    BGP_PEERS,
    COMMUNITIES,
    IP_ADDRESS_POOLS,
    L2_ADVERTISEMENTS,
    NAMESPACES,
    POOL_POLICIES,
    SERVICES,
    SPEAKER_CONFIGURATIONS,
    VIRTUAL_IPS,
    Resource,
)
from metalbgp.controller.controller import Controller, Options
from metalbgp.inventory.inventory import Inventory
from tests.apiserver import ApiServer

SYSTEM, PLACE = "metallb-system", "rules"
LIMIT = 20.0  # seconds until a test calls it missing


def installed(apiserver: ApiServer) -> ApiServer:
    apiserver.install()
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLACE}}
    apiserver.kubectl("apply", "-f", "-", stdin=json.dumps(space))
    return apiserver


class Running:
    """One controller, sure to lead."""

    def __init__(self, client: Client, told: list[tuple[str, str, str]], options: Options) -> None:
        self._leads: asyncio.Queue[bool] = asyncio.Queue()
        self._leads.put_nowait(True)
        self.one = Controller(
            client,
            client,
            lambda about, _kind, reason, words: told.append((about.name, reason, words)),
            options,
        )
        self._task = asyncio.create_task(self.one.run(self._leads.get))

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class World:
    def __init__(self, admin: Client, controller: Client) -> None:
        self.admin, self.controller = admin, controller
        self.told: list[tuple[str, str, str]] = []  # (object, event reason, words)
        self._running: list[Running] = []

    async def start(self, **options: Any) -> Running:
        asked = Options(**{"namespace": SYSTEM, "installation": SYSTEM, **options})
        one = Running(self.controller, self.told, asked)
        self._running.append(one)
        return one

    async def stop(self) -> None:
        while self._running:
            await self._running.pop().end()

    # ------------------------------------------------------------------ what people write

    async def pool(self, name: str, *addresses: str, **spec: Any) -> None:
        labels = spec.pop("labels", {})
        body = {"metadata": {"name": name, "labels": labels}, "spec": {"addresses": list(addresses), **spec}}
        await self.apply(IP_ADDRESS_POOLS, body, SYSTEM)

    async def policy(self, *pools: str, **spec: Any) -> None:
        body = {"metadata": {"name": "policy"}, "spec": {"ipAddressPools": list(pools), **spec}}
        await self.apply(POOL_POLICIES, body, SYSTEM)

    async def reservation(self, name: str, *addresses: str, **spec: Any) -> None:
        body = {"metadata": {"name": name}, "spec": {"addresses": list(addresses), **spec}}
        await self.apply(ADDRESS_RESERVATIONS, body, SYSTEM)

    async def service(
        self,
        name: str,
        *,
        notes: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        dual: str = "",
        namespace: str = PLACE,
        **spec: Any,
    ) -> None:
        if dual:
            spec |= {"ipFamilyPolicy": dual, "ipFamilies": ["IPv4", "IPv6"]}
        await self.in_force()
        about = {"name": name, "annotations": notes or {}, "labels": labels or {}}
        whole = {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}, **spec}
        await self.admin.create(SERVICES, body(SERVICES, {"metadata": about, "spec": whole}), namespace)

    async def in_force(self) -> None:
        """Who controls has compiled what stands there, so that the order of a test is the order of events."""

        async def wanted() -> set[tuple[str, int]]:
            kinds = (IP_ADDRESS_POOLS, POOL_POLICIES, ADDRESS_RESERVATIONS)
            return {
                (one["metadata"]["uid"], one["metadata"]["generation"])
                for resource in kinds
                for one in await self.all(resource, SYSTEM)
            }

        for running in self._running:
            now = running.one.inventory

            def compiled(found: set[tuple[str, int]], now: Inventory = now) -> bool:
                configuration = now.configuration
                parts = (*configuration.pools, *configuration.policies, *configuration.reservations)
                return {(one.source.uid, one.source.generation) for one in parts} == found

            await until(wanted, compiled)

    async def change(self, name: str, namespace: str = PLACE, **parts: Any) -> None:
        """A merge patch of a Service."""
        await self.admin.patch(SERVICES, name, parts, namespace)

    async def note(self, name: str, **notes: str | None) -> None:
        """Annotations metallb.io/…; None takes one away."""
        named = {f"metallb.io/{key.replace('_', '-')}": value for key, value in notes.items()}
        await self.change(name, metadata={"annotations": named})

    async def status(self, name: str, *addresses: str, pool: str | None = None) -> None:
        """What another load balancer, or MetalLB, wrote there."""
        ingress = [{"ip": address} for address in addresses]
        notes = {"metallb.io/ip-allocated-from-pool": pool}
        parts = {"metadata": {"annotations": notes}, "status": {"loadBalancer": {"ingress": ingress}}}
        await self.admin.patch(SERVICES, name, parts, PLACE, subresource="status")

    async def apply(self, resource: Resource, whole: dict[str, Any], namespace: str = "") -> None:
        """Create it, or make its labels and spec so; what a spec no longer names goes."""
        name = whole["metadata"]["name"]
        with contextlib.suppress(NotFound):
            found = json.loads(await self.admin.get(resource, name, namespace))
            gone = {key: None for key in found.get("spec", {}) if key not in whole["spec"]}
            parts = {"metadata": whole["metadata"], "spec": gone | whole["spec"]}
            await self.admin.patch(resource, name, parts, namespace)
            return
        await self.admin.create(resource, body(resource, whole), namespace)

    async def delete(self, resource: Resource, name: str, namespace: str = "") -> None:
        with contextlib.suppress(NotFound):
            await self.admin.delete(resource, name, namespace)

    async def gone(self, *names: str) -> None:
        for name in names:
            await self.delete(SERVICES, name, PLACE)

    # ------------------------------------------------------------------ what they see

    async def whole(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.admin.get(SERVICES, name, PLACE))
        return found

    async def addresses(self, name: str) -> list[str]:
        ingress = (await self.whole(name))["status"].get("loadBalancer", {}).get("ingress") or ()
        return [one.get("ip", "") for one in ingress]

    async def why(self, name: str) -> tuple[str, str]:
        """(reason, message) of the condition that says why there is no address."""
        for one in (await self.whole(name))["status"].get("conditions") or ():
            if one["type"] == "metalbgp.io/AddressAllocated":
                return one["reason"], one["message"]
        return "", ""

    async def claims(self) -> dict[str, str]:
        """Phase by address."""
        return {one["spec"]["address"]: one["spec"]["phase"] for one in await self.all(VIRTUAL_IPS)}

    async def all(self, resource: Resource, namespace: str = "") -> list[dict[str, Any]]:
        found = await self.admin.call("GET", resource.path(namespace))
        items: list[dict[str, Any]] = json.loads(found)["items"]
        return items

    async def counters(self, pool: str) -> dict[str, int]:
        found = json.loads(await self.admin.get(IP_ADDRESS_POOLS, pool, SYSTEM))
        counted: dict[str, int] = found.get("status", {})
        return counted

    async def has(self, name: str, *addresses: str) -> None:
        await until(lambda: self.addresses(name), lambda found: found == list(addresses))

    async def lacks(self, name: str, reason: str, words: str = "") -> None:
        """No address, and the condition says why."""
        good = await until(lambda: self.why(name), lambda found: found[0] == reason and words in found[1])
        assert good
        assert await self.addresses(name) == []

    async def hears(self, name: str, reason: str, words: str = "") -> None:
        async def look() -> list[tuple[str, str, str]]:
            return [one for one in self.told if one[0] == name]

        await until(look, lambda found: any(one[1] == reason and words in one[2] for one in found))


async def until(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    seen = None
    try:
        async with asyncio.timeout(LIMIT):
            while not good(seen := await look()):  # noqa: ASYNC110  # each turn asks the API server
                await asyncio.sleep(0.01)
    except TimeoutError as late:
        raise AssertionError(f"seen last: {seen}") from late
    return seen


def body(resource: Resource, whole: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **whole}


@asynccontextmanager
async def world(server: ApiServer) -> AsyncIterator[World]:
    async with Client(server.access()) as admin, Client(server.access("controller")) as controller:
        one = World(admin, controller)
        await _clean(one)  # also what the tests of other files left
        try:
            yield one
        finally:
            await one.stop()
            await _clean(one)


async def _clean(one: World) -> None:
    kinds = (
        (SERVICES, PLACE, one.admin),
        (BGP_ADVERTISEMENTS, SYSTEM, one.admin),
        (L2_ADVERTISEMENTS, SYSTEM, one.admin),
        (BGP_PEERS, SYSTEM, one.admin),
        (COMMUNITIES, SYSTEM, one.admin),
        (BFD_PROFILES, SYSTEM, one.admin),
        (IP_ADDRESS_POOLS, SYSTEM, one.admin),
        (POOL_POLICIES, SYSTEM, one.admin),
        (ADDRESS_RESERVATIONS, SYSTEM, one.admin),
        (VIRTUAL_IPS, "", one.controller),
        (SPEAKER_CONFIGURATIONS, SYSTEM, one.controller),
    )
    for resource, namespace, client in kinds:
        if resource is SPEAKER_CONFIGURATIONS:  # the controller may not delete it, so it is emptied
            for found in await one.all(resource, namespace):
                empty = {"spec": {key: None for key in found.get("spec", {}) if key != "sequence"}}
                await client.patch(resource, found["metadata"]["name"], empty, namespace)
            continue
        for found in await one.all(resource, namespace):
            with contextlib.suppress(ClusterError):
                await client.delete(resource, found["metadata"]["name"], namespace)


async def label_namespace(one: World, **labels: str | None) -> None:
    await one.admin.patch(NAMESPACES, PLACE, {"metadata": {"labels": labels}})
