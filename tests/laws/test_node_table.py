"""Laws of what a node announces: change by change equals from scratch, and no order of the watches withdraws
what both ends keep."""

from hypothesis import given
from hypothesis import strategies as st

from metalbgp.model.configuration import Configuration
from metalbgp.model.routes import Attributes, NodePlan
from metalbgp.model.virtualips import Holder, VirtualIP
from metalbgp.select.merge import merge
from metalbgp.select.select import routes_of, select
from metalbgp.select.table import Table
from tests.values import bgp, configuration, l2, node, peer, pool, vip

NODE = node("n1")
ADDRESSES = [f"10.252.252.{last}" for last in (0, 1, 2, 200)]
CONFIGURATION = configuration(
    pool("production", "10.252.252.0-10.252.252.255"),
    peer("tor-a"),
    peer("tor-b"),
    bgp("single", communities=((1, 1),), local_preference=100, peers=("tor-a",)),
    bgp("wide", communities=((2, 2),), aggregation_length=24),
    bgp("loud", communities=((3, 3),), aggregation_length=24, local_preference=300),
    bgp("half", aggregation_length=25),
    l2(),
    sequence=5,
)
HOLDERS = st.builds(
    Holder,
    uid=st.just("u"),
    created=st.sampled_from(["1", "2"]),
    bgp=st.lists(st.sampled_from(["single", "wide", "loud", "half"]), unique=True).map(tuple),
    l2=st.sampled_from([(), ("layer2",)]),
    policy=st.sampled_from(["Cluster", "Local"]),
    serving=st.booleans(),
    nodes=st.sampled_from([{}, {"n1": 1}, {"n2": 1}]),
    terminating=st.sampled_from([{}, {"n1": 1}]),
    last_resort=st.booleans(),
)
VIPS = st.builds(
    vip,
    address=st.sampled_from(ADDRESSES),
    holders=st.dictionaries(st.sampled_from(["web/a", "web/b", "web/c"]), HOLDERS, max_size=2),
    phase=st.sampled_from(["bound", "bound", "bound", "releasing"]),
    candidates=st.sampled_from([("n1",), ("n2", "n1")]),
)
STEPS = st.lists(st.one_of(VIPS, st.sampled_from(ADDRESSES)), max_size=12)  # an address alone: deleted


@given(STEPS)
def test_change_by_change_equals_from_scratch(steps: list[VirtualIP | str]) -> None:
    table, plans = Table(), dict[str, NodePlan]()
    wire: dict[tuple[str, str], Attributes] = {}
    for step in steps:
        if isinstance(step, str):
            plans.pop(step, None)
            delta = table.update(step, None)
        else:
            plans[step.address] = select(step, CONFIGURATION, NODE)
            delta = table.update(step.address, plans[step.address])
        for who, prefix, attributes in delta.changed:
            assert wire.get((who, prefix)) != attributes, "said twice"
            if attributes is None:
                del wire[who, prefix]
            else:
                wire[who, prefix] = attributes
        whole = merge(plans.values())
        assert wire == routes_of(whole) == table.wanted()
        assert tuple(table.routes()) == whole.routes
        assert table.duties() == whole.duties


@given(STEPS)
def test_repeating_a_change_changes_nothing(steps: list[VirtualIP | str]) -> None:
    table = Table()
    for step in steps:
        address = step if isinstance(step, str) else step.address
        plan = None if isinstance(step, str) else select(step, CONFIGURATION, NODE)
        table.update(address, plan)
        assert not table.update(address, plan)


def test_any_interleaving_of_the_two_watches_withdraws_nothing_that_both_ends_keep() -> None:
    """`old` is replaced by `new`: the controller adds, rewrites the VirtualIP, then removes. Configurations
    and VirtualIPs each arrive in order, but nothing orders one watch against the other."""
    address = ADDRESSES[1]
    configurations = [
        configuration(peer("tor-a"), bgp("old"), sequence=1),
        configuration(peer("tor-a"), bgp("old"), bgp("new"), sequence=2),
        configuration(peer("tor-a"), bgp("new"), sequence=3),
    ]
    vips = [
        vip(address, {"web/a": Holder(uid="u", bgp=("old",), serving=True)}, configuration=1),
        vip(address, {"web/a": Holder(uid="u", bgp=("new",), serving=True)}, configuration=2),
    ]
    for order in interleavings([0, 1, 2], [0, 1]):
        held: Configuration = configurations[0]
        seen: VirtualIP = vips[0]
        table = Table()
        table.update(address, select(seen, held, NODE))
        assert table.wanted()
        for watch, index in order:
            if watch == "configuration":
                held = configurations[index]
            else:
                seen = vips[index]
            table.update(address, select(seen, held, NODE))
            assert ("tor-a", f"{address}/32") in table.wanted(), order
        assert table.undecided == frozenset()


def interleavings(first: list[int], second: list[int]) -> list[list[tuple[str, int]]]:
    if not first or not second:
        return [[("configuration", one) for one in first] + [("vip", one) for one in second]]
    return [[("configuration", first[0]), *rest] for rest in interleavings(first[1:], second)] + [
        [("vip", second[0]), *rest] for rest in interleavings(first, second[1:])
    ]


def test_an_undecided_address_shields_the_prefixes_that_cover_it() -> None:
    table = Table()
    table.update("10.252.252.7", NodePlan(undecided=("10.252.252.7",)))
    assert table.must_stay("10.252.252.7/32")
    assert table.must_stay("10.252.252.0/24")
    assert not table.must_stay("10.252.252.8/32")
    assert not table.must_stay("2001:db8::/32")


def test_a_younger_service_moves_no_attribute_but_communities_of_a_shared_prefix() -> None:
    table = Table()
    made = CONFIGURATION
    old = vip(ADDRESSES[0], {"web/a": Holder(uid="a", created="1", bgp=("wide",), serving=True)})
    new = vip(ADDRESSES[1], {"web/b": Holder(uid="b", created="2", bgp=("loud",), serving=True)})
    table.update(new.address, select(new, made, NODE))
    table.update(old.address, select(old, made, NODE))
    found = table.attributes("tor-a", "10.252.252.0/24")
    assert found is not None
    assert (found.local_preference, found.communities) == (None, ((2, 2), (3, 3)))
