"""Laws of the agent over an API server that misbehaves: what was not changed is never withdrawn, and what it
is told in the end is what the cluster holds.

The server answers late, with 5xx, with 429 and a time to wait, not at all; it breaks watches off, forgets
versions (410), lists in any order, says things twice. Watches of different kinds run apart by chance.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from metalbgp.cluster.client import WatchEvent
from metalbgp.cluster.errors import Gone, Refused, Silent, Timeout, Unreachable, WatchFailed
from metalbgp.cluster.resources import NODES, PODS, SPEAKER_CONFIGURATIONS, VIRTUAL_IPS, Resource
from metalbgp.config import compiled, virtualip
from metalbgp.model.configuration import Configuration
from metalbgp.model.virtualips import VirtualIP
from metalbgp.speaker import doubt
from metalbgp.speaker.announcer import Announcer
from tests.fakeapi import FakeClient, Key, labelled, matches
from tests.unit.speaker.test_loop import CONFIGURATION, NS, World, ended, vip
from tests.values import node

ANCHOR = 1  # of this address nothing ever changes
NUMBERS = (2, 3, 4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("serving"), st.sampled_from(NUMBERS), st.booleans()),
        st.tuples(st.just("local"), st.sampled_from(NUMBERS), st.booleans()),
        st.tuples(st.just("released"), st.sampled_from(NUMBERS), st.booleans()),
        st.tuples(st.just("community"), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("rest"), st.integers(1, 99), st.booleans()),
    ),
    max_size=25,
)


class Rough(FakeClient):
    """`share`: of all answers and events, how many go wrong."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.share = 0.0
        self.random = random.Random(seed)  # noqa: S311  # repeatable, not secret
        self._log: list[tuple[int, Key, str, dict[str, Any] | None, Raw]] = []
        self._forgotten = 0  # versions up to this one are too old
        self._news = asyncio.Event()

    def _say(self, key: Key, kind: str, before: dict[str, Any] | None) -> None:
        raw = Raw(msgspec.json.encode(self.objects[key]))
        self._log.append((self._newest, key, kind, before, raw))
        self._news.set()
        self._news = asyncio.Event()

    def _wrong(self) -> bool:
        return self.random.random() < self.share

    def _error(self, what: str) -> Exception:
        return self.random.choice(
            (
                Unreachable(what, "connection refused"),
                Timeout(what, "no answer in 5 s"),
                Silent(what, "nothing was heard"),
                WatchFailed(what, "broken off"),
                Gone(what, "too old resource version", status=410),
                Refused(what, "try again", status=429, retry_after=3.0),
                Refused(what, "etcd is away", status=503),
                Refused(what, "a bug", status=500),
            )
        )

    async def _slowly(self) -> None:
        for _ in range(self.random.randrange(6) if self.share else 0):
            await asyncio.sleep(0)

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        initial: bool = False,
        **_: Any,
    ) -> AsyncGenerator[WatchEvent, None]:
        what = f"WATCH {resource.plural}"
        await self._slowly()
        if self._wrong():
            raise self._error(what)
        if resource_version and int(resource_version) < self._forgotten:
            raise Gone(what, "too old resource version", status=410)

        def ours(key: Key, whole: dict[str, Any]) -> bool:
            return key[0] == resource.plural and namespace in ("", key[1]) and matches(whole, field_selector)

        at = int(resource_version or 0)
        if initial:
            at = self._newest
            found = [whole for key, whole in self.objects.items() if ours(key, whole)]
            found = [whole for whole in found if labelled(whole, label_selector)]
            self.random.shuffle(found)
            for raw in [Raw(msgspec.json.encode(whole)) for whole in found]:
                await self._slowly()
                if self._wrong():
                    raise self._error(what)
                yield WatchEvent(type="ADDED", object=raw)
            yield _bookmark(at, "k8s.io/initial-events-end")
        while True:
            for version, key, kind, before, raw in list(self._log):
                if version <= at:
                    continue
                await self._slowly()
                if self._wrong():
                    raise self._error(what)
                at = version
                whole = msgspec.json.decode(raw)
                if not ours(key, whole):
                    continue
                was = before is not None and labelled(before, label_selector)
                told = kind if labelled(whole, label_selector) else "DELETED"
                if told == "DELETED" and not (was or before is None):
                    continue
                for _ in range(1 + self._wrong()):
                    yield WatchEvent(type=told, object=raw)
                if self._wrong():
                    yield _bookmark(at)
            if all(version <= at for version, *_ in self._log):
                await self._news.wait()

    def forget(self) -> None:
        """As a compaction does."""
        self._forgotten = self._newest


def _bookmark(version: int, note: str = "") -> WatchEvent:
    meta: dict[str, Any] = {"resourceVersion": str(version)}
    if note:
        meta["annotations"] = {note: "true"}
    return WatchEvent(type="BOOKMARK", object=Raw(msgspec.json.encode({"metadata": meta})))


class Cluster:
    """What is true, and how it comes to be so."""

    def __init__(self, api: Rough) -> None:
        self.api, self.sequence, self.mark = api, 1, 0
        self.vips: dict[int, VirtualIP] = {}
        api.put(NODES, "n1", {"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]}})
        self.configure(0)
        for number in (ANCHOR, *NUMBERS):
            self.put(number, vip(number))

    def configuration(self) -> Configuration:
        one = replace(CONFIGURATION.bgp_advertisements[0], communities=((64513, self.mark),))
        return replace(CONFIGURATION, sequence=self.sequence, bgp_advertisements=(one,))

    def configure(self, mark: int) -> None:
        self.mark, self.sequence = mark, self.sequence + 1
        made = compiled.encode(self.configuration(), NS)
        self.api.put(SPEAKER_CONFIGURATIONS, NS, made, NS)

    def put(self, number: int, one: VirtualIP) -> None:
        self.vips[number] = one
        self.api.put(VIRTUAL_IPS, one.address, virtualip.encode(one, NS))

    def play(self, kind: str, number: int, yes: bool) -> None:
        match kind:
            case "serving":
                self.pod(number, False)
                self.put(number, vip(number, serving=yes))
            case "local":
                one = vip(number, serving=yes)
                (key,) = one.holders
                holder = replace(
                    one.holders[key],
                    policy="Local",
                    selector={"app": f"s{number}"},
                    nodes={"n1": 1} if yes else {},
                )
                self.pod(number, yes)
                self.put(number, replace(one, holders={key: holder}))
            case "released" if number in self.vips:
                self.put(number, replace(self.vips[number], phase="releasing"))
                if yes:
                    self.api.take(VIRTUAL_IPS, self.vips.pop(number).address)
            case "community":
                self.configure(number)
            case "rest" if yes:
                self.api.forget()

    def pod(self, number: int, there: bool) -> None:
        name = f"s{number}"
        if there:
            body = {
                "metadata": {"labels": {"app": name}},
                "spec": {"nodeName": "n1"},
                "status": {
                    "phase": "Running",
                    "podIP": "10.244.1.7",
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
            self.api.put(PODS, name, body, "web")
        elif ("pods", "web", name) in self.api.objects:
            self.api.take(PODS, name, "web")

    def wanted(self) -> dict[tuple[str, str], Any]:
        one = Announcer()
        one.set_node(replace(node("n1"), addresses=("10.0.0.9",)))
        one.set_configuration(self.configuration())
        for claim in self.vips.values():
            one.set_vip(claim.address, claim)
        return {key: msgspec.to_builtins(attributes) for key, attributes in one.wanted().items()}


async def _quickly(_: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@settings(max_examples=60)
@given(steps=STEPS, seed=st.integers(0, 2**32), share=st.sampled_from([0.05, 0.3, 0.7]))
def test_whatever_the_api_server_does_the_anchor_stays_and_the_end_is_right(
    folder: Path, steps: list[tuple[str, int, bool]], seed: int, share: float
) -> None:
    for left in folder.iterdir():
        left.unlink()
    asyncio.run(play(folder, steps, seed, share))


async def play(folder: Path, steps: list[tuple[str, int, bool]], seed: int, share: float) -> None:
    api = Rough(seed)
    cluster, world = Cluster(api), World(folder, api)
    anchor = f"198.51.100.{ANCHOR}/32"
    lost: list[str] = []
    told = world.agent.link.want

    def want(wants: Any) -> None:
        wants = list(wants)
        lost.extend(prefix for _, prefix, attributes in wants if prefix == anchor and attributes is None)
        told(wants)

    world.agent.link.want = want  # type: ignore[method-assign]  # a listener in front of the world's
    for one in (*(view for view, _ in world.agent._views), world.agent.orders, world.agent.pods):
        one._sleep, one._spread, one._hold_delay = _quickly, 0.0, 0.0
    before, doubt.DOUBT = doubt.DOUBT, 0.01
    task = asyncio.create_task(world.agent.run())
    try:
        async with asyncio.timeout(10):
            while world.told != cluster.wanted():  # noqa: ASYNC110  # a value of the fake, which tells nobody
                await asyncio.sleep(0.001)
        api.share = share
        for kind, number, yes in steps:
            cluster.play(kind, number, yes)
            for _ in range(number if kind == "rest" else api.random.randrange(25)):
                await asyncio.sleep(0)
            assert not lost
        api.share = 0.0
        async with asyncio.timeout(10):
            while world.told != cluster.wanted():
                assert not task.done(), task
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.03)  # longer than DOUBT: nothing is left that would still change it
        assert world.told == cluster.wanted() and not lost
    finally:
        doubt.DOUBT = before
        await ended(task)
