"""The SpeakerConfiguration in two steps, whatever fails between them, and whoever writes it besides us.

One file because all of it drives one configurator against one fake API server.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from metalbgp.cluster.errors import Forbidden, Invalid, Unreachable
from metalbgp.cluster.resources import (
    BGP_ADVERTISEMENTS,
    BGP_PEERS,
    IP_ADDRESS_POOLS,
    SECRETS,
    SPEAKER_CONFIGURATIONS,
)
from metalbgp.config import compiled
from metalbgp.controller import configure
from metalbgp.controller.claims import Claims
from metalbgp.controller.configure import Configurator, bridge
from metalbgp.controller.metrics import ControllerMetrics
from metalbgp.controller.tell import Tell
from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import Touched
from metalbgp.model.configuration import BGPAdvertisement, Configuration
from tests.fakeapi import FakeClient
from tests.values import pool

NS = "metallb-system"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configure, "COALESCE", 0.001)
    monkeypatch.setattr(configure, "AGAIN", 0.001)
    monkeypatch.setattr(configure, "STATE_AGAIN", 0.001)


class Bench:
    """A Configurator between an API server in memory and a queue that settles when told."""

    def __init__(self, api: FakeClient) -> None:
        self.api = api
        self.inventory = Inventory(NS)
        self.touched: list[Touched] = []
        self.settle = asyncio.Event()
        self.settle.set()
        self.one = Configurator(
            api,
            api,
            self.inventory,
            Claims(self.inventory),
            Tell(lambda *_: None, NS),
            namespace=NS,
            ignore_exclude_label=False,
            touched=self.touched.append,
            settled=self.settle.wait,
        )
        self.one.metrics = ControllerMetrics(self.one.pool_use)

    @property
    def stands(self) -> Configuration:
        return compiled.decode(self.api_bytes())

    def api_bytes(self) -> bytes:
        import msgspec

        return msgspec.json.encode(self.api.objects[SPEAKER_CONFIGURATIONS.plural, NS, NS])

    def names(self) -> list[str]:
        if (SPEAKER_CONFIGURATIONS.plural, NS, NS) not in self.api.objects:
            return []
        try:
            return [one.name for one in self.stands.pools]
        except ValueError:
            return ["unreadable"]

    def password(self, peer: str) -> str:
        data = self.api.objects.get((SECRETS.plural, NS, "metalbgp-speaker"), {}).get("data", {})
        return base64.b64decode(data.get(f"peer.{peer}", "")).decode()


@asynccontextmanager
async def bench(api: FakeClient) -> AsyncIterator[Bench]:
    made = Bench(api)
    watch = asyncio.create_task(made.one.watch())
    try:
        yield made
        assert not watch.done(), "the configurator ended"
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def until(condition: Callable[[], bool], limit: float = 5.0) -> None:
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110  # a value of the fake, which tells nobody
            await asyncio.sleep(0.002)


def give_pool(api: FakeClient, name: str, block: str) -> None:
    api.put(IP_ADDRESS_POOLS, name, {"spec": {"addresses": [block]}}, NS)


def give_peer(api: FakeClient, name: str, **spec: Any) -> None:
    body = {"myASN": 64513, "peerASN": 64512, "peerAddress": "10.0.0.1", **spec}
    api.put(BGP_PEERS, name, {"spec": body}, NS)


def give_secret(api: FakeClient, name: str, password: str) -> None:
    data = {"password": base64.b64encode(password.encode()).decode()}
    api.put(SECRETS, name, {"type": "kubernetes.io/basic-auth", "data": data}, NS)


def lose_one(api: FakeClient, verb: str, plural: str) -> None:
    """The next such write is made, and its answer is lost."""

    def loses(now: str, what: str) -> None:
        if (now, what) == (verb, plural):
            api.loses = lambda *_: None
            raise Unreachable(f"{now} {what}", "the connection broke")

    api.loses = loses


async def test_what_is_removed_goes_only_after_everything_touched_is_written() -> None:
    api = FakeClient()
    give_pool(api, "old", "198.51.100.0/24")
    async with bench(api) as it:
        await it.one.begin()
        await until(lambda: it.names() == ["old"])
        it.settle.clear()
        api.take(IP_ADDRESS_POOLS, "old", NS)
        give_pool(api, "new", "203.0.113.0/24")
        await until(lambda: "new" in it.names())
        await until(lambda: any(pool.name == "new" for pool in it.inventory.configuration.pools))
        assert it.names() == ["new", "old"]
        it.settle.set()
        await until(lambda: it.names() == ["new"])


async def test_a_replica_that_takes_over_removes_nothing_before_it_serves() -> None:
    """Objects that changed while nobody led: the last pass of begin() must not be that of the follower."""
    api = FakeClient()
    give_pool(api, "old", "198.51.100.0/24")
    async with bench(api) as it:
        await it.one.begin()
        await until(lambda: it.names() == ["old"])
        it.one.stop()
        api.take(IP_ADDRESS_POOLS, "old", NS)
        give_pool(api, "new", "203.0.113.0/24")
        await until(lambda: ("IPAddressPool", "new") in it.one._objects)
        seen: list[list[str]] = []
        real = api.patch

        async def slow(*args: Any, **options: Any) -> bytes:
            for _ in range(20):  # time for any other task to come between
                await asyncio.sleep(0.001)
            answer = await real(*args, **options)
            seen.append(it.names())
            return answer

        api.patch = slow  # type: ignore[method-assign]  # slower, else the same
        give_pool(api, "third", "192.0.2.0/24")  # wakes the follower in the middle of begin()
        beginning = asyncio.create_task(it.one.begin())
        await asyncio.sleep(0)
        give_pool(api, "fourth", "192.0.3.0/24")
        await beginning
        assert all("old" in names for names in seen), seen


@pytest.mark.parametrize("verb", ["POST", "PATCH"])
async def test_a_write_whose_answer_is_lost_still_touches_the_services_it_concerns(verb: str) -> None:
    api = FakeClient()
    if verb == "PATCH":
        give_pool(api, "first", "198.51.100.0/24")
    async with bench(api) as it:
        await it.one.begin()
        await asyncio.sleep(0.01)  # the first burst is over
        it.touched.clear()
        it.inventory.pending.add("web/nginx")  # whom a new pool touches
        if verb == "POST":
            api.take(SPEAKER_CONFIGURATIONS, NS, NS)
        lose_one(api, verb, SPEAKER_CONFIGURATIONS.plural)
        give_pool(api, "second", "203.0.113.0/24")
        await until(lambda: "second" in it.names())
        await until(lambda: any("web/nginx" in one.services for one in it.touched))
        assert it.inventory.configuration.pool_of("203.0.113.1") is not None
        it.inventory.pending.discard("web/nginx")


async def test_deleted_by_other_hands_it_is_made_again_and_edited_it_is_mended() -> None:
    api = FakeClient()
    give_pool(api, "production", "198.51.100.0/24")
    async with bench(api) as it:
        await it.one.begin()
        await until(lambda: it.names() == ["production"])
        api.take(SPEAKER_CONFIGURATIONS, NS, NS)
        await until(lambda: it.names() == ["production"])
        sequence = it.stands.sequence
        for other in (0, sequence, sequence + 7):
            spec = {"sequence": other, "pools": []}
            api.put(SPEAKER_CONFIGURATIONS, NS, {"spec": spec}, NS)
            await until(lambda: it.names() == ["production"])
            assert it.stands.sequence >= sequence
        await until(lambda: it.stands.sequence > sequence + 7)


async def test_one_that_nobody_can_read_is_overwritten_also_at_the_start() -> None:
    api = FakeClient()
    rubble = {"spec": {"sequence": "many", "pools": 7, "more": {"a": 1}}}
    api.put(SPEAKER_CONFIGURATIONS, NS, rubble, NS)
    give_pool(api, "production", "198.51.100.0/24")
    async with bench(api) as it:
        await it.one.begin()
        await until(lambda: it.names() == ["production"])
        assert "more" not in api.spec(SPEAKER_CONFIGURATIONS, NS, NS)
        api.put(SPEAKER_CONFIGURATIONS, NS, rubble, NS)
        await until(lambda: it.names() == ["production"])


async def test_our_own_writes_are_not_taken_for_edits() -> None:
    api = FakeClient()
    async with bench(api) as it:
        await it.one.begin()
        for number in range(5):
            give_pool(api, f"p{number}", f"198.51.{number}.0/24")
            await until(lambda number=number: len(it.names()) == number + 1)  # type: ignore[misc]  # bound now
        await asyncio.sleep(0.05)  # time for what must not come
        writes = [what for verb, what, _ in api.writes if what.startswith("speakerconfigurations")]
        assert len(writes) <= 6


async def test_a_state_for_people_that_cannot_be_written_keeps_nobody_waiting() -> None:
    api = FakeClient()
    give_pool(api, "production", "198.51.100.0/24")

    def fails(verb: str, plural: str) -> None:
        if plural == "configurationstates":
            raise Forbidden(verb, "no right")

    api.fails = fails
    async with bench(api) as it:
        async with asyncio.timeout(2):
            await it.one.begin()
        assert it.names() == ["production"]


async def test_a_version_that_the_api_server_refuses_leaves_the_last_good_one_in_force() -> None:
    api = FakeClient()
    give_pool(api, "production", "198.51.100.0/24")
    async with bench(api) as it:
        await it.one.begin()
        await until(lambda: it.names() == ["production"])
        it.one.stop()

        def fails(verb: str, plural: str) -> None:
            if plural == "speakerconfigurations" and verb != "GET":
                raise Invalid(verb, "too long", status=422)

        api.fails = fails
        give_pool(api, "second", "203.0.113.0/24")
        await asyncio.sleep(0.01)  # the pool is heard of first
        async with asyncio.timeout(2):
            await it.one.begin()
        assert [one.name for one in it.inventory.configuration.pools] == ["production"]
        api.fails = lambda *_: None
        await until(lambda: it.names() == ["production", "second"])


async def test_without_any_version_in_force_services_wait() -> None:
    api = FakeClient()
    give_pool(api, "production", "198.51.100.0/24")

    def fails(verb: str, plural: str) -> None:
        if plural == "speakerconfigurations" and verb != "GET":
            raise Invalid(verb, "too long", status=422)

    api.fails = fails
    async with bench(api) as it:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await it.one.begin()


async def test_a_bug_that_one_change_meets_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeClient()
    async with bench(api) as it:
        await it.one.begin()
        real = configure.compile_objects

        def broken(*_: Any, **__: Any) -> Any:
            monkeypatch.setattr(configure, "compile_objects", real)
            raise KeyError("bug")

        monkeypatch.setattr(configure, "compile_objects", broken)
        give_pool(api, "production", "198.51.100.0/24")
        await until(lambda: it.names() == ["production"])


async def test_the_passwords_secret_is_kept_as_it_shall_be() -> None:
    api = FakeClient()
    give_secret(api, "tor-password", "one")
    give_peer(api, "tor", passwordSecret={"name": "tor-password"})
    async with bench(api) as it:
        await it.one.begin()
        assert it.password("tor") == "one"
        give_secret(api, "tor-password", "two")
        await until(lambda: it.password("tor") == "two")
        api.put(SECRETS, "metalbgp-speaker", {"type": "Opaque", "data": {"peer.x": "eA=="}}, NS)
        await until(lambda: it.password("tor") == "two" and it.password("x") == "")
        api.take(SECRETS, "metalbgp-speaker", NS)
        await until(lambda: it.password("tor") == "two")


async def test_the_heartbeat_key_is_made_once_and_again_when_it_is_taken_away() -> None:
    api = FakeClient()

    def key() -> bytes:
        data = api.objects.get((SECRETS.plural, NS, "metalbgp-speaker"), {}).get("data", {})
        return base64.b64decode(data.get("heartbeat.key", ""))

    async with bench(api) as it:
        await it.one.begin()
        first = key()
        assert len(first) == 32
        give_peer(api, "tor", password="one")  # noqa: S106  # no secret
        await until(lambda: it.password("tor") == "one" and key() == first)
    async with bench(api) as it:  # another leader
        await it.one.begin()
        assert key() == first
        api.take(SECRETS, "metalbgp-speaker", NS)
        await until(lambda: len(key()) == 32)
        second = key()
        assert second != first
        api.put(SECRETS, "metalbgp-speaker", {"type": "Opaque", "data": {"heartbeat.key": "eA=="}}, NS)
        await until(lambda: len(key()) == 32)
        assert key() not in (first, second)


async def test_a_session_keeps_its_password_while_the_secret_behind_it_is_away() -> None:
    api = FakeClient()
    give_secret(api, "tor-password", "one")
    give_peer(api, "tor", passwordSecret={"name": "tor-password"})
    async with bench(api) as it:
        await it.one.begin()
        api.take(SECRETS, "tor-password", NS)
        give_pool(api, "production", "198.51.100.0/24")
        await until(lambda: it.names() == ["production"])
        assert it.password("tor") == "one"
        give_peer(api, "tor")  # the user wants none any more
        await until(lambda: it.password("tor") == "")


async def test_an_advertisement_that_goes_is_named_until_nobody_names_it() -> None:
    api = FakeClient()
    give_pool(api, "production", "198.51.100.0/24")
    api.put(BGP_ADVERTISEMENTS, "all", {"spec": {}}, NS)
    async with bench(api) as it:
        await it.one.begin()
        await until(lambda: bool(it.names()) and bool(it.stands.bgp_advertisements))
        it.settle.clear()
        api.take(BGP_ADVERTISEMENTS, "all", NS)
        await until(lambda: not it.inventory.configuration.bgp_advertisements)
        assert [one.name for one in it.stands.bgp_advertisements] == ["all"]
        it.one.stop()  # leadership lost while waiting: the queue was emptied, so nothing settled
        it.settle.set()
        await asyncio.sleep(0.02)  # time for what must not come
        assert [one.name for one in it.stands.bgp_advertisements] == ["all"]


# ------------------------------------------------------------------ bridge, pure


def test_a_bridge_holds_both_ends_of_a_pool_that_changed() -> None:
    old = Configuration(installation="x", pools=(pool("p", "198.51.100.0-198.51.100.255"),))
    new = Configuration(installation="x", pools=(pool("p", "198.51.100.0-198.51.100.9"),))
    both = bridge(new, old)
    assert both.pools == new.pools + old.pools
    assert bridge(both, old) == both and bridge(new, old, old, new) == both


def test_a_bridge_over_two_versions_forgets_neither() -> None:
    versions = [
        Configuration(installation="x", bgp_advertisements=(BGPAdvertisement(name=name, pools=("p",)),))
        for name in "abc"
    ]
    assert {one.name for one in bridge(*versions).bgp_advertisements} == {"a", "b", "c"}


def test_what_is_current_wins_over_what_was_under_its_name() -> None:
    old = Configuration(
        installation="x", bgp_advertisements=(BGPAdvertisement(name="a", pools=("p",), local_preference=1),)
    )
    new = Configuration(
        installation="x", bgp_advertisements=(BGPAdvertisement(name="a", pools=("p",), local_preference=2),)
    )
    assert bridge(new, old) == new
