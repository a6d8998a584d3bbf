"""What becomes of an address that nobody holds any more: reserved again, cooling until its time, or free.

The whole controller over an API server in memory; the wall clock is the test's own.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from metalbgp.cluster.resources import ADDRESS_RESERVATIONS, POOL_POLICIES, SERVICES, VIRTUAL_IPS
from metalbgp.controller import addresses, configure, controller
from tests.unit.controller.test_controller import NS, World, running, until

FIRST = "198.51.100.0"
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configure, "COALESCE", 0.001)
    monkeypatch.setattr(configure, "AGAIN", 0.001)
    monkeypatch.setattr(addresses, "QUIET", 0.02)
    monkeypatch.setattr(addresses, "FOREIGN", 0.05)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        monkeypatch.setattr(controller, "now", self.now)

    def now(self) -> datetime:
        return START + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Kept(World):
    """Two addresses, and the new kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.pool("production", "198.51.100.0/31")

    def policy(self, **spec: Any) -> None:
        body = {"spec": {"ipAddressPools": ["production"], **spec}}
        self.api.put(POOL_POLICIES, "policy", body, NS)

    def reservation(self, name: str, *found: str, service: str = "shop") -> None:
        spec = {"addresses": list(found), "service": {"namespace": "web", "name": service}}
        self.api.put(ADDRESS_RESERVATIONS, name, {"spec": spec}, NS)

    def vip(self, address: str) -> dict[str, Any]:
        found = self.api.objects.get((VIRTUAL_IPS.plural, "", address), {})
        spec: dict[str, Any] = found.get("spec", {})
        return spec

    def phase(self, address: str) -> str:
        return str(self.vip(address).get("phase", ""))

    def delete(self, name: str) -> None:
        self.api.take(SERVICES, name, "web")

    def look_again(self, address: str = FIRST) -> None:
        """As its timer would: the clock of the test wakes nobody."""
        self.one.queue.add(f"memory:{address}")

    async def served_and_deleted(self, name: str = "shop", **wish: Any) -> None:
        self.service(name, **wish)
        await until(lambda: self.addresses(name) == [FIRST])
        self.delete(name)


async def test_a_sticky_address_waits_for_its_service_and_is_given_to_nobody_else(clock: Clock) -> None:
    world = Kept()
    world.policy(sticky={})
    async with running(world):
        await world.served_and_deleted()
        await until(lambda: world.phase(FIRST) == "cooling")
        assert world.vip(FIRST)["keptFor"] == ["web/shop"]
        assert "until" not in world.vip(FIRST)
        assert not world.vip(FIRST).get("holders")
        world.service("other")
        await until(lambda: world.addresses("other") == ["198.51.100.1"])
        clock.ahead = timedelta(days=1000)
        world.look_again()
        world.service("shop", uid="new")
        await until(lambda: world.addresses("shop") == [FIRST])
        await until(lambda: world.phase(FIRST) == "bound")
        assert "keptFor" not in world.vip(FIRST)
        assert "until" not in world.vip(FIRST)


async def test_a_renamed_service_with_its_address_id_gets_its_address_back(clock: Clock) -> None:
    world = Kept()
    world.policy(sticky={"for": "24h"})

    def named(name: str) -> None:
        spec = {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]}
        meta = {"annotations": {"metalbgp.io/address-id": "front"}}
        world.api.put(SERVICES, name, {"metadata": meta, "spec": spec}, "web")

    async with running(world):
        named("blue")
        await until(lambda: world.addresses("blue") == [FIRST])
        await until(lambda: world.holders(FIRST).get("web/blue", {}).get("addressId") == "front")
        world.delete("blue")
        await until(lambda: world.phase(FIRST) == "cooling")
        assert set(world.vip(FIRST)["keptFor"]) == {"web/blue", "web#front"}
        named("green")
        await until(lambda: world.addresses("green") == [FIRST])


async def test_an_address_with_a_reuse_delay_is_free_when_it_ended_and_who_waited_gets_it(
    clock: Clock,
) -> None:
    world = Kept()
    world.policy(reuseDelay="10m")
    async with running(world):
        await world.served_and_deleted()
        await until(lambda: world.phase(FIRST) == "cooling")
        assert world.vip(FIRST)["until"] >= "2026-01-01T00:10:00Z"
        world.service("one")
        await until(lambda: world.addresses("one") == ["198.51.100.1"])
        world.service("two")
        await until(lambda: any(name == "two" for name, _, _ in world.told))
        assert world.addresses("two") == []
        clock.ahead = timedelta(minutes=9)
        world.look_again()
        await until(lambda: not world.one.queue.depth)
        assert world.phase(FIRST) == "cooling"
        clock.ahead = timedelta(minutes=11)
        world.look_again()
        await until(lambda: world.addresses("two") == [FIRST])


async def test_the_end_of_a_delay_needs_nobody_to_come_by() -> None:
    """The timer on the real clock, also one that a predecessor left behind."""
    world = Kept()
    world.policy(reuseDelay="1s")
    until_then = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    left = {
        "metadata": {"labels": {"metalbgp.io/installation": NS, "metalbgp.io/phase": "cooling"}},
        "spec": {
            "address": "198.51.100.1",
            "pool": "production",
            "phase": "cooling",
            "since": since,
            "until": until_then,
        },
    }
    world.api.put(VIRTUAL_IPS, "198.51.100.1", left)
    async with running(world):
        await world.served_and_deleted()
        await until(lambda: world.phase(FIRST) == "cooling")
        await until(lambda: world.claims() == {})


async def test_a_policy_that_goes_or_changes_counts_for_what_cools_already(clock: Clock) -> None:
    world = Kept()
    world.policy(sticky={}, reuseDelay="10m")
    async with running(world):
        await world.served_and_deleted()
        await until(lambda: world.phase(FIRST) == "cooling")
        world.policy(reuseDelay="10m")  # sticky is switched off: the delay alone counts
        await until(lambda: world.vip(FIRST).get("until", "") != "")
        clock.ahead = timedelta(minutes=11)
        world.policy(reuseDelay="9m")
        await until(lambda: world.claims() == {})


async def test_a_reserved_address_is_held_for_its_service_before_and_after_it_lives(clock: Clock) -> None:
    world = Kept()
    world.reservation("dns", FIRST)
    async with running(world):
        await until(lambda: world.phase(FIRST) == "reserved")
        assert world.vip(FIRST)["reservation"] == "dns"
        assert world.vip(FIRST)["pool"] == "production"
        world.service("other")
        await until(lambda: world.addresses("other") == ["198.51.100.1"])
        world.service("shop")
        await until(lambda: world.addresses("shop") == [FIRST])
        await until(lambda: world.phase(FIRST) == "bound")
        world.delete("shop")
        await until(lambda: world.phase(FIRST) == "reserved")
        assert not world.vip(FIRST).get("holders")
        world.api.take(ADDRESS_RESERVATIONS, "dns", NS)
        await until(lambda: world.phase(FIRST) == "")


async def test_a_reservation_for_an_address_that_somebody_holds_waits_for_its_release(clock: Clock) -> None:
    world = Kept()
    async with running(world):
        world.service("squatter")
        await until(lambda: world.addresses("squatter") == [FIRST])
        world.reservation("dns", FIRST)
        key = (ADDRESS_RESERVATIONS.plural, NS, "dns")
        wanted = "other: web/squatter holds it until it is released"
        await until(lambda: world.api.objects[key].get("status", {}).get("holder") == wanted)
        assert world.addresses("squatter") == [FIRST]
        world.delete("squatter")
        await until(lambda: world.phase(FIRST) == "reserved")
        world.service("squatter", uid="again")
        await until(lambda: world.addresses("squatter") == ["198.51.100.1"])


async def test_a_reservation_without_a_pool_makes_nothing_until_a_pool_holds_it(clock: Clock) -> None:
    world = Kept()
    world.reservation("dns", "203.0.113.7")
    async with running(world):
        key = (ADDRESS_RESERVATIONS.plural, NS, "dns")
        await until(lambda: "conditions" in world.api.objects[key].get("status", {}))
        assert world.claims() == {}
        world.pool("more", "203.0.113.0/24")
        await until(lambda: world.phase("203.0.113.7") == "reserved")
        world.pool("more", "203.0.113.8/29")
        await until(lambda: world.claims() == {})


async def test_a_reserved_claim_that_other_hands_delete_is_made_again(clock: Clock) -> None:
    world = Kept()
    world.reservation("dns", FIRST)
    async with running(world):
        await until(lambda: world.phase(FIRST) == "reserved")
        world.api.take(VIRTUAL_IPS, FIRST)
        await until(lambda: world.phase(FIRST) == "reserved")


async def test_a_cooling_claim_that_other_hands_delete_is_free(clock: Clock) -> None:
    world = Kept()
    world.policy(sticky={})
    async with running(world):
        await world.served_and_deleted()
        await until(lambda: world.phase(FIRST) == "cooling")
        world.api.take(VIRTUAL_IPS, FIRST)
        world.service("other")
        await until(lambda: world.addresses("other") == [FIRST])


async def test_a_reserved_address_of_another_installation_is_foreign_until_that_one_lets_it_go(
    clock: Clock,
) -> None:
    world = Kept()
    theirs = {
        "metadata": {"labels": {"metalbgp.io/installation": "other"}},
        "spec": {"address": FIRST, "pool": "x", "phase": "reserved", "reservation": "theirs"},
    }
    world.api.put(VIRTUAL_IPS, FIRST, theirs)
    world.reservation("dns", FIRST)
    async with running(world):
        world.service("shop")
        await until(lambda: world.addresses("shop") == ["198.51.100.1"])
        assert world.vip(FIRST)["reservation"] == "theirs"
        world.api.take(VIRTUAL_IPS, FIRST)
        await until(lambda: world.vip(FIRST).get("reservation") == "dns")


async def test_what_cools_and_what_is_reserved_survives_a_new_leader(clock: Clock) -> None:
    world = Kept()
    world.policy(sticky={"for": "24h"})
    world.reservation("dns", "198.51.100.1")
    async with running(world):
        await world.served_and_deleted("front")
        await until(lambda: world.claims() == {FIRST: "cooling", "198.51.100.1": "reserved"})
    heir = Kept()
    heir.api.objects = world.api.objects
    heir.api._newest = world.api._newest
    async with running(heir):
        heir.service("other")
        await until(lambda: any(name == "other" for name, _, _ in heir.told))
        assert heir.claims() == {FIRST: "cooling", "198.51.100.1": "reserved"}
        assert heir.addresses("other") == []
        heir.service("front", uid="anew")
        await until(lambda: heir.addresses("front") == [FIRST])


async def test_a_cooling_address_is_taken_early_only_when_the_policy_says_so(clock: Clock) -> None:
    world = Kept()
    world.policy(sticky={}, whenExhausted="Reuse")
    async with running(world):
        await world.served_and_deleted()
        await until(lambda: world.phase(FIRST) == "cooling")
        world.service("one")
        await until(lambda: world.addresses("one") == ["198.51.100.1"])
        world.service("two")
        await until(lambda: world.addresses("two") == [FIRST])
        assert set(world.holders(FIRST)) == {"web/two"}
