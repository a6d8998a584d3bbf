"""L2Advertisement spread: even, through the whole controller: how many addresses each node is first for.

In:  an API server in memory, speakers on three nodes, Services with an endpoint.
Elsewhere: the bound and the number of moves for every sequence are tests/laws/test_spread.py.
"""

from collections import Counter
from collections.abc import Iterable

import pytest

from metalbgp.cluster.errors import Unreachable
from metalbgp.cluster.resources import (
    ENDPOINT_SLICES,
    L2_ADVERTISEMENTS,
    NODES,
    PODS,
    SERVICES,
    VIRTUAL_IPS,
)
from metalbgp.controller import addresses, configure
from metalbgp.controller.controller import Controller, Options
from metalbgp.controller.spread import Spread
from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import Touched
from metalbgp.plan.ranking import Claimant, order
from tests.unit.controller.test_controller import NS, World, running, until
from tests.values import configuration, holder, l2, node, pool, vip

THREE = ("node-a", "node-b", "node-c")
EVEN = {"metalbgp.io/spread": "even"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configure, "COALESCE", 0.001)
    monkeypatch.setattr(configure, "AGAIN", 0.001)
    monkeypatch.setattr(addresses, "QUIET", 0.02)


class Even(World):
    def __init__(self, *blocks: str, services: int = 30, dual: str = "") -> None:
        super().__init__()
        self.pool("production", *blocks or ("192.0.2.0/24",))
        self.advertised()
        self.speakers(*THREE)
        for number in range(services):
            self.served(f"s{number}", dual=dual)

    def successor(self) -> None:
        """Another controller on the same API server."""
        fresh = World()
        self.leads = fresh.leads
        self.one = Controller(self.api, self.api, lambda *_: None, Options(namespace=NS, installation=NS))

    def advertised(self, **notes: str) -> None:
        body = {"metadata": {"annotations": notes or EVEN}, "spec": {}}
        self.api.put(L2_ADVERTISEMENTS, "all", body, NS)

    def speakers(self, *names: str) -> None:
        for name in names:
            self.api.put(NODES, name, {})
            meta = {"labels": {"app": "metallb", "component": "speaker"}}
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            self.api.put(PODS, name, {"metadata": meta, "spec": {"nodeName": name}, "status": ready}, NS)

    def served(self, name: str, dual: str = "") -> None:
        piece = {
            "metadata": {"labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": "node-a", "conditions": {"ready": True}}],
        }
        self.api.put(ENDPOINT_SLICES, f"{name}-1", piece, "web")
        self.service(name, dual=dual)

    def firsts(self) -> dict[str, str]:
        """Address → node."""
        return {
            spec["address"]: spec["candidates"][0]
            for (plural, *_), one in self.api.objects.items()
            if plural == VIRTUAL_IPS.plural
            and (spec := one["spec"])["phase"] == "bound"
            and spec.get("candidates")
        }

    def counts(self) -> list[int]:
        return sorted(Counter(self.firsts().values()).values())

    async def ends(self, *counts: int) -> dict[str, str]:
        """And stays so: nothing is under way any more."""
        await until(lambda: self.counts() == sorted(counts))
        await self.one.queue.settled()
        assert self.counts() == sorted(counts)
        return self.firsts()


def moved(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [address for address in before.keys() & after.keys() if before[address] != after[address]]


def hashed(addresses: Iterable[str]) -> dict[str, str]:
    return {address: order(THREE, address)[0] for address in addresses}


async def test_thirty_addresses_are_ten_on_each_of_three_nodes_and_each_is_written_once() -> None:
    world = Even()
    async with running(world):
        found = await world.ends(10, 10, 10)
        assert world.wrote("virtualips") == ["POST"] * 30
        assert sorted(Counter(hashed(found).values()).values()) != [10, 10, 10]  # the hash alone is not even


async def test_a_node_that_goes_and_comes_back_moves_its_share_and_no_other() -> None:
    world = Even()
    async with running(world):
        before = await world.ends(10, 10, 10)
        world.api.take(PODS, "node-b", NS)
        without = await world.ends(15, 15)
        assert {before[address] for address in moved(before, without)} == {"node-b"}
        assert len(moved(before, without)) == 10
        world.speakers("node-b")
        after = await world.ends(10, 10, 10)
        assert len(moved(without, after)) == 10


async def test_a_restarted_controller_writes_nothing() -> None:
    world = Even()
    async with running(world):
        await world.ends(10, 10, 10)
        world.api.take(PODS, "node-b", NS)
        await world.ends(15, 15)
        world.speakers("node-b")
        before = await world.ends(10, 10, 10)
    world.successor()
    world.api.writes.clear()
    async with running(world):
        await world.one.queue.settled()
        assert await world.ends(10, 10, 10) == before
        assert world.wrote("virtualips") == []


async def test_of_released_addresses_only_so_many_others_move_as_the_bound_asks_for() -> None:
    world = Even()
    async with running(world):
        before = await world.ends(10, 10, 10)
        by_address = {world.addresses(f"s{number}")[0]: f"s{number}" for number in range(30)}
        for address in sorted(address for address, node in before.items() if node == "node-a")[:6]:
            world.api.take(SERVICES, by_address[address], "web")
        after = await world.ends(8, 8, 8)
        assert len(moved(before, after)) == 4
        assert all(after[address] == "node-a" for address in moved(before, after))


async def test_switched_on_it_moves_what_is_too_much_and_switched_off_the_order_is_metallbs_again() -> None:
    world = Even()
    world.advertised(other="x")
    async with running(world):
        await until(lambda: len(world.firsts()) == 30)
        await world.one.queue.settled()
        before = world.firsts()
        assert before == hashed(before)
        too_much = sum(max(0, count - 10) for count in Counter(before.values()).values())
        assert too_much > 0
        world.advertised()
        after = await world.ends(10, 10, 10)
        assert len(moved(before, after)) == too_much
        world.advertised(other="x")
        await until(lambda: world.firsts() == before)


async def test_both_addresses_of_a_dual_stack_service_are_on_one_node_and_count_once() -> None:
    world = Even("192.0.2.0/24", "2001:db8::/120", services=15, dual="RequireDualStack")
    async with running(world):
        await world.ends(10, 10, 10)
        found = world.firsts()
        for number in range(15):
            first, second = world.addresses(f"s{number}")
            assert found[first] == found[second]


@pytest.mark.parametrize("after", [False, True])
async def test_writes_that_fail_or_whose_answer_is_lost_leave_no_place_taken(after: bool) -> None:
    world = Even(services=0)
    tries: list[str] = []

    def fail(verb: str, path: str) -> None:
        if verb in ("POST", "PATCH") and path == "virtualips":
            tries.append(verb)
            if len(tries) < 30 and len(tries) % 3 == 0:
                raise Unreachable(f"{verb} {path}", "no route")

    async with running(world):
        if after:
            world.api.loses = fail
        else:
            world.api.fails = fail
        for number in range(30):
            world.served(f"s{number}")
        await until(lambda: len(world.firsts()) == 30)
        world.api.take(PODS, "node-c", NS)
        await world.ends(15, 15)
        world.speakers("node-c")
        await world.ends(10, 10, 10)
        assert len(tries) > 30


async def test_under_local_an_address_stays_where_its_endpoints_are_and_the_others_make_room() -> None:
    world = Even(services=12)
    async with running(world):
        await world.ends(4, 4, 4)
        for number in range(6):
            key = ("services", "web", f"s{number}")
            spec = world.api.objects[key]["spec"] | {"externalTrafficPolicy": "Local"}
            world.api.put(SERVICES, f"s{number}", world.api.objects[key] | {"spec": spec}, "web")
        await until(lambda: all(world.firsts()[world.addresses(f"s{n}")[0]] == "node-a" for n in range(6)))
        await world.ends(6, 3, 3)


def test_an_address_that_moves_while_it_is_being_written_is_written_again() -> None:
    """When it moves nobody can write it, for its VirtualIP is not there yet."""
    inventory = Inventory(NS)
    inventory.configure(configuration(pool("production", "192.0.2.0-192.0.2.9"), l2(even=True)))
    for name in ("n1", "n2"):
        inventory.put_node(node(name))
    inventory.live({"n1", "n2"})
    first, others = "192.0.2.0", {"192.0.2.1": "n1", "192.0.2.2": "n1", "192.0.2.3": "n2"}
    part = holder(l2=("layer2",))
    for address, where in others.items():
        inventory.put_claim(vip(address, {f"web/{address}": part}, candidates=(where,)))
    spread = Spread(inventory)
    spread.begin()
    spread.planning("web/new", (first,))
    assert spread.place(first, [Claimant("web/new", part, first)]) == Touched()
    written = vip(first, {"web/new": part}, candidates=("n2", "n1"))
    assert spread.firsts[first] == "n2"
    for address in ("192.0.2.1", "192.0.2.2"):
        inventory.drop_claim(address)
        spread.claimed(address)
    assert spread.firsts[first] == "n1"
    inventory.put_claim(written)
    assert spread.claimed(first) == Touched()
    assert spread.planned("web/new", (first,)) == Touched(addresses=frozenset({first}))


def test_a_place_of_a_claim_that_was_not_to_be_had_is_free_again() -> None:
    inventory = Inventory(NS)
    inventory.configure(configuration(pool("production", "192.0.2.0-192.0.2.9"), l2(even=True)))
    inventory.put_node(node("n1"))
    inventory.live({"n1"})
    spread = Spread(inventory)
    spread.begin()
    spread.planning("web/new", ("192.0.2.0",))
    spread.place("192.0.2.0", [Claimant("web/new", holder(l2=("layer2",)), "192.0.2.0")])
    assert spread.firsts == {"192.0.2.0": "n1"}
    spread.planned("web/new", ("192.0.2.0",))
    assert spread.firsts == {}
