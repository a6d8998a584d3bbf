"""The law of the inventory: who was not touched needs no work.

A small controller does only what Touched tells it. After every event, looking at everything again must change
nothing: no address moves, no pending Service could be served, no VirtualIP would be written differently.
"""

from collections.abc import Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from metalbgp.allocate.allocate import Allocation
from metalbgp.controller.spread import Spread
from metalbgp.model.configuration import PoolPolicy, Preference, Quota, Reservation
from metalbgp.model.services import EXCLUDE_LABEL, Namespace, Node, Rank, Service
from tests.small_controller import SmallController
from tests.values import (
    bgp,
    configuration,
    endpoint_slice,
    l2,
    labelled,
    peer,
    pinned,
    pool,
    ports,
    service,
)

KEYS = st.sampled_from(["web/a", "web/b", "web/c", "shop/d"])
NODES = st.sampled_from(["n1", "n2", "n3"])
SMALL = pool("production", "192.0.2.0-192.0.2.1")
POOLS = [
    (SMALL,),
    (pool("production", "192.0.2.0-192.0.2.1", "2001:db8::"),),
    (pool("production", "192.0.2.1-192.0.2.2"),),
    (pool("renamed", "192.0.2.0-192.0.2.1", "2001:db8::"),),
    (SMALL, pool("second", "198.51.100.0", "2001:db8:1::")),
    (
        pool("production", "192.0.2.0", allocation=pinned(namespace_selectors=(labelled(team="x"),))),
        pool("second", "198.51.100.0-198.51.100.1", auto_assign=False),
    ),
]
POLICIES: list[tuple[PoolPolicy, ...]] = [
    (),
    (PoolPolicy(name="few", pools=("production",), quotas=(Quota(limit=1),)),),
    (
        PoolPolicy(
            name="x",
            pools=("production", "second"),
            quotas=(Quota(limit=0, namespace_selectors=(labelled(team="x"),)),),
        ),
    ),
    (PoolPolicy(name="pair", pools=("production",), second_family_from="second"),),
]
RESERVATIONS: list[tuple[Reservation, ...]] = [
    (),
    (Reservation(name="r", addresses=("192.0.2.0",), namespace="web", service="b"),),
    (Reservation(name="r", addresses=("192.0.2.1", "2001:db8::"), selector=labelled(tier="gold")),),
]
ADVERTISEMENTS = [
    (bgp("external", "production", "second"), l2("layer2", "production", "second", "renamed")),
    (bgp("external", "production", communities=((1, 1),)), l2("layer2", "production", interfaces=("eth0",))),
    (bgp("gold", "production", "renamed", service_selectors=(labelled(tier="gold"),)),),
    (
        l2("layer2", "production", "renamed", node_selectors=(labelled(rack="1"),)),
        l2("gold", "production", service_selectors=(labelled(tier="gold"),)),
    ),
    (l2("layer2", "production", preferences=(Preference(weight=7, selector=labelled(rack="1")),)),),
    (bgp("external", "production", "second", node_selectors=(labelled(rack="1"),)),),
    (l2("layer2", "production", "second", "renamed", even=True),),
    (
        l2("layer2", "production", "second"),
        l2("even", "production", node_selectors=(labelled(rack="1"),), even=True),
    ),
]
WISHES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "dual": st.sampled_from(["", "", "PreferDualStack", "RequireDualStack"]),
        "sharing_key": st.sampled_from(["", "", "k"]),
        "external_traffic_policy": st.sampled_from(["Cluster", "Local"]),
        "requested_pool": st.sampled_from(["", "", "production", "second"]),
        "requested_addresses": st.sampled_from([None, None, None, "192.0.2.1"]),
        "ports": st.sampled_from([ports(80), ports(443), ports(80, 443)]),
        "labels": st.sampled_from([{}, {"tier": "gold"}]),
        "type": st.sampled_from(["LoadBalancer", "LoadBalancer", "LoadBalancer", "ClusterIP"]),
    }
)


class Controller(SmallController, RuleBasedStateMachine):
    def __init__(self) -> None:
        SmallController.__init__(self)
        RuleBasedStateMachine.__init__(self)
        self.clock = 0

    # -------------------------------------------------------------- events

    @rule(key=KEYS, wish=WISHES)
    def put_service(self, key: str, wish: dict[str, Any]) -> None:
        self.clock += 1
        known = self.inventory.services.get(key)
        created = known.created if known else f"{self.clock:06}"
        self.work(self.inventory.put_service(service(key, created=created, **wish)))

    @rule(key=KEYS)
    def drop_service(self, key: str) -> None:
        self.work(self.inventory.drop_service(key))

    @rule(
        key=KEYS,
        name=st.sampled_from(["s1", "s2"]),
        on=st.lists(st.tuples(NODES, st.sampled_from(Rank)), max_size=2),
    )
    def put_slice(self, key: str, name: str, on: list[tuple[str, Rank]]) -> None:
        endpoints = [(f"10.1.0.{i}", where, rank) for i, (where, rank) in enumerate(on)]
        _, _, owner = key.partition("/")
        self.work(self.inventory.put_slice(endpoint_slice(key, f"{owner}-{name}", *endpoints)))

    @rule(key=KEYS, name=st.sampled_from(["s1", "s2"]))
    def drop_slice(self, key: str, name: str) -> None:
        self.work(self.inventory.drop_slice(f"{key}-{name}"))

    @rule(name=NODES, rack=st.sampled_from(["1", "2"]), down=st.booleans(), excluded=st.booleans())
    def put_node(self, name: str, rack: str, down: bool, excluded: bool) -> None:
        labels = {"rack": rack} | ({EXCLUDE_LABEL: ""} if excluded else {})
        self.work(self.inventory.put_node(Node(name=name, labels=labels, network_unavailable=down)))

    @rule(name=NODES)
    def drop_node(self, name: str) -> None:
        self.work(self.inventory.drop_node(name))

    @rule(names=st.sets(NODES))
    def speakers(self, names: set[str]) -> None:
        self.work(self.inventory.live(names))

    @rule(name=st.sampled_from(["web", "shop"]), team=st.sampled_from(["x", "y"]))
    def put_namespace(self, name: str, team: str) -> None:
        self.work(self.inventory.put_namespace(Namespace(name=name, labels={"team": team})))

    @rule(
        pools=st.sampled_from(POOLS),
        said=st.sampled_from(ADVERTISEMENTS),
        ignore=st.booleans(),
        policies=st.sampled_from(POLICIES),
        reservations=st.sampled_from(RESERVATIONS),
    )
    def configure(
        self,
        pools: tuple[Any, ...],
        said: tuple[Any, ...],
        ignore: bool,
        policies: tuple[PoolPolicy, ...],
        reservations: tuple[Reservation, ...],
    ) -> None:
        self.clock += 1
        made = configuration(
            *pools,
            *said,
            peer("tor-a"),
            sequence=self.clock,
            ignore_exclude_label=ignore,
            policies=policies,
            reservations=reservations,
        )
        self.configured(made)

    @rule(key=KEYS)
    def other_hands_delete_a_claim(self, key: str) -> None:
        for address in self.inventory.held(key):
            self.taken.learn(address, None)
            self.work(self.inventory.drop_claim(address) | self.spread.claimed(address))

    # -------------------------------------------------------------- the law

    def ours(self) -> Iterator[Service]:
        return (one for one in self.inventory.services.values() if self.inventory.is_ours(one))

    @invariant()
    def looking_at_everything_again_changes_nothing(self) -> None:
        held = {one.key: self.inventory.held(one.key) for one in self.ours()}
        assert set(self.inventory.orphans()) == set()
        for one in self.ours():
            answer = self.ask(one)
            wanted = answer.addresses if isinstance(answer, Allocation) else ()
            assert wanted == held[one.key], (one.key, answer)
            for address in wanted:
                known = self.inventory.claims[address]
                assert self.desired(address, known, one, answer) == known, (one.key, address)
        again = Spread(self.inventory)  # another process, which knows the claims and no more
        again.begin()
        assert again.firsts == self.spread.firsts
        assert set(self.inventory.claims) == {address for mine in held.values() for address in mine}


class TestWhoWasNotTouchedNeedsNoWork(Controller.TestCase):  # type: ignore[misc] # hypothesis makes it
    settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
