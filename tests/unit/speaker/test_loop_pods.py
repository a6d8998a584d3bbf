"""The agent and the Pods of its node: what it takes away by itself, and what a view that fails is worth."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from metalbgp.cluster import decode
from metalbgp.cluster.errors import Forbidden, Unreachable
from metalbgp.cluster.resources import PODS
from metalbgp.model.virtualips import VirtualIP
from metalbgp.speaker import own_pods
from metalbgp.speaker.announcer import Announcer
from metalbgp.speaker.own_pods import LAG
from metalbgp.speaker.snapshot import Snapshots
from tests.unit.speaker.test_loop import CONFIGURATION, NS, World, ended, until, vip
from tests.values import node

LOCAL = {"policy": "Local", "selector": {"app": "nginx"}, "nodes": {"n1": 1}}


def local(number: int) -> VirtualIP:
    one = vip(number)
    (key,) = one.holders
    return replace(one, holders={key: replace(one.holders[key], **LOCAL)})


def pod(*, ready: bool, node: str = "n1") -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "metadata": {"labels": {"app": "nginx"}},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "podIP": "10.244.1.7", "conditions": conditions},
    }


async def test_a_pod_of_this_node_that_ends_takes_its_route_along_without_any_other_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_pods, "LAG", 0.0)
    world = World(tmp_path)
    world.fill(local(1), vip(2))
    world.api.put(PODS, "a", pod(ready=True), "web")
    task = asyncio.create_task(world.agent.run())
    await until(lambda: len(world.told) == 2 and world.agent.pods.synced)
    world.api.put(PODS, "a", pod(ready=False), "web")
    await until(lambda: world.prefixes() == ["198.51.100.2/32"])
    shown = world.agent.snapshot_for_metrics()
    assert (shown.unserved, shown.own_pods) == (1, 1)
    world.api.put(PODS, "a", pod(ready=True), "web")
    await until(lambda: len(world.told) == 2)
    await ended(task)


async def test_a_view_of_pods_that_is_not_allowed_or_away_is_not_waited_for_and_withdraws_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (Forbidden("WATCH", "pods"), Unreachable("WATCH", "away")):
        world = World(tmp_path)
        world.fill(local(1))
        real = world.api.watch

        async def refused(error: Exception = error) -> Any:
            raise error
            yield

        def watch(resource: Any, *args: Any, real: Any = real, refused: Any = refused, **options: Any) -> Any:
            return refused() if resource.plural == "pods" else real(resource, *args, **options)

        world.api.watch = watch  # type: ignore[method-assign]  # the same but for Pods
        task = asyncio.create_task(world.agent.run())
        await until(lambda world=world: world.agent.blind())  # type: ignore[misc]  # of this turn
        assert "own Pods are not watched" in world.agent.blind()[0]
        await until(lambda world=world: world.prefixes() == ["198.51.100.1/32"])  # type: ignore[misc]  # of this turn
        await ended(task)


async def test_what_had_ended_before_a_restart_is_not_announced_by_it(tmp_path: Path) -> None:
    known = Announcer()
    known.set_node(node("n1"))
    known.set_configuration(CONFIGURATION)
    meta = {"name": "a", "namespace": "web", "labels": {"app": "nginx"}}
    seen = decode.pod(msgspec.json.encode({**pod(ready=True), "metadata": meta}))
    known.set_pod("web/a", seen)
    known.set_vip("198.51.100.1", local(1))
    known._clock = lambda: LAG
    known.set_pod("web/a", None)
    assert Snapshots(tmp_path / "snapshot.json", "n1", NS).save(known) is None
    world = World(tmp_path)
    world.fill(local(1), vip(2))
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.agent.speaking and world.told)
    assert world.prefixes() == ["198.51.100.2/32"]
    world.api.put(PODS, "a", pod(ready=True), "web")
    await until(lambda: len(world.told) == 2)
    await ended(task)
