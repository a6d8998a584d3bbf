"""The Kubernetes edge against a real API server: what the misbehaving one cannot prove."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metalbgp.cluster import decode
from metalbgp.cluster.access import from_kubeconfig
from metalbgp.cluster.client import Client
from metalbgp.cluster.election import Elector
from metalbgp.cluster.errors import AlreadyExists, ClusterError, Conflict, Forbidden, NotFound, Unauthorized
from metalbgp.cluster.events import EventRecorder
from metalbgp.cluster.reflector import Changed, Event, Reflector, Removed
from metalbgp.cluster.resources import CONFIG_MAPS, EVENTS, LEASES, SERVICES, Reference
from metalbgp.model.names import LEASE
from tests.apiserver import ApiServer
from tests.unit.cluster.misbehaving import until

Meta = decode.ObjectMeta


@pytest.fixture
async def client(apiserver: ApiServer) -> AsyncIterator[Client]:
    async with Client(from_kubeconfig(apiserver.kubeconfig)) as made:
        yield made


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"law": "view"}}, "data": data}


async def versions(client: Client) -> dict[str, str]:
    found: dict[str, str] = {}
    async for page in client.list_pages(CONFIG_MAPS, "default", label_selector="law=view", limit=7):
        for item in page.items or ():
            meta = decode.meta(item)
            found[f"{meta.namespace}/{meta.name}"] = meta.resource_version
    return found


@pytest.mark.parametrize("by_pages", [False, True])
async def test_a_view_equals_the_server_after_any_changes_and_a_restart(
    apiserver: ApiServer, client: Client, by_pages: bool
) -> None:
    rand = random.Random(7)  # noqa: S311 - a repeatable test
    replayed: dict[str, Meta] = {}

    def handle(event: Event[Meta]) -> None:
        match event:
            case Changed(key, old, new):
                assert replayed.get(key) == old
                replayed[key] = new
            case Removed(key, old):
                assert replayed.pop(key, None) == old
            case _:
                pass

    reflector = Reflector(client, CONFIG_MAPS, decode.meta, namespace="default", label_selector="law=view")
    reflector._by_pages = by_pages
    task = asyncio.create_task(reflector.run(handle))
    await reflector.wait_synced()

    async def change(number: int) -> None:
        name = f"m{rand.randrange(30)}"
        try:
            match rand.choice(["create", "create", "patch", "delete"]):
                case "create":
                    await client.create(CONFIG_MAPS, config_map(name), "default")
                case "patch":
                    await client.patch(CONFIG_MAPS, name, {"data": {"n": str(number)}}, "default")
                case _:
                    await client.delete(CONFIG_MAPS, name, "default")
        except (AlreadyExists, NotFound):
            pass

    for number in range(150):
        await change(number)
    apiserver.kill()
    with pytest.raises(ClusterError):
        await client.get(CONFIG_MAPS, "m1", "default")
    apiserver.restart()
    for number in range(150):
        await change(number)
    truth = await versions(client)
    assert truth
    await until(
        lambda: {key: meta.resource_version for key, meta in reflector.values.items()} == truth,
        lambda: (truth, reflector.trouble),
    )
    assert replayed == reflector.values
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_stale_patch_and_a_stale_delete_are_refused(client: Client) -> None:
    first = decode.meta(await client.create(CONFIG_MAPS, {"metadata": {"name": "cas"}}, "default"))
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAPS, {"metadata": {"name": "cas"}}, "default")
    patch = {"data": {"a": "b"}}
    second = decode.meta(
        await client.patch(
            CONFIG_MAPS, "cas", patch, "default", resource_version=first.resource_version, uid=first.uid
        )
    )
    with pytest.raises(Conflict):
        await client.patch(
            CONFIG_MAPS, "cas", {"data": None}, "default", resource_version=first.resource_version
        )
    with pytest.raises(Conflict):
        await client.patch(CONFIG_MAPS, "cas", {"data": None}, "default", uid="another")
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, "cas", "default", resource_version=first.resource_version)
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, "cas", "default", uid="another")
    await client.delete(
        CONFIG_MAPS, "cas", "default", uid=second.uid, resource_version=second.resource_version
    )
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAPS, "cas", "default")


async def test_status_and_annotation_of_a_service_are_one_request(client: Client) -> None:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], "ipFamilyPolicy": "PreferDualStack"}
    made = decode.service(
        await client.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec}, "default")
    )
    assert len(made.cluster_ips) == 2
    body = {
        "metadata": {"annotations": {"metallb.io/ip-allocated-from-pool": "p"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    }
    answer = await client.patch(
        SERVICES, "web", body, "default", subresource="status", resource_version=made.resource_version
    )
    after = decode.service(answer)
    assert (after.ingress, after.pool_annotation) == (("192.0.2.1",), "p")
    await client.delete(SERVICES, "web", "default")


async def test_a_prefilter_hides_other_services_and_a_type_change_removes(client: Client) -> None:
    events: list[Event[Any]] = []
    reflector = Reflector(client, SERVICES, decode.load_balancer, prefilter="spec.type=LoadBalancer")
    task = asyncio.create_task(reflector.run(events.append))
    await reflector.wait_synced()
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
    await client.create(SERVICES, {"metadata": {"name": "typed"}, "spec": spec}, "default")
    await until(lambda: "default/typed" in reflector.values, lambda: events)
    await client.patch(SERVICES, "typed", {"spec": {"type": "ClusterIP"}}, "default")
    await until(lambda: not reflector.values, lambda: events)
    await client.delete(SERVICES, "typed", "default")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_a_user_may_not_do_names_the_remedy(apiserver: ApiServer) -> None:
    async with Client(apiserver.access("nobody")) as client:
        with pytest.raises(Forbidden, match="apply the ClusterRole"):
            await client.get(SERVICES, "kubernetes", "default")
    access = apiserver.access()
    access._token = "nonsense"  # noqa: S105 - a wrong one
    async with Client(access) as client:
        with pytest.raises(Unauthorized, match="the token or certificate is not accepted"):
            await client.get(SERVICES, "kubernetes", "default")


async def test_two_electors_on_a_real_server_never_both_lead(client: Client) -> None:
    figures = {"duration": 2.0, "renew": 1.0, "retry": 0.1}
    both = [Elector(client, "metallb-system", "law", name, **figures) for name in ("a", "b")]
    tasks = [asyncio.create_task(elector.run()) for elector in both]
    leaders: list[str] = []
    for _ in range(3):
        await until(lambda: any(elector.may_write() for elector in both), lambda: both[0].trouble)
        (leader,) = [elector for elector in both if elector.may_write()]
        leaders.append(leader.identity)
        number = both.index(leader)
        tasks[number].cancel()  # gives the Lease back, so the other begins at once
        await asyncio.gather(tasks[number], return_exceptions=True)
        assert not leader.may_write()
        other = both[1 - number]
        await until(other.may_write, lambda: both[0].trouble)
        tasks[number] = asyncio.create_task(leader.run())
    assert leaders == [leaders[0], *({"a": "ba", "b": "ab"}[leaders[0]])]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_standby_hears_of_a_lease_given_back_and_does_not_wait_for_its_next_look(
    apiserver: ApiServer, client: Client
) -> None:
    apiserver.apply_manifest()
    figures = {"duration": 60.0, "renew": 50.0, "retry": 40.0}
    async with Client(apiserver.access("controller")) as ours:  # with its own rights: to watch this one Lease
        both = [Elector(ours, "metallb-system", LEASE, name, **figures) for name in ("a", "b")]
        tasks = [asyncio.create_task(elector.run()) for elector in both]
        views = [elector.view() for elector in both]
        watches = [asyncio.create_task(v.run(e.heard)) for v, e in zip(views, both, strict=True)]
        try:
            await until(lambda: any(elector.may_write() for elector in both), lambda: both[0].trouble)
            first = both.index(next(elector for elector in both if elector.may_write()))
            await until(lambda: all(view.synced for view in views), lambda: [view.trouble for view in views])
            await until(lambda: both[1 - first].holder == both[first].identity, lambda: both[1 - first])
            tasks[first].cancel()
            await asyncio.gather(tasks[first], return_exceptions=True)
            began = time.monotonic()
            await until(both[1 - first].may_write, lambda: both[1 - first].trouble)
            assert time.monotonic() - began < 5
        finally:
            for task in (*tasks, *watches):
                task.cancel()
            await asyncio.gather(*tasks, *watches, return_exceptions=True)
            await client.delete(LEASES, LEASE, "metallb-system")


async def test_events_are_what_kubectl_shows(apiserver: ApiServer, client: Client) -> None:
    recorder = EventRecorder(client, "metallb-controller", instance="pod-1", pace=0.0)
    task = asyncio.create_task(recorder.run())
    service = decode.meta(await client.get(SERVICES, "kubernetes", "default"))
    about = Reference(SERVICES, service.name, service.namespace, service.uid)
    for _ in range(3):
        recorder.emit(about, "Warning", "AllocationFailed", "no pool is free")
        await recorder.drain()
    again = EventRecorder(client, "metallb-controller")  # after a restart
    later = asyncio.create_task(again.run())
    again.emit(about, "Warning", "AllocationFailed", "no pool is free")
    await again.drain()
    assert (recorder.dropped, again.dropped) == (0, 0)
    shown = json.loads(apiserver.kubectl("get", "events", "-n", "default", "-o", "json"))["items"]
    (event,) = [entry for entry in shown if entry["reason"] == "AllocationFailed"]
    assert event["count"] == 4
    assert event["involvedObject"]["uid"] == service.uid
    described = apiserver.kubectl("describe", "service", "kubernetes", "-n", "default")
    assert "metallb-controller" in described
    assert "no pool is free" in described
    await client.delete(EVENTS, event["metadata"]["name"], "default")
    for running in (task, later):
        running.cancel()
    await asyncio.gather(task, later, return_exceptions=True)
