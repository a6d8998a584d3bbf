"""Addresses that are spread evenly: the bound, few moves, and nothing remembered beyond what was written."""

from collections import Counter
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from metalbgp.controller.spread import Spread
from metalbgp.model.configuration import L2Advertisement, Preference
from metalbgp.plan.ranking import Claimant, eligible
from metalbgp.plan.spread import Places, Wish
from tests.small_controller import SmallController
from tests.values import configuration, endpoint_slice, l2, labelled, node, pool, service

NAMES = tuple(f"n{number}" for number in range(6))
NODES = st.frozensets(st.sampled_from(NAMES), min_size=1)
KEYS = st.integers(0, 39).map("192.0.2.{}".format)
POOLS = st.sampled_from(["production", "second"])


def steep(places: Places, wishes: dict[str, Wish]) -> list[str]:
    """The slow judge: keys on a node that is first for two more than another that they could have."""
    counts = Counter((wish.pool, places.firsts[key]) for key, wish in wishes.items())
    return [
        key
        for key, wish in wishes.items()
        if counts[wish.pool, places.firsts[key]] - min(counts[wish.pool, one] for one in wish.equals) > 1
    ]


def again(places: Places, wishes: dict[str, Wish]) -> Places:
    """Another process, which knows what was written and no more."""
    made = Places()
    made.update(
        {key: Wish(one.pool, one.equals, places.firsts[key]) for key, one in reversed(wishes.items())}
    )
    return made


class Machine(RuleBasedStateMachine):
    """Keys come, go, and may stand on other nodes, one by one and many at once."""

    def __init__(self) -> None:
        super().__init__()
        self.places = Places()
        self.wishes: dict[str, Wish] = {}

    def update(self, changes: dict[str, Wish | None]) -> None:
        before = dict(self.places.firsts)
        for key, wish in changes.items():
            if wish is None:
                self.wishes.pop(key, None)
            else:
                self.wishes[key] = wish
        moved = self.places.update(changes)
        after = self.places.firsts
        assert moved == {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}

    @rule(key=KEYS, pool=POOLS, equals=NODES)
    def put(self, key: str, pool: str, equals: frozenset[str]) -> None:
        self.update({key: Wish(pool, equals)})

    @rule(keys=st.lists(KEYS), pool=POOLS, equals=NODES, present=st.sampled_from(("", *NAMES)))
    def put_many(self, keys: list[str], pool: str, equals: frozenset[str], present: str) -> None:
        self.update({key: Wish(pool, equals, present) for key in keys})

    @rule(keys=st.lists(KEYS, min_size=1))
    def drop(self, keys: list[str]) -> None:
        self.update(dict.fromkeys(keys))

    @precondition(lambda self: self.wishes)
    @rule(name=st.sampled_from(NAMES), comes=st.booleans())
    def node(self, name: str, comes: bool) -> None:
        some = {
            key: Wish(one.pool, one.equals | {name} if comes else one.equals - {name} or frozenset({"rest"}))
            for key, one in self.wishes.items()
        }
        self.update(dict(some))

    @invariant()
    def every_key_is_where_it_may_be(self) -> None:
        assert self.places.firsts.keys() == self.wishes.keys()
        assert all(self.places.firsts[key] in one.equals for key, one in self.wishes.items())

    @invariant()
    def no_key_is_on_a_node_with_two_more_than_another_that_it_could_have(self) -> None:
        assert steep(self.places, self.wishes) == []

    @invariant()
    def counts_are_those_of_the_keys(self) -> None:
        for name in ("production", "second"):
            mine = [self.places.firsts[key] for key, one in self.wishes.items() if one.pool == name]
            assert self.places.count(name) == Counter(mine)

    @invariant()
    def a_restart_moves_nothing(self) -> None:
        assert again(self.places, self.wishes).firsts == self.places.firsts


TestPlaces = Machine.TestCase
TestPlaces.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def even(firsts: dict[str, str], keys: list[str], nodes: frozenset[str]) -> Places:
    places = Places()
    places.update({key: Wish("p", nodes, firsts.get(key, "")) for key in keys})
    return places


@given(
    firsts=st.dictionaries(KEYS, st.sampled_from(NAMES), min_size=1),
    nodes=NODES,
)
@settings(max_examples=400)
def test_no_more_move_than_must_and_the_order_of_what_is_known_does_not_matter(
    firsts: dict[str, str], nodes: frozenset[str]
) -> None:
    """Any nodes went and came while any addresses stood anywhere: who must go goes, and who is too many."""
    keys = list(firsts)
    places = even(firsts, keys, nodes)
    assert even(firsts, keys[::-1], nodes).firsts == places.firsts
    counts = Counter(places.firsts.values())
    share = len(keys) / len(nodes)
    assert all(int(share) <= counts[node] <= ceil(share) for node in nodes)

    had = Counter(firsts.values())
    staying = sorted((had[node] for node in nodes), reverse=True)
    larger = len(keys) % len(nodes)  # so many nodes may have one more; best those that have most
    may_stay = sum(min(count, int(share) + (rank < larger)) for rank, count in enumerate(staying))
    moved = sum(places.firsts[key] != firsts[key] for key in keys)
    assert moved == len(keys) - may_stay


def test_a_node_that_goes_and_comes_back_moves_its_share_and_no_more() -> None:
    keys, nodes = [f"192.0.2.{number}" for number in range(30)], frozenset({"n1", "n2", "n3"})
    places = even({}, keys, nodes)
    assert places.count("p") == {"n1": 10, "n2": 10, "n3": 10}
    assert len(places.update({key: Wish("p", nodes - {"n3"}) for key in keys})) == 10
    assert places.count("p") == {"n1": 15, "n2": 15}
    assert len(places.update({key: Wish("p", nodes) for key in keys})) == 10
    assert places.count("p") == {"n1": 10, "n2": 10, "n3": 10}


# ------------------------------------------------------------------ through the inventory and what is written

SERVICES = st.integers(0, 13).map("web/s{}".format)
HOSTS = st.sampled_from(["n1", "n2", "n3", "n4"])
POOL = pool("production", "192.0.2.0-192.0.2.15")
ON = l2("layer2", "production", even=True)


class Cluster(SmallController, RuleBasedStateMachine):
    """Services that come and go, under Local with endpoints here and there; only what is touched is
    written."""

    def __init__(self) -> None:
        SmallController.__init__(self)
        RuleBasedStateMachine.__init__(self)
        self.configured(configuration(POOL, ON))
        for name in ("n1", "n2", "n3"):
            self.work(self.inventory.put_node(node(name)))
        self.work(self.inventory.live({"n1", "n2", "n3"}))

    @rule(keys=st.lists(SERVICES, min_size=1), local=st.booleans(), hosts=st.sets(HOSTS, min_size=1))
    def services(self, keys: list[str], local: bool, hosts: set[str]) -> None:
        for key in keys:
            policy = "Local" if local else "Cluster"
            piece = endpoint_slice(
                key, "piece-" + key[4:], *(("10.1.0.1", host, True) for host in sorted(hosts))
            )
            self.work(self.inventory.put_service(service(key, external_traffic_policy=policy)))
            self.work(self.inventory.put_slice(piece))

    @rule(keys=st.lists(SERVICES, min_size=1))
    def without(self, keys: list[str]) -> None:
        for key in keys:
            self.work(self.inventory.drop_service(key))

    @rule(names=st.sets(HOSTS))
    def speakers(self, names: set[str]) -> None:
        self.work(self.inventory.live(names))

    @rule(name=HOSTS, rack=st.sampled_from(["1", "2"]))
    def node(self, name: str, rack: str) -> None:
        self.work(self.inventory.put_node(node(name, rack=rack)))

    @rule(
        said=st.sampled_from(
            [
                ON,
                replace(ON, preferences=(Preference(weight=7, selector=labelled(rack="1")),)),
                replace(ON, node_selectors=(labelled(rack="1"),)),
            ]
        )
    )
    def advertised(self, said: L2Advertisement) -> None:
        self.configured(configuration(POOL, said))

    @invariant()
    def what_is_written_is_even_and_a_successor_writes_nothing(self) -> None:
        written = {vip.address: vip.candidates[0] for vip in self.inventory.claims.values() if vip.candidates}
        assert written == self.spread.firsts
        after = Spread(self.inventory)
        after.begin()
        assert after.firsts == written
        counts = Counter(written.values())
        for address, first in written.items():
            (key, holder), *_ = self.inventory.claims[address].holders.items()
            weights = eligible(Claimant(key, holder, address), self.scene)
            equals = [one for one in weights if weights[one] == weights[first] == max(weights.values())]
            assert counts[first] - min(counts[one] for one in equals) <= 1


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
