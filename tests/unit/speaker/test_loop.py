"""The agent between its views and its parent: what it says when, and what it keeps saying when views fail."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from msgspec.structs import replace

from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import Forbidden, NotFound, Unreachable
from metalbgp.cluster.reflector import Changed, Removed
from metalbgp.cluster.resources import NODES, SPEAKER_CONFIGURATIONS, VIRTUAL_IPS
from metalbgp.config import compiled, virtualip
from metalbgp.model.configuration import BGPAdvertisement, Configuration, Peer
from metalbgp.model.virtualips import Holder, VirtualIP
from metalbgp.speaker import agent as process
from metalbgp.speaker import doubt
from metalbgp.speaker import loop as module
from metalbgp.speaker.announcer import Announcer
from metalbgp.speaker.loop import Agent
from metalbgp.speaker.snapshot import Snapshots
from metalbgp.speaker.views import Options
from tests.fakeapi import FakeClient
from tests.values import node, pool

NS, TOR = "metallb-system", "10.0.0.1"
CONFIGURATION = Configuration(
    installation=NS,
    sequence=1,
    pools=(pool("p", "198.51.100.0-198.51.100.255"),),
    peers=(Peer(name="tor", my_asn=64513, peer_asn=64512, address=TOR),),
    bgp_advertisements=(BGPAdvertisement(name="all", pools=("p",)),),
)


def vip(number: int, serving: bool = True, **fields: Any) -> VirtualIP:
    holder = Holder(uid="u", bgp=("all",), serving=serving)
    return VirtualIP(
        address=f"198.51.100.{number}",
        pool="p",
        configuration=1,
        holders={f"web/s{number}": holder},
        installation=NS,
        **fields,
    )


class World:
    """An agent without a parent's socket: what it would say is in `told`."""

    def __init__(self, folder: Path, client: Client | None = None) -> None:
        self.api = FakeClient()
        self.agent = Agent(client or self.api, Options("n1", NS, NS, folder))
        self.told: dict[tuple[str, str], Any] = {}
        self.said: list[str] = []
        self.agent.link.run = asyncio.Event().wait  # type: ignore[assignment,method-assign]  # nobody connects
        self.agent.link._writer = Mock()  # it is connected
        self.agent.link.want = self._want  # type: ignore[method-assign]  # the wire is parent.py's
        self.agent.link.neighbors = lambda *_: self.said.append("neighbors")  # type: ignore[method-assign]  # a listener
        self.agent.link.synced = lambda: self.said.append("synced")  # type: ignore[method-assign]  # a listener

    def _want(self, wants: Any) -> None:
        for peer, prefix, attributes in wants:
            self.said.append("want")
            if attributes is None:
                self.told.pop((peer, prefix), None)
            else:
                self.told[peer, prefix] = attributes

    def knows(self, configuration: Configuration) -> None:
        """Without an API server: as its views would tell."""
        self.agent._on_configuration(Changed("x", None, configuration))
        self.agent._on_node(Changed("n1", None, node("n1")))

    def prefixes(self) -> list[str]:
        return sorted(prefix for _, prefix in self.told)

    def fill(self, *vips: VirtualIP) -> None:
        self.api.put(SPEAKER_CONFIGURATIONS, NS, compiled.encode(CONFIGURATION, NS), NS)
        status = {"addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]}
        self.api.put(NODES, "n1", {"status": status})
        for one in vips:
            self.api.put(VIRTUAL_IPS, one.address, virtualip.encode(one, NS))


async def until(condition: Callable[[], bool], limit: float = 5.0) -> None:
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110  # a value of the fake, which tells nobody
            await asyncio.sleep(0.002)


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        assert not task.done(), task
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_nothing_is_said_before_the_views_are_complete_and_then_sessions_come_first(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.fill(vip(1))
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.prefixes() == ["198.51.100.1/32"])
    assert world.said == ["neighbors", "want", "synced"]
    await ended(task)


async def test_what_begins_later_is_told_after_its_delay_and_what_was_there_at_the_start_at_once(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.fill(vip(1))
    slow = replace(CONFIGURATION.bgp_advertisements[0], announce_delay=300)
    made = compiled.encode(replace(CONFIGURATION, bgp_advertisements=(slow,)), NS)
    world.api.put(SPEAKER_CONFIGURATIONS, NS, made, NS)
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.prefixes() == ["198.51.100.1/32"])
    began = time.monotonic()
    world.api.put(VIRTUAL_IPS, "198.51.100.2", virtualip.encode(vip(2), NS))
    await until(lambda: len(world.told) == 2)
    assert time.monotonic() - began >= 0.3
    await ended(task)


async def test_a_claim_that_vanishes_waits_and_one_that_was_released_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubt, "DOUBT", 0.2)
    world = World(tmp_path)
    world.fill(vip(1), vip(2), vip(3))
    task = asyncio.create_task(world.agent.run())
    await until(lambda: len(world.told) == 3)
    world.api.take(VIRTUAL_IPS, "198.51.100.1")
    world.api.take(VIRTUAL_IPS, "198.51.100.3")
    world.api.put(VIRTUAL_IPS, "198.51.100.2", virtualip.encode(vip(2, phase="releasing"), NS))
    await until(lambda: "198.51.100.2/32" not in world.prefixes())
    assert world.prefixes() == ["198.51.100.1/32", "198.51.100.3/32"]
    world.api.put(VIRTUAL_IPS, "198.51.100.3", virtualip.encode(vip(3), NS))  # made again
    await until(lambda: world.prefixes() == ["198.51.100.3/32"])
    await asyncio.sleep(0.25)  # time for what must not come
    assert world.prefixes() == ["198.51.100.3/32"]
    await ended(task)


async def test_deleted_configuration_and_node_change_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(vip(1))
    task = asyncio.create_task(world.agent.run())
    await until(lambda: len(world.told) == 1)
    world.api.take(SPEAKER_CONFIGURATIONS, NS, NS)
    world.api.take(NODES, "n1")
    world.api.put(VIRTUAL_IPS, "198.51.100.2", virtualip.encode(vip(2), NS))
    await until(lambda: len(world.told) == 2)
    await ended(task)


class Away(FakeClient):
    """No API server answers."""

    async def watch(self, *_: Any, **__: Any) -> Any:  # type: ignore[override]  # nothing comes
        raise Unreachable("WATCH", "nobody there")
        yield


def remember(folder: Path, *vips: VirtualIP, age: float = 0.0) -> None:
    known = Announcer()
    known.set_node(node("n1"))
    known.set_configuration(CONFIGURATION)
    for one in vips:
        known.set_vip(one.address, one)
    assert Snapshots(folder / "snapshot.json", "n1", NS).save(known, age) is None


async def test_without_an_api_server_the_snapshot_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    remember(tmp_path, vip(1))
    world = World(tmp_path, Away())
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.prefixes() == ["198.51.100.1/32"])
    await ended(task)


def journal(*numbers: int) -> dict[str, Any]:
    """Of a parent that stands where these routes are confirmed."""
    routes = [
        [TOR, f"198.51.100.{number}/32", {"next_hop": ""}, None, None, "confirmed", 1.0] for number in numbers
    ]
    return {"journal": {"exabgp": {"pid": 7}, "sessions": [], "routes": routes}}


async def test_a_start_from_a_snapshot_withdraws_nothing_that_it_knows_nothing_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """198.51.100.3 came in the last second before the end; of .2 it is known that nothing serves."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    remember(tmp_path, vip(1), vip(2, serving=False))
    world = World(tmp_path, Away())
    gone: list[str] = []
    world.agent.link.want = lambda wants: gone.extend(p for _, p, said in wants if said is None)  # type: ignore[method-assign]  # a listener
    world.agent._on_parent(journal(1, 2, 3))
    task = asyncio.create_task(world.agent.run())
    await until(lambda: gone)
    world.agent._on_parent(journal(1, 2, 3))  # and the parent may come back meanwhile
    assert set(gone) == {"198.51.100.2/32"}
    await ended(task)


async def test_the_age_of_the_view_goes_on_from_the_life_before_and_ends_with_the_first_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    remember(tmp_path, vip(1), age=500.0)
    world = World(tmp_path)
    world.fill(vip(1))
    real, back = world.api.watch, asyncio.Event()

    async def watch(*args: Any, **options: Any) -> Any:
        await back.wait()
        async for event in real(*args, **options):
            yield event

    world.api.watch = watch  # type: ignore[method-assign]  # later, else the same
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.agent.from_snapshot)
    assert 500 <= world.agent.view_age < 510
    shown = world.agent.snapshot_for_metrics()
    assert shown.from_snapshot and shown.view_age >= 500
    back.set()
    await until(lambda: not world.agent.from_snapshot)
    assert world.agent.view_age < 10 and not world.agent.snapshot_for_metrics().from_snapshot
    await ended(task)


async def test_a_refused_snapshot_is_said_in_the_metrics_and_nothing_is_announced_or_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    remember(tmp_path, vip(1))
    file = tmp_path / "snapshot.json"
    file.write_bytes(file.read_bytes()[:-9])
    world = World(tmp_path, Away())
    task = asyncio.create_task(world.agent.run())
    await asyncio.sleep(0.2)  # time for what must not come
    world.agent._on_parent(journal(1))
    assert not world.said and not world.agent.speaking and world.agent.view_age == float("inf")
    assert world.agent.snapshot_for_metrics().snapshot_refused == "SnapshotDamaged"
    await ended(task)


async def test_the_snapshot_never_overrides_what_a_view_already_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One view that never completes (a right that is missing) must not bring the past of the others back."""
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    remember(tmp_path, vip(1), vip(2))
    world = World(tmp_path)
    world.fill(vip(1, serving=False), vip(3))
    real = world.api.watch

    def watch(resource: Any, *args: Any, **options: Any) -> Any:
        return Away().watch() if resource.plural == "secrets" else real(resource, *args, **options)

    world.api.watch = watch  # type: ignore[method-assign]  # the same but for Secrets
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.prefixes() == ["198.51.100.3/32"])
    await asyncio.sleep(0.05)  # time for what must not come
    assert world.prefixes() == ["198.51.100.3/32"] and not world.agent.from_snapshot
    await ended(task)


async def test_what_the_snapshot_knew_and_the_api_server_lacks_waits_before_it_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(doubt, "DOUBT", 0.2)
    remember(tmp_path, vip(1), vip(2))
    world = World(tmp_path)
    world.fill(vip(1))
    real, back = world.api.watch, asyncio.Event()

    async def watch(*args: Any, **options: Any) -> Any:
        await back.wait()
        async for event in real(*args, **options):
            yield event

    world.api.watch = watch  # type: ignore[method-assign]  # later, else the same
    task = asyncio.create_task(world.agent.run())
    await until(lambda: len(world.told) == 2)
    back.set()
    await until(lambda: world.agent.synced)
    await asyncio.sleep(0.05)  # time for what must not come
    assert len(world.told) == 2
    await until(lambda: world.prefixes() == ["198.51.100.1/32"])
    await ended(task)


async def test_a_new_connection_to_the_parent_is_told_the_difference_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.knows(CONFIGURATION)
    for number in (1, 2):
        world.agent._on_vip(Changed("v", None, vip(number)))
    world.agent._speak()
    assert len(world.told) == 2
    attributes = msgspec.to_builtins(next(iter(world.agent.announcer.wanted().values())))
    routes = [
        [TOR, "198.51.100.1/32", attributes, None, None, "confirmed", 1.0],
        [TOR, "198.51.100.9/32", attributes, None, None, "confirmed", 1.0],
    ]
    world.told.clear()
    world.said.clear()
    world.agent._on_parent({"journal": {"exabgp": {"pid": 7}, "sessions": [], "routes": routes}})
    assert world.prefixes() == ["198.51.100.2/32"] and world.said == ["neighbors", "want", "want", "synced"]


async def test_readiness_follows_the_child(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent._on_parent({"journal": {"exabgp": {"pid": 0}, "sessions": [], "routes": []}})
    assert not world.agent.record.child_runs
    world.agent._on_parent({"exabgp": {"pid": 7}})
    assert world.agent.record.child_runs


async def test_only_routes_that_are_asked_for_are_timed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.knows(CONFIGURATION)
    world.agent._speak()
    for number in range(50):
        one = vip(number)
        world.agent._on_vip(Changed("v", None, one))
        world.agent._on_vip(Removed("v", vip(number, phase="releasing")))
    assert not world.agent._asked


@pytest.mark.parametrize(
    ("answer", "labels", "drains"),
    [
        ({"metadata": {}}, {}, False),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, {}, True),
        ({"metadata": {}, "spec": {"template": {"spec": {"nodeSelector": {"bgp": "yes"}}}}}, {}, True),
        (
            {"metadata": {}, "spec": {"template": {"spec": {"nodeSelector": {"bgp": "yes"}}}}},
            {"bgp": "yes"},
            False,
        ),
        ({"metadata": {}, "spec": {"template": {"spec": {"nodeSelector": {"bgp": "yes"}}}}}, None, False),
        (NotFound("GET", "gone"), {}, True),
        (Forbidden("GET", "no"), {}, True),
        (Unreachable("GET", "away"), {}, False),
    ],
)
async def test_routes_go_only_when_this_speaker_does_not_come_back(
    answer: Any, labels: dict[str, str] | None, drains: bool
) -> None:
    class Asked(FakeClient):
        async def get(self, *_: Any, **__: Any) -> bytes:
            if isinstance(answer, Exception):
                raise answer
            return msgspec.json.encode(answer)

    options = process.parse(["--node-name", "n1"])
    assert await process.must_drain(Asked(), options, labels) is drains
