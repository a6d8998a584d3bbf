"""PoolPolicy probe: BeforeUse, on a real API server: what is shown when, and what of an address in use.

In:  a controller; nodes, speaker Pods and NodeStates as speakers write them, played by the test.
Elsewhere: the question itself on a wire is tests/wire/test_l2_probes.py; the whole way is on the lab.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metalbgp.cluster.client import Client
from metalbgp.cluster.resources import L2_ADVERTISEMENTS, NODE_STATES, NODES, PODS, VIRTUAL_IPS
from metalbgp.config import nodestate
from metalbgp.model.report import NodeReport, ProbeReport
from tests.apiserver import ApiServer
from tests.laws_api.rules import SYSTEM, World, body, installed, until, world

MAC = "02:00:00:00:00:20"


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    return installed(apiserver)


class Speaker:
    """Of node segment-1: its Pod is ready, and it says what it found."""

    def __init__(self, it: World, client: Client) -> None:
        self._it, self._client = it, client
        self._said: dict[str, ProbeReport] = {}

    async def asked(self, address: str) -> str:
        """The uid of the VirtualIP that waits for what is found."""
        found = await until(
            lambda: self._it.all(VIRTUAL_IPS),
            lambda items: any(
                (one["spec"]["address"], one["spec"]["phase"]) == (address, "probing")
                and one["spec"].get("candidates") == ["segment-1"]
                for one in items
            ),
        )
        return next(str(one["metadata"]["uid"]) for one in found if one["spec"]["address"] == address)

    async def says(self, address: str, mac: str = "", **more: Any) -> None:
        uid = await self.asked(address)
        on = "eth0" if mac else ""
        self._said[uid] = ProbeReport(address=address, uid=uid, done=True, mac=mac, interface=on, **more)
        report = NodeReport(node="segment-1", probes=tuple(self._said.values()))
        await self._client.patch(NODE_STATES, "segment-1", nodestate.merge_patch(report), SYSTEM)


@pytest.fixture
async def it(server: ApiServer) -> AsyncIterator[World]:
    async with world(server) as one:
        yield one


@pytest.fixture
async def speaker(it: World, server: ApiServer) -> AsyncIterator[Speaker]:
    labels = {"app": "metallb", "component": "speaker"}
    pod = {
        "metadata": {"name": "speaker-segment-1", "labels": labels},
        "spec": {"nodeName": "segment-1", "containers": [{"name": "speaker", "image": "none"}]},
    }
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    async with Client(server.access("speaker")) as client:
        await it.admin.create(NODES, body(NODES, {"metadata": {"name": "segment-1"}}))
        await it.admin.create(PODS, body(PODS, pod), SYSTEM)
        await it.admin.patch(PODS, "speaker-segment-1", ready, SYSTEM, subresource="status")
        await it.apply(L2_ADVERTISEMENTS, {"metadata": {"name": "segment"}, "spec": {}}, SYSTEM)
        report = NodeReport(node="segment-1")
        await client.create(NODE_STATES, nodestate.encode(report, SYSTEM, SYSTEM), SYSTEM)
        try:
            yield Speaker(it, client)
        finally:
            # Only the collector of a Node that is gone may do that.
            collector = "--as=system:serviceaccount:kube-system:generic-garbage-collector"
            await asyncio.to_thread(
                server.kubectl, "delete", "nodestate", "segment-1", "-n", SYSTEM, collector
            )
            await it.delete(L2_ADVERTISEMENTS, "segment", SYSTEM)
            await it.admin.call("DELETE", f"{PODS.path(SYSTEM, 'speaker-segment-1')}?gracePeriodSeconds=0")
            await it.delete(NODES, "segment-1")


async def asking(it: World, *ranges: str) -> None:
    await it.start()
    await it.pool("lab", *ranges)
    await it.policy("lab", probe="BeforeUse")


async def test_an_address_is_shown_only_after_nobody_answered(it: World, speaker: Speaker) -> None:
    await asking(it, "198.51.100.0/30")
    await it.service("web")
    await speaker.asked("198.51.100.0")
    assert await it.addresses("web") == []
    await speaker.says("198.51.100.0")
    await it.has("web", "198.51.100.0")
    assert await it.claims() == {"198.51.100.0": "bound"}


async def test_an_address_that_somebody_has_is_told_with_the_mac_and_the_next_one_is_tried(
    it: World, speaker: Speaker
) -> None:
    await asking(it, "198.51.100.0/30")
    await it.service("web")
    await speaker.says("198.51.100.0", mac=MAC)
    await it.hears("web", "AddressInUse", f"{MAC} answered a probe from segment-1 on eth0")
    await speaker.says("198.51.100.1")
    await it.has("web", "198.51.100.1")
    await it.hears("web", "IPAllocated", "first free address")
    assert await it.claims() == {"198.51.100.1": "bound"}
    # And nobody else is led there a second time.
    await it.service("other")
    await speaker.says("198.51.100.2")
    await it.has("other", "198.51.100.2")


async def test_who_asks_for_exactly_that_address_is_told_why_he_has_none(it: World, speaker: Speaker) -> None:
    await asking(it, "198.51.100.0/30")
    await it.service("web", notes={"metallb.io/loadBalancerIPs": "198.51.100.2"})
    await speaker.says("198.51.100.2", mac=MAC)
    await it.lacks("web", "AddressAnswers", f"{MAC} answered")
    assert await it.claims() == {}


async def test_a_controller_that_comes_in_the_middle_ends_what_was_begun(it: World, speaker: Speaker) -> None:
    await asking(it, "198.51.100.0/30")
    await it.service("web")
    uid = await speaker.asked("198.51.100.0")
    await it.stop()
    await speaker.says("198.51.100.0")  # found while nobody decides
    assert await it.addresses("web") == []
    await it.start()
    await it.has("web", "198.51.100.0")
    found = json.loads(await it.admin.get(VIRTUAL_IPS, "198.51.100.0"))
    assert found["metadata"]["uid"] == uid and found["spec"]["phase"] == "bound"


async def test_what_is_in_use_already_is_not_asked_for(it: World, speaker: Speaker) -> None:
    await it.start()
    await it.pool("lab", "198.51.100.0/29")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    await it.stop()
    # Given by MetalLB, as after a migration; and a policy that comes only now.
    await it.service("moved")
    await it.status("moved", "198.51.100.4", pool="lab")
    await it.policy("lab", probe="BeforeUse")
    await it.start()
    await it.service("fresh")
    await speaker.asked("198.51.100.1")
    claims = {"198.51.100.0": "bound", "198.51.100.1": "probing", "198.51.100.4": "bound"}
    await until(it.claims, lambda found: found == claims)
    await it.has("web", "198.51.100.0")
    await it.has("moved", "198.51.100.4")


async def test_who_goes_while_it_is_asked_for_leaves_nothing_behind(it: World, speaker: Speaker) -> None:
    await it.start()
    await it.pool("lab", "198.51.100.0/30")
    await it.policy("lab", probe="BeforeUse", sticky={}, reuseDelay="1h")
    await it.service("web")
    await speaker.asked("198.51.100.0")
    await it.gone("web")
    await until(it.claims, lambda claims: claims == {})  # nobody ever used it: it neither cools nor waits


async def test_a_moving_service_keeps_its_address_until_the_next_is_known_to_be_free(
    it: World, speaker: Speaker
) -> None:
    await asking(it, "198.51.100.0/30")
    await it.service("web")
    await speaker.says("198.51.100.0")
    await it.has("web", "198.51.100.0")
    await it.note("web", loadBalancerIPs="198.51.100.3")
    await speaker.asked("198.51.100.3")
    assert await it.addresses("web") == ["198.51.100.0"]
    await speaker.says("198.51.100.3")
    await it.has("web", "198.51.100.3")
    await until(it.claims, lambda claims: claims == {"198.51.100.3": "bound"})


async def test_an_l2_advertisement_that_comes_a_little_after_the_service_is_in_time(
    it: World, speaker: Speaker
) -> None:
    await it.delete(L2_ADVERTISEMENTS, "segment", SYSTEM)
    await asking(it, "198.51.100.0/30")
    await it.service("web")
    await until(it.claims, lambda claims: claims == {"198.51.100.0": "probing"})
    await it.apply(L2_ADVERTISEMENTS, {"metadata": {"name": "segment"}, "spec": {}}, SYSTEM)
    await speaker.says("198.51.100.0", mac=MAC)
    await it.hears("web", "AddressInUse", MAC)


async def test_where_no_node_can_ask_the_address_is_used_all_the_same(it: World) -> None:
    await asking(it, "198.51.100.0/30")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    await it.hears("web", "AddressNotProbed", "no L2Advertisement")
