"""L2Advertisement spread: even, on a real API server: the VirtualIPs that are written.

In:  a controller; nodes and speaker Pods as the API server would have them, Services with an endpoint.
Elsewhere: how many move is tests/unit/controller/test_spread.py, the bound tests/laws/test_spread.py.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from metalbgp.cluster.resources import ENDPOINT_SLICES, L2_ADVERTISEMENTS, NODES, PODS, VIRTUAL_IPS
from tests.apiserver import ApiServer
from tests.laws_api.rules import PLACE, SYSTEM, World, body, installed, until, world

HOSTS = ("spread-1", "spread-2", "spread-3")
SERVICES = 12


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    return installed(apiserver)


@pytest.fixture
async def it(server: ApiServer) -> AsyncIterator[World]:
    async with world(server) as one:
        for name in HOSTS:
            await one.admin.create(NODES, body(NODES, {"metadata": {"name": name}}))
            await speaker(one, name)
        try:
            yield one
        finally:
            await one.stop()
            for number in range(SERVICES):
                await one.delete(ENDPOINT_SLICES, f"s{number}-1", PLACE)
            for name in HOSTS:
                await gone(one, name)
                await one.delete(NODES, name)


async def speaker(it: World, node: str) -> None:
    labels = {"app": "metallb", "component": "speaker"}
    spec = {"nodeName": node, "containers": [{"name": "speaker", "image": "none"}]}
    pod = {"metadata": {"name": node, "labels": labels}, "spec": spec}
    await it.admin.create(PODS, body(PODS, pod), SYSTEM)
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    await it.admin.patch(PODS, node, ready, SYSTEM, subresource="status")


async def gone(it: World, node: str) -> None:
    await it.admin.call("DELETE", f"{PODS.path(SYSTEM, node)}?gracePeriodSeconds=0")


async def firsts(it: World) -> dict[str, str]:
    """Address → the node that is first, of the VirtualIPs that name one."""
    specs = [one["spec"] for one in await it.all(VIRTUAL_IPS)]
    return {one["address"]: one["candidates"][0] for one in specs if one.get("candidates")}


async def versions(it: World) -> dict[str, str]:
    return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in await it.all(VIRTUAL_IPS)}


async def ends(it: World, *counts: int) -> dict[str, str]:
    found: dict[str, str] = await until(
        lambda: firsts(it), lambda found: sorted(Counter(found.values()).values()) == sorted(counts)
    )
    return found


async def test_addresses_are_even_over_the_nodes_that_are_there_and_a_restart_writes_nothing(
    it: World,
) -> None:
    notes = {"metalbgp.io/spread": "even"}
    about = {"name": "even", "annotations": notes}
    await it.apply(L2_ADVERTISEMENTS, {"metadata": about, "spec": {}}, SYSTEM)
    await it.pool("production", "192.0.2.0/28")
    await it.start()
    for number in range(SERVICES):
        piece = {
            "metadata": {"name": f"s{number}-1", "labels": {"kubernetes.io/service-name": f"s{number}"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": HOSTS[0], "conditions": {"ready": True}}],
        }
        await it.admin.create(ENDPOINT_SLICES, body(ENDPOINT_SLICES, piece), PLACE)
        await it.service(f"s{number}")
    before = await ends(it, 4, 4, 4)
    await gone(it, HOSTS[1])
    without = await ends(it, 6, 6)
    assert {before[one] for one in before if before[one] != without[one]} == {HOSTS[1]}
    await speaker(it, HOSTS[1])
    after = await ends(it, 4, 4, 4)
    assert sum(without[one] != after[one] for one in after) == 4
    await it.stop()
    before_restart = await versions(it)
    one = (await it.start()).one
    async with asyncio.timeout(20):
        while not one.leading:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.01)
        await one.queue.settled()
    assert await versions(it) == before_restart
