"""Counting a pool: exact for every size and family, and what is said about it."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from metalbgp.cluster.errors import Unreachable
from metalbgp.cluster.resources import IP_ADDRESS_POOLS
from metalbgp.config import ranges
from metalbgp.controller import pools
from metalbgp.controller.claims import Claims
from metalbgp.controller.pools import PoolCounters
from metalbgp.inventory.inventory import Inventory
from metalbgp.model.addresses import Range, buggy, from_int
from metalbgp.model.configuration import Pool, Reservation
from tests.fakeapi import FakeClient
from tests.values import configuration, pool, vip


@given(st.integers(0, 2000), st.integers(0, 1200))
def test_avoided_addresses_are_counted_as_if_one_looked_at_each(first: int, length: int) -> None:
    piece = Range(version=4, first=first, last=first + length)
    slow = sum(
        from_int(4, number).rsplit(".")[-1] in ("0", "255") for number in range(piece.first, piece.last + 1)
    )
    assert buggy(piece) == slow


def test_no_ipv6_address_is_avoided() -> None:
    assert buggy(Range(version=6, first=0, last=2**64)) == 0


NS = "metallb-system"
SMALL = pool("production", "198.51.100.0-198.51.100.9")


def bench(api: FakeClient) -> tuple[PoolCounters, Claims]:
    inventory = Inventory(NS)
    claims = Claims(inventory)
    inventory.configure(configuration(SMALL))
    api.put(IP_ADDRESS_POOLS, "production", {"spec": {}}, NS)
    counters = PoolCounters(api, inventory, claims, NS)
    counters.leading = True
    return counters, claims


def test_reserved_and_cooling_addresses_are_neither_assigned_nor_available() -> None:
    counters, claims = bench(FakeClient())
    for version, one in enumerate(
        (
            vip("198.51.100.0"),
            vip("198.51.100.1", {}, phase="cooling", until="2026-01-01T00:10:00Z"),
            vip("198.51.100.2", {}, phase="reserved", reservation="dns"),
        )
    ):
        claims.learn(replace(one, resource_version=str(version + 1), uid=f"u{version}"))
    claims.taken.reserve((Reservation(name="dns", addresses=("198.51.100.2", "198.51.100.3")),))
    use = counters.use()[0]
    assert (use.assigned_ipv4, use.available_ipv4, use.reserved, use.cooling) == (1, 6, 2, 1)
    assert use.capacity_ipv4 == 10


def test_a_reserved_address_that_its_service_holds_is_assigned() -> None:
    counters, claims = bench(FakeClient())
    claims.taken.reserve((Reservation(name="dns", addresses=("198.51.100.2",)),))
    claims.learn(replace(vip("198.51.100.2"), resource_version="1", uid="u"))
    use = counters.use()[0]
    assert (use.assigned_ipv4, use.available_ipv4, use.reserved) == (1, 9, 0)


async def test_a_pool_status_that_cannot_be_written_is_tried_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "PACE", 0.01)
    api = FakeClient()
    counters, _ = bench(api)
    tries: list[float] = []

    def fails(verb: str, plural: str) -> None:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 5:
            raise Unreachable(verb, "as the test wants")

    api.fails = fails
    task = asyncio.create_task(counters.run())
    try:
        counters.due()
        async with asyncio.timeout(5):
            while len(tries) < 5:  # a value of the fake, which tells nobody
                counters.due()  # what happens meanwhile makes it no more urgent
                await asyncio.sleep(0.001)
        pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
        assert all(pause >= 0.0099 * 2**number for number, pause in enumerate(pauses)), pauses
        status = api.objects[IP_ADDRESS_POOLS.plural, NS, "production"]["status"]
        assert status["availableIPv4"] == 10
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def written(*texts: str) -> Pool:
    """A pool of what users write in spec.addresses."""
    return Pool(name="production", ranges=tuple(ranges.read(text) for text in texts))


@pytest.mark.parametrize(
    ("texts", "assigned", "available", "exact"),
    [
        (["::/0"], 1, 2**63 - 1, 2**128 - 1),
        (["2001:db8::/66"], 1, 2**62 - 1, 2**62 - 1),
        (["2001:db8::/65"], 1, 2**63 - 1, 2**63 - 1),
        (["2001:db8::/64", "2001:db8:1::/64"], 1, 2**63 - 1, 2**65 - 1),  # MetalLB's sum becomes negative
        (["2001:db8::/120"], 1, 255, 255),
        (["2001:db8::/120", "198.51.100.0-198.51.100.9"], 1, 255, 255),
    ],
)
async def test_an_ipv6_pool_of_any_size_is_counted_and_its_status_fits_in_64_bits(
    texts: list[str], assigned: int, available: int, exact: int
) -> None:
    api = FakeClient()
    counters, claims = bench(api)
    counters._inventory.configure(configuration(written(*texts)))
    claims.learn(replace(vip("2001:db8::7"), resource_version="1", uid="u"))
    use = counters.use()[0]
    assert (use.assigned_ipv6, use.available_ipv6, use.capacity_ipv6) == (assigned, exact, exact + assigned)
    task = asyncio.create_task(counters.run())
    try:
        counters.due()
        async with asyncio.timeout(5):
            # a value of the fake, which tells nobody
            while "status" not in (found := api.objects[IP_ADDRESS_POOLS.plural, NS, "production"]):
                counters.due()
                await asyncio.sleep(0.001)
        assert (found["status"]["assignedIPv6"], found["status"]["availableIPv6"]) == (assigned, available)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("texts", "capacity"),
    [
        (["198.51.100.0/24"], 254),
        (["198.51.96.0/22"], 1016),
        (["198.51.100.0/32"], 0),  # -1 in MetalLB
        (["198.51.100.255/32", "198.51.100.1/32"], 1),
        (["198.51.100.1-198.51.100.254"], 254),
        (["198.51.100.250-198.51.101.5"], 10),
    ],
)
def test_a_pool_that_avoids_buggy_addresses_has_as_many_as_it_can_give(
    texts: list[str], capacity: int
) -> None:
    counters, _ = bench(FakeClient())
    counters._inventory.configure(configuration(replace(written(*texts), avoid_buggy_ips=True)))
    assert counters.use()[0].capacity_ipv4 == capacity
