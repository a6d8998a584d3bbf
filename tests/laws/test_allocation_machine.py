"""Thousands of random steps in one small cluster, each answer compared with a slow and obvious allocator.

Services come, change, go and come back; reservations and Nodes appear and go; time passes; the controller
restarts and the cluster is restored. After every step every Service is asked again, as the controller does.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from metalbgp.allocate.allocate import Allocation, allocate
from metalbgp.allocate.claims import Promised, adopt, judge
from metalbgp.allocate.request import request_of
from metalbgp.allocate.taken import Taken, use_of
from metalbgp.model.addresses import Occupied, family
from metalbgp.model.configuration import Configuration, PoolPolicy, Quota, Reservation
from metalbgp.model.reasons import NoPoolFits
from metalbgp.model.services import Endpoints, Service
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.plan import plan
from tests.laws.allocation_model import Model, World, addresses_of, buggy, may_stand_together
from tests.values import V4, V6, block, configuration, labelled, pinned, pool, ports, service, vip

POOLS = (
    pool("four", "192.0.2.0-192.0.2.4"),
    pool("both", "198.51.100.254-198.51.101.1", "2001:db8::-2001:db8::2", avoid_buggy_ips=True),
    pool("pin", "203.0.113.0-203.0.113.2", allocation=pinned(namespaces=("shop",), priority=1)),
    pool("six", "2001:db8:1::-2001:db8:1::2", auto_assign=False),
)
POLICIES = (
    PoolPolicy(name="paired", pools=("four",), second_family_from="six", sticky=True, sticky_for=20),
    PoolPolicy(name="sticky", pools=("both",), sticky=True, quotas=(Quota(limit=2, namespaces=("web",)),)),
    PoolPolicy(name="slow", pools=("pin", "six"), reuse_delay=5, reuse_early=True, quotas=(Quota(limit=3),)),
)
RESERVATIONS = (
    Reservation(name="named", addresses=("192.0.2.1", "2001:db8:1::1"), namespace="web", service="a"),
    Reservation(name="labelled", addresses=("198.51.100.254",), selector=labelled(tier="gold")),
    Reservation(name="pinned", addresses=("203.0.113.0",), namespace="shop", service="b"),
    Reservation(name="unborn", addresses=("192.0.2.0",), namespace="web", service="z"),
)
NODES = ("192.0.2.2", "203.0.113.1", "2001:db8::1")
FAMILIES: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"cluster_ips": (V6,)},
    {"cluster_ips": (V4, V6), "ip_family_policy": "PreferDualStack"},
    {"cluster_ips": (V4, V6), "ip_family_policy": "PreferDualStack", "ip_families": ("IPv6", "IPv4")},
    {"cluster_ips": (V4, V6), "ip_family_policy": "RequireDualStack"},
)
KEYS = st.sampled_from([f"{space}/{name}" for space in ("web", "shop") for name in "abcde"])
ASKED = ("192.0.2.3", "192.0.2.1", "198.51.100.254,2001:db8::1", "192.0.2.4,2001:db8:1::2")
WISHES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "labels": st.sampled_from([{}, {}, {"tier": "gold"}]),
        "address_id": st.sampled_from(["", "", "shop-front"]),
        "sharing_key": st.sampled_from(["", "", "k", "l"]),
        "external_traffic_policy": st.sampled_from(["Cluster", "Cluster", "Local"]),
        "selector": st.sampled_from([{"app": "x"}, {"app": "y"}]),
        "requested_pool": st.sampled_from([""] * 8 + ["four", "both", "pin", "six"]),
        "requested_addresses": st.sampled_from([None] * 16 + list(ASKED)),
        "ports": st.sampled_from([ports(80), ports(443), ports(80, 443), ports(53)]),
    }
)
ARRIVAL = st.tuples(KEYS, WISHES, st.sampled_from(FAMILIES))


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(Configuration("test", pools=POOLS, policies=POLICIES))
        self.taken = Taken()
        self.clock = 0

    # ------------------------------------------------------------------ what happens

    @initialize(many=st.lists(ARRIVAL, min_size=4, max_size=12))
    def begin(self, many: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
        self.create_or_change(many)

    @rule(some=st.lists(ARRIVAL, min_size=1, max_size=3))
    def create_or_change(self, some: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
        services = self.world.services
        for key, wish, stack in some:
            self.clock += 1
            created = services[key].created if key in services else f"{self.clock:06}"
            services[key] = service(key, created=created, **stack, **wish)
            self.ask(key)
        self.ask_all()

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.clock += 1
        self.give_back(key, self.world.granted.get(key, ()))
        self.world.services.pop(key, None)
        self.ask_all()

    @precondition(lambda self: self.world.granted)
    @rule(data=st.data(), renamed=st.booleans())
    def install_again(self, data: st.DataObject, renamed: bool) -> None:
        """Deleted, and created again before anybody else is asked: what waits for it comes back."""
        self.clock += 1
        world = self.world
        key = data.draw(st.sampled_from(sorted(world.granted)))
        before, old = world.granted[key], world.services[key]
        new = f"{key}2" if renamed and old.address_id and len(old.name) == 1 else key
        if new != key and new in world.services:
            return
        self.give_back(key, before)
        del world.services[key]
        again = replace(old, name=new.partition("/")[2], uid=f"uid-{self.clock}", created=f"{self.clock:06}")
        world.services[new] = again
        waiting = {
            address for address, kept in world.cooling.items() if set(kept.kept_for) & set(again.identities)
        }
        self.ask(new)
        promised = request_of(again, (), world.configuration.reservations).reserved
        kept = set(before) <= waiting and not set(before) & world.nodes  # else shared, or of no sticky pool
        if kept and not promised and not again.requested_addresses:
            assert waiting & set(world.granted.get(new, ())), f"{key} had {before}"
        self.ask_all()

    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        self.clock += seconds
        for address, kept in list(self.world.cooling.items()):
            if kept.until and kept.until <= f"{self.clock:06}":
                del self.world.cooling[address]
                self.taken.learn(address, None)
        self.ask_all()

    @rule(chosen=st.sets(st.sampled_from(RESERVATIONS)))
    def reserve(self, chosen: set[Reservation]) -> None:
        now = tuple(one for one in RESERVATIONS if one in chosen)
        self.world.configuration = replace(self.world.configuration, reservations=now)
        self.taken.reserve(now)
        self.ask_all()

    @rule(nodes=st.sets(st.sampled_from(NODES)))
    def nodes_come_and_go(self, nodes: set[str]) -> None:
        self.world.nodes = nodes
        self.taken.occupy([Occupied(block(one), "Node n1") for one in sorted(nodes)])
        self.ask_all()

    @rule(wiped=st.booleans(), restored=st.booleans(), order=st.randoms(use_true_random=False))
    def restart(self, wiped: bool, restored: bool, order: Any) -> None:
        """Memory is lost; claims are read back in any order, statuses and uids perhaps gone."""
        world, before = self.world, dict(self.world.granted)
        claims = self.claims()
        found = [
            replace(
                one,
                uid=f"{one.uid}'" if restored else one.uid,
                ingress=() if wiped else world.granted.get(key, ()),
            )
            for key, one in world.services.items()
        ]
        order.shuffle(claims)
        order.shuffle(found)
        occupied = [Occupied(block(one), "Node n1") for one in sorted(world.nodes)]
        self.taken, lost = adopt(claims, found, world.configuration.reservations, occupied)
        assert not lost
        for one in found:
            world.services[one.key] = replace(one, ingress=())
        for one in found:
            self.ask(one.key)
        assert world.granted == before, "a restart changed what Services hold"

    @rule(order=st.randoms(use_true_random=False))
    def asked_again_in_any_order_nothing_changes(self, order: Any) -> None:
        before, keys = dict(self.world.granted), sorted(self.world.services)
        order.shuffle(keys)
        for key in keys:
            self.ask(key)
        assert self.world.granted == before

    # ------------------------------------------------------------------ as the controller does it

    def ask_all(self) -> None:
        """A Service that nobody touched loses nothing; one that waits gets what became free."""
        changed = True
        while changed:
            changed = False
            for one in sorted(self.world.services.values(), key=lambda one: (one.created, one.key)):
                before = self.world.granted.get(one.key, ())
                self.ask(one.key)
                after = self.world.granted.get(one.key, ())
                assert set(before) <= set(after), f"{one.key} lost {set(before) - set(after)}"
                changed |= before != after

    def ask(self, key: str) -> None:
        world, one = self.world, self.world.services[key]
        request = request_of(one, world.granted.get(key, ()), world.configuration.reservations)
        answer = allocate(request, world.configuration, self.taken, {})
        expected = Model(world, one).answer()
        if isinstance(answer, Allocation):
            assert answer.addresses == expected
            homes = {home.name for home in POOLS for address in answer.addresses if address in home}
            assert homes <= {answer.pool, answer.second}
        else:
            assert expected == (), f"{key} is refused and could have {expected}: {answer.reason.explain()}"
            if isinstance(answer.reason, NoPoolFits):
                assert sorted(name for name, _ in answer.reason.pools) == sorted(one.name for one in POOLS)
        before = world.granted.pop(key, ())
        for address in expected:
            if address in world.cooling:
                self.claim(one, address)
            self.taken.hold(address, use_of(one))
        if expected:
            world.granted[key] = expected
        self.give_back(key, tuple(address for address in before if address not in expected))

    def claim(self, one: Service, address: str) -> None:
        """The cooling VirtualIP is found by a 409 and judged, then rewritten as bound."""
        home = self.world.pool_of(address)
        assert home is not None
        verdict = judge(
            one,
            self.world.cooling.pop(address),
            {one.key: one.uid}.get,
            reservations=self.world.configuration.reservations,
            reuse_early=self.world.policy(home).reuse_early,
        )
        assert isinstance(verdict, Promised)
        self.taken.learn(address, self.claim_of(address, [one]))

    def give_back(self, key: str, addresses: tuple[str, ...]) -> None:
        """Withdrawn; then the address is reserved again, cools, or is free."""
        world = self.world
        rest = tuple(one for one in world.granted.pop(key, ()) if one not in addresses)
        if rest:
            world.granted[key] = rest
        for address in addresses:
            self.taken.release(address, key)
            home = world.pool_of(address)
            assert home is not None
            policy = world.policy(home)
            if world.holders(address) or world.reservation(address) is not None:
                continue
            if not policy.sticky and not policy.reuse_delay:
                continue
            delay = max(policy.sticky_for or 0, policy.reuse_delay)
            forever = policy.sticky and policy.sticky_for is None
            kept = VirtualIP(
                address=address,
                pool=home.name,
                phase="cooling",
                since=f"{self.clock:06}",
                until="" if forever else f"{self.clock + delay:06}",
                kept_for=world.services[key].identities,
            )
            world.cooling[address] = kept
            self.taken.learn(address, kept)

    def claims(self) -> list[VirtualIP]:
        held = {address for mine in self.world.granted.values() for address in mine}
        bound = [self.claim_of(address, self.world.holders(address)) for address in sorted(held)]
        promised = [
            VirtualIP(address=address, pool="", phase="reserved", reservation=one.name)
            for one in self.world.configuration.reservations
            for address in one.addresses
            if address not in held and address not in self.world.cooling
        ]
        return [*bound, *promised, *self.world.cooling.values()]

    def claim_of(self, address: str, behind: list[Service]) -> VirtualIP:
        return vip(address, {one.key: plan(one, Endpoints(), POOLS[0], configuration()) for one in behind})

    # ------------------------------------------------------------------ what is always true

    @invariant()
    def no_address_has_two_unrelated_services(self) -> None:
        for address in {address for mine in self.world.granted.values() for address in mine}:
            behind = self.world.holders(address)
            for index, one in enumerate(behind):
                assert all(may_stand_together(one, other) for other in behind[index + 1 :])

    @invariant()
    def every_address_is_of_a_pool_that_may_give_it(self) -> None:
        for key, mine in self.world.granted.items():
            one = self.world.services[key]
            assert [family(address) for address in mine] in ([4], [6], [4, 6])
            for address in mine:
                home = self.world.pool_of(address)
                assert home is not None
                assert not buggy(home, address)
                assert home.allocation is None or one.namespace in home.allocation.namespaces
                assert not one.requested_addresses or address in one.requested_addresses.split(",")

    @invariant()
    def no_namespace_holds_more_than_its_quota(self) -> None:
        for home in POOLS:
            for quota in self.world.policy(home).quotas:
                for space in quota.namespaces or ("web", "shop"):
                    mine = {
                        address
                        for key, held in self.world.granted.items()
                        for address in held
                        if address in home and key.startswith(f"{space}/")
                    }
                    assert len(mine) <= quota.limit
                    assert self.taken.used_by_namespace(space, home) == len(mine)

    @invariant()
    def the_books_are_what_counting_finds(self) -> None:
        world = self.world
        held = {address for mine in world.granted.values() for address in mine}
        promised = {address for one in world.configuration.reservations for address in one.addresses}
        for home in POOLS:
            for piece in home.ranges:
                mine = [one for one in addresses_of(home) if one in piece]
                assert self.taken.count_cooling(piece) == sum(one in world.cooling for one in mine)
                assert self.taken.count_reserved(piece) == sum(one in promised - held for one in mine)
                taken = held | promised | world.cooling.keys()
                assert self.taken.count(piece.version, piece.first, piece.last) == sum(
                    one in taken for one in mine
                )


class TestTheFastAllocatorAnswersAsTheSlowOne(Cluster.TestCase):  # type: ignore[misc] # made at run time
    settings = settings(max_examples=200, stateful_step_count=50, derandomize=True, deadline=None)
