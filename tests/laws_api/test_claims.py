"""A controller that ends between the claim and the status: the next one heals it, and nothing is given twice.

In:  a real API server; a controller whose status writes never arrive, then another one in its place.
Out: the law in the test's name. Elsewhere: two that both lead in test_two_leaders.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from metalbgp.cluster.client import Client
from metalbgp.cluster.resources import SERVICES, Resource
from metalbgp.controller.controller import Controller, Options
from tests.apiserver import ApiServer

SYSTEM, PLACE, MANY = (
    "metallb-system",
    "half-done",
    12,
)  # no more than the controller has workers: each one gets stuck


class Stuck(Client):
    """Its writes to a Service's status are begun and never end: the process is killed meanwhile."""

    async def patch(self, resource: Resource, *words: Any, **options: Any) -> bytes:
        if resource is SERVICES:
            await asyncio.Event().wait()
        return await super().patch(resource, *words, **options)


@pytest.fixture
def server(apiserver: ApiServer) -> Any:
    apiserver.install()
    pool = {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": PLACE, "namespace": SYSTEM},
        "spec": {"addresses": ["192.0.2.0/24"]},
    }
    services = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"s{number}", "namespace": PLACE},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        }
        for number in range(MANY)
    ]
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLACE}}
    items = {"apiVersion": "v1", "kind": "List", "items": [space, pool, *services]}
    apiserver.kubectl("apply", "-f", "-", stdin=json.dumps(items))
    yield apiserver
    apiserver.kubectl("delete", "services", "-n", PLACE, "--all")
    apiserver.kubectl("delete", "ipaddresspool", "-n", SYSTEM, PLACE)


@asynccontextmanager
async def leading(client: Client) -> AsyncIterator[None]:
    """A controller that is sure to lead, until the block ends: then it ends where it stands."""
    leads: asyncio.Queue[bool] = asyncio.Queue()
    leads.put_nowait(True)
    one = Controller(client, client, lambda *_: None, Options(namespace=SYSTEM, installation=PLACE))
    task = asyncio.create_task(one.run(leads.get))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def claimed(server: ApiServer) -> dict[str, str]:
    """Address by Service, in phase bound."""
    return {
        key.partition("/")[2]: one["spec"]["address"]
        for one in json.loads(server.kubectl("get", "virtualips", "-o", "json"))["items"]
        for key in one["spec"].get("holders", {})
        if key.startswith(f"{PLACE}/") and one["spec"]["phase"] == "bound"
    }


def shown(server: ApiServer) -> dict[str, str]:
    """The same, as the Services' statuses have it."""
    found = json.loads(server.kubectl("get", "services", "-n", PLACE, "-o", "json"))["items"]
    return {
        one["metadata"]["name"]: ingress[0]["ip"]
        for one in found
        if (ingress := one["status"].get("loadBalancer", {}).get("ingress"))
    }


async def becomes(look: Callable[[], Any], good: Callable[[Any], bool], limit: float = 30) -> Any:
    seen = None
    try:
        async with asyncio.timeout(limit):
            while not good(seen := await asyncio.to_thread(look)):
                pass
    except TimeoutError as late:
        raise AssertionError(f"seen last: {seen}") from late
    return seen


async def test_a_controller_that_ends_between_claim_and_status_is_healed_by_the_next(
    server: ApiServer,
) -> None:
    async with Stuck(server.access("controller")) as client, leading(client):
        claims = await becomes(lambda: claimed(server), lambda found: len(found) == MANY)
    assert shown(server) == {}
    async with Client(server.access("controller")) as client, leading(client):
        assert await becomes(lambda: shown(server), lambda found: len(found) == MANY) == claims
        assert await asyncio.to_thread(claimed, server) == claims
        # The claims that stood are what it gave: nothing beside them was taken or released.
        await asyncio.to_thread(server.kubectl, "delete", "services", "-n", PLACE, "--all")
        await becomes(lambda: claimed(server), lambda found: not found)
