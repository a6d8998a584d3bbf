"""What becomes of an address that nobody holds, and who may have it meanwhile."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.cluster.resources import ADDRESS_RESERVATIONS, POOL_POLICIES, SERVICES, VIRTUAL_IPS
from metalbgp.controller import contest, memory
from metalbgp.controller.contest import Contest, writers
from metalbgp.model.configuration import Configuration, PoolPolicy, Reservation
from metalbgp.model.virtualips import Holder, VirtualIP
from tests.unit.controller.test_controller import NS, World, quick, running, until
from tests.values import pool

__all__ = ["quick"]  # the fixture of short pauses

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
ADDRESS = "198.51.100.7"
POOL = pool("production", "198.51.100.0-198.51.100.255")
RELEASED = VirtualIP(
    address=ADDRESS,
    pool="production",
    phase="releasing",
    holders={"web/shop": Holder(uid="u1", address_id="blue")},
    candidates=("n1",),
    uid="v1",
    resource_version="7",
    installation="test",
)


def configuration(*reservations: Reservation, **policy: Any) -> Configuration:
    policies = (PoolPolicy(name="p", pools=("production",), **policy),) if policy else ()
    return Configuration("test", pools=(POOL,), policies=policies, reservations=reservations)


def test_without_a_policy_a_released_address_is_free() -> None:
    assert memory.after_release(RELEASED, configuration(), NOW) is None
    assert memory.after_release(RELEASED, Configuration("test"), NOW) is None


def test_a_sticky_address_is_kept_for_who_had_it_and_for_its_address_id() -> None:
    kept = memory.after_release(RELEASED, configuration(sticky=True), NOW)
    assert kept is not None
    assert (kept.phase, kept.kept_for, kept.until) == ("cooling", ("web#blue", "web/shop"), "")
    assert (kept.holders, kept.candidates, kept.uid, kept.resource_version) == ({}, (), "v1", "7")


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        ({"reuse_delay": 60}, 60),
        ({"sticky": True, "sticky_for": 30, "reuse_delay": 60}, 60),
        ({"sticky": True, "sticky_for": 90, "reuse_delay": 60}, 90),
    ],
)
def test_it_cools_for_the_longer_of_both_and_never_less(policy: dict[str, Any], seconds: int) -> None:
    moment = NOW + timedelta(milliseconds=300)
    kept = memory.after_release(RELEASED, configuration(**policy), moment)
    assert kept is not None
    left = memory.seconds_left(kept, moment)
    assert left is not None
    assert seconds <= left <= seconds + 1
    assert memory.still(kept, configuration(**policy), moment + timedelta(seconds=seconds)) is not None
    assert memory.still(kept, configuration(**policy), moment + timedelta(seconds=seconds + 1)) is None


def test_an_edited_policy_counts_for_what_cools_already() -> None:
    kept = memory.after_release(RELEASED, configuration(sticky=True), NOW)
    assert kept is not None
    later = NOW + timedelta(seconds=10)
    assert memory.still(kept, configuration(), later) is None
    shorter = memory.still(kept, configuration(reuse_delay=60), later)
    assert shorter is not None
    assert shorter.until == "2026-01-01T12:01:00Z"
    assert memory.still(kept, configuration(reuse_delay=5), later) is None


def test_a_reserved_address_is_reserved_again_and_ends_with_its_reservation() -> None:
    promise = Reservation(name="r", addresses=(ADDRESS,), namespace="web", service="shop")
    again = memory.after_release(RELEASED, configuration(promise, sticky=True), NOW)
    assert again is not None
    assert (again.phase, again.reservation, again.kept_for) == ("reserved", "r", ())
    assert memory.still(again, configuration(promise), NOW) == again
    assert memory.still(again, configuration(sticky=True), NOW) is None
    assert memory.still(again, replace(configuration(promise), pools=()), NOW) is None


# ------------------------------------------------------------------ the same through the controller


def policy(world: World, **spec: Any) -> None:
    world.api.put(POOL_POLICIES, "p", {"spec": {"ipAddressPools": ["production"], **spec}}, NS)


def gone(world: World, name: str) -> None:
    world.api.take(SERVICES, name, "web")


async def test_a_service_made_again_gets_its_address_back_and_others_do_not() -> None:
    world = World()
    world.pool("production", "198.51.100.1-198.51.100.2")
    policy(world, sticky={})
    async with running(world):
        await until(lambda: bool(world.one.inventory.configuration.policies))
        world.service("shop")
        await until(lambda: world.addresses("shop") == ["198.51.100.1"])
        gone(world, "shop")
        await until(lambda: world.claims() == {"198.51.100.1": "cooling"})
        world.service("other")
        world.service("third")
        await until(lambda: world.addresses("other") == ["198.51.100.2"])
        world.service("shop", uid="made-again")
        await until(lambda: world.addresses("shop") == ["198.51.100.1"])
        assert world.claims()["198.51.100.1"] == "bound"
        assert world.api.spec(VIRTUAL_IPS, "198.51.100.1").get("keptFor") is None
        assert world.addresses("third") == []


async def test_an_address_reserved_before_its_service_exists_waits_for_it() -> None:
    world = World()
    world.pool("production", "198.51.100.1-198.51.100.3")
    promise = {
        "spec": {"addresses": ["198.51.100.1"], "service": {"namespace": "web", "name": "shop"}},
    }
    world.api.put(ADDRESS_RESERVATIONS, "shop", promise, NS)
    async with running(world):
        await until(lambda: world.claims() == {"198.51.100.1": "reserved"})
        world.service("other")
        await until(lambda: world.addresses("other") == ["198.51.100.2"])
        world.service("shop")
        await until(lambda: world.addresses("shop") == ["198.51.100.1"])
        gone(world, "shop")
        await until(lambda: world.claims().get("198.51.100.1") == "reserved")
        world.api.take(ADDRESS_RESERVATIONS, "shop", NS)
        await until(lambda: "198.51.100.1" not in world.claims())


async def test_a_reserved_address_that_other_hands_free_is_reserved_again() -> None:
    world = World()
    world.pool("production", "198.51.100.1-198.51.100.3")
    promise = {"spec": {"addresses": ["198.51.100.1"], "service": {"namespace": "web", "name": "shop"}}}
    world.api.put(ADDRESS_RESERVATIONS, "shop", promise, NS)
    async with running(world):
        await until(lambda: world.claims() == {"198.51.100.1": "reserved"})
        uid = world.api.objects[VIRTUAL_IPS.plural, "", "198.51.100.1"]["metadata"]["uid"]
        world.api.take(VIRTUAL_IPS, "198.51.100.1")

        def back() -> bool:
            found = world.api.objects.get((VIRTUAL_IPS.plural, "", "198.51.100.1"))
            return found is not None and found["metadata"]["uid"] != uid

        await until(back)


async def test_a_status_of_another_load_balancer_that_no_pool_of_ours_can_serve_is_left_alone() -> None:
    world = World()
    world.pool("production", "198.51.100.1/32", autoAssign=False)
    nodes = [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}, {"ip": "10.0.0.3"}]
    world.service("web", status=nodes)
    async with running(world):
        await until(lambda: any(name == "web" for name, _, _ in world.told))
        assert world.addresses("web") == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        assert world.wrote("services") == []


async def test_a_service_without_an_address_says_why_until_it_has_one() -> None:
    world = World()
    world.pool("production", "198.51.100.1/32", autoAssign=False)
    foreign = {"type": "example.org/Other", "status": "True", "reason": "R", "message": ""}

    def conditions() -> dict[str, Any]:
        found = world.api.objects["services", "web", "web"].get("status", {}).get("conditions") or ()
        return {one["type"]: one for one in found}

    async with running(world):
        world.service("web")
        await until(lambda: "metalbgp.io/AddressAllocated" in conditions())
        said = conditions()["metalbgp.io/AddressAllocated"]
        assert (said["status"], said["reason"]) == ("False", "NoPoolFits")
        assert 'pool "production" has autoAssign: false' in said["message"]
        whole = world.api.objects["services", "web", "web"]
        whole["status"]["conditions"].append(foreign)
        whole["metadata"]["annotations"] = {"metallb.io/address-pool": "production"}
        world.api.put(SERVICES, "web", {key: whole[key] for key in ("metadata", "spec", "status")}, "web")
        await until(lambda: world.addresses("web") == ["198.51.100.1"])
        assert list(conditions()) == ["example.org/Other"]


async def test_another_controller_that_writes_the_same_status_is_named_and_not_fought() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        world.service("web")
        await until(lambda: world.addresses("web") == ["198.51.100.0"])
        for _ in range(contest.TIMES):
            world.service("web", status=[{"ip": "10.0.0.1"}])
            await until(lambda: world.addresses("web") == ["198.51.100.0"])
        world.service("web", status=[{"ip": "10.0.0.1"}])
        await until(lambda: any(reason == "StatusContested" for _, reason, _ in world.told))
        assert world.addresses("web") == ["10.0.0.1"]


def test_a_contest_is_fought_ever_more_rarely_and_told_once() -> None:
    one, now = Contest(), 0.0
    for version in range(contest.TIMES):
        assert one.replaced("web/a", str(version), now) is None
    waits = []
    for version in range(100, 109):
        wait = one.replaced("web/a", str(version), now)
        assert wait is not None
        waits.append((wait.seconds, wait.tell))
        now += wait.seconds
    assert waits[:3] == [(5.0, True), (10.0, False), (20.0, False)]
    assert waits[-1] == (contest.LONGEST_WAIT, False)


def test_a_status_replaced_now_and_then_is_written_again_at_once() -> None:
    one = Contest()
    assert all(one.replaced("web/a", str(hour), hour * 3600.0) is None for hour in range(100))


def test_a_write_that_fails_and_is_tried_again_is_no_further_replacement() -> None:
    one = Contest()
    assert all(one.replaced("web/a", "7", now * 0.1) is None for now in range(100))


def test_the_other_writer_is_found_in_managed_fields() -> None:
    status = {"f:status": {"f:loadBalancer": {"f:ingress": {}}}}
    fields = [
        {"manager": "kubectl", "time": "2026-01-05T00:00:00Z", "fieldsV1": {"f:spec": {}}},
        {
            "manager": contest.OURS,
            "subresource": "status",
            "time": "2026-01-04T00:00:00Z",
            "fieldsV1": status,
        },
        {"manager": "old-lb", "subresource": "status", "time": "2026-01-01T00:00:00Z", "fieldsV1": status},
        {"manager": "cloud", "subresource": "status", "time": "2026-01-03T00:00:00Z", "fieldsV1": status},
    ]
    assert writers(fields) == ("cloud", "old-lb")
