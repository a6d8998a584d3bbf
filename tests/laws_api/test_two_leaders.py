"""Two controllers that are both sure to lead, on a real API server: no address is given twice."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from metalbgp.cluster.client import Client
from metalbgp.controller.controller import Controller, Options
from tests.apiserver import ApiServer

SYSTEM, PLACE, MANY = "metallb-system", "two-leaders", 60


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> Any:
    apiserver.install()
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLACE}}
    apiserver.kubectl("apply", "-f", "-", stdin=json.dumps(space))
    pool = {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": PLACE, "namespace": SYSTEM},
        "spec": {"addresses": ["203.0.113.0/24"]},
    }
    apiserver.kubectl("apply", "-f", "-", stdin=json.dumps(pool))
    yield apiserver
    apiserver.kubectl("delete", "ipaddresspool", "-n", SYSTEM, PLACE)


def service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": PLACE},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}},
    }


def shown(server: ApiServer) -> dict[str, list[str]]:
    found = json.loads(server.kubectl("get", "services", "-n", PLACE, "-o", "json"))["items"]
    return {
        one["metadata"]["name"]: [
            entry["ip"] for entry in one["status"].get("loadBalancer", {}).get("ingress") or ()
        ]
        for one in found
    }


def claimed(server: ApiServer) -> dict[str, str]:
    """Address by Service, of the Services of this test."""
    found = json.loads(server.kubectl("get", "virtualips", "-o", "json"))["items"]
    return {
        key: one["spec"]["address"]
        for one in found
        for key in one["spec"].get("holders", {})
        if key.startswith(f"{PLACE}/")
    }


async def test_two_controllers_both_sure_to_lead_never_give_one_address_twice(server: ApiServer) -> None:
    leads: list[asyncio.Queue[bool]] = [asyncio.Queue(), asyncio.Queue()]
    async with Client(server.access("controller")) as client:
        options = Options(namespace=SYSTEM, installation=PLACE)
        ones = [Controller(client, client, lambda *_: None, options) for _ in leads]
        tasks = [asyncio.create_task(one.run(queue.get)) for one, queue in zip(ones, leads, strict=True)]
        try:
            for queue in leads:
                queue.put_nowait(True)
            items = {"apiVersion": "v1", "kind": "List", "items": [service(f"s{n}") for n in range(MANY)]}
            await asyncio.to_thread(server.kubectl, "create", "-f", "-", stdin=json.dumps(items))
            async with asyncio.timeout(60):
                while True:
                    addresses = await asyncio.to_thread(shown, server)
                    given = Counter(address for some in addresses.values() for address in some)
                    assert all(count == 1 for count in given.values()), given
                    if len(given) == MANY and not any(task.done() for task in tasks):
                        break
            held = await asyncio.to_thread(claimed, server)
            assert held == {f"{PLACE}/{name}": some[0] for name, some in addresses.items()}
            await asyncio.to_thread(server.kubectl, "delete", "services", "-n", PLACE, "--all")
            async with asyncio.timeout(30):
                while await asyncio.to_thread(claimed, server):
                    assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
