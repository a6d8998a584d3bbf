"""The order of L2 candidates is MetalLB's (metallb.md 4.3), so a migration moves nothing."""

import pytest
from msgspec.structs import replace

from metalbgp.model.configuration import Leaving, Preference
from metalbgp.model.services import EXCLUDE_LABEL, Node
from metalbgp.plan.ranking import ZONE, Claimant, candidates, order
from metalbgp.plan.scene import Scene
from tests.values import configuration, holder, l2, labelled, node

LETTERS = [f"node-{letter}" for letter in "abcd"]


@pytest.mark.parametrize(
    ("names", "address", "expected"),
    [
        (LETTERS, "192.0.2.1", "cadb"),
        (LETTERS, "192.0.2.2", "bcad"),
        (LETTERS, "192.0.2.3", "cadb"),
        (LETTERS, "198.51.100.10", "abdc"),
        (LETTERS, "2001:db8::1", "dbac"),
        (LETTERS[:3], "10.0.0.1", "bac"),
        (LETTERS[:3], "10.0.0.2", "bca"),
    ],
)
def test_the_vectors_of_the_original_hold(names: list[str], address: str, expected: str) -> None:
    assert "".join(name[-1] for name in order(names, address)) == expected
    assert "".join(name[-1] for name in order(reversed(names), address)) == expected


NODES = {name: node(name, letter=name[-1]) for name in LETTERS}
FIRST = "192.0.2.1"  # c, a, d, b


def ranked(
    *advertisements: object, cluster: dict[str, Node] = NODES, live: str = "abcd", **fields: object
) -> str:
    made = configuration(*advertisements)  # type: ignore[arg-type] # L2Advertisements, all of them
    names = tuple(one.name for one in made.l2_advertisements)
    claimant = Claimant(service="web/nginx", holder=holder(l2=names, **fields), first=FIRST)
    scene = Scene(configuration=made, nodes=cluster, live={f"node-{letter}" for letter in live})
    return "".join(name[-1] for name in candidates([claimant], scene))


def test_only_nodes_with_a_live_speaker_that_pass_the_gates_are_candidates() -> None:
    assert ranked(l2()) == "cadb"
    assert ranked(l2(), live="abd") == "adb"
    gated = NODES | {
        "node-c": Node(name="node-c", labels={EXCLUDE_LABEL: "true"}),
        "node-a": node("node-a", network_unavailable=True),
    }
    assert ranked(l2(), cluster=gated) == "db"


def test_a_node_that_leaves_stands_last_and_is_taken_out_where_owners_keep_what_they_have() -> None:
    cordoned = NODES | {"node-c": replace(NODES["node-c"], unschedulable=True)}
    minds = Leaving(when=("cordon",))
    assert ranked(l2(leaving=minds), cluster=cordoned) == "adbc"
    assert ranked(l2(), cluster=cordoned) == "cadb"
    assert ranked(l2(leaving=minds, revertive=False), cluster=cordoned) == "adb"
    assert ranked(l2(leaving=minds), cluster=cordoned, live="c") == "c"
    assert ranked(l2(leaving=minds, revertive=False), cluster=cordoned, live="c") == "c"
    # An advertisement that does not mind wants the node as it is.
    assert ranked(l2("a", leaving=minds), l2("b"), cluster=cordoned) == "cadb"


def test_a_candidate_is_covered_by_an_advertisement_and_under_local_hosts_an_endpoint() -> None:
    assert ranked(l2("x", node_selectors=(labelled(letter="a"), labelled(letter="b")))) == "ab"
    assert ranked(l2(), policy="Local", nodes={"node-d": 1, "node-a": 3}) == "ad"
    assert ranked(l2(), policy="Local", nodes={}) == ""
    assert ranked(l2(), serving=False) == ""
    assert ranked() == ""


def test_nodes_whose_endpoints_terminate_come_after_all_others_whatever_is_preferred() -> None:
    prefer = l2(preferences=(Preference(weight=9, selector=labelled(letter="c")),))
    going = {"policy": "Local", "terminating": {"node-c": 2, "node-b": 1}}
    assert ranked(prefer, nodes={"node-d": 1, "node-a": 3}, **going) == "adcb"
    assert ranked(prefer, nodes={"node-d": 1}, live="abc", **going) == "cb"
    assert ranked(prefer, **going) == "cb"


def test_preferences_add_up_over_advertisements_that_cover_the_node() -> None:
    def prefer(weight: int, **labels: str) -> Preference:
        return Preference(weight=weight, selector=labelled(**labels))

    assert ranked(l2(preferences=(prefer(10, letter="b"), prefer(5, letter="d")))) == "bdca"
    both = l2("y", preferences=(prefer(6, letter="d"),)), l2("z", preferences=(prefer(5, letter="d"),))
    assert ranked(l2(preferences=(prefer(10, letter="b"),)), *both) == "dbca"
    elsewhere = l2("far", node_selectors=(labelled(letter="a"),), preferences=(prefer(50, letter="b"),))
    assert ranked(l2(), elsewhere) == "cadb"


def test_at_most_five_are_written() -> None:
    nodes = {f"n{number}": node(f"n{number}") for number in range(9)}
    claimant = Claimant(service="web/a", holder=holder(l2=("layer2",)), first=FIRST)
    scene = Scene(configuration=configuration(l2()), nodes=nodes, live=nodes.keys())
    assert candidates([claimant], scene) == order(nodes, FIRST)[:5]


def test_of_several_services_the_oldest_that_can_be_served_decides() -> None:
    scene = Scene(configuration=configuration(l2()), nodes=NODES, live=LETTERS)
    old = Claimant("web/z", holder(created="1", l2=("layer2",)), first="192.0.2.2")
    young = Claimant("web/a", holder(created="2", l2=("layer2",)), first="192.0.2.1")
    silent = Claimant("web/0", holder(created="0", l2=("layer2",), serving=False), first="10.0.0.1")
    assert candidates([young, silent, old], scene) == order(LETTERS, "192.0.2.2")


def test_the_five_are_from_different_zones_and_stay_in_the_order_of_the_hash() -> None:
    zones = {f"n{number}": "far" if number in (3, 8) else "near" for number in range(9)}
    nodes = {name: Node(name=name, labels={ZONE: zone}) for name, zone in zones.items()}
    claimant = Claimant(service="web/a", holder=holder(l2=("layer2",)), first=FIRST)
    scene = Scene(configuration=configuration(l2()), nodes=nodes, live=nodes.keys())
    whole, written = order(nodes, FIRST), candidates([claimant], scene)
    assert whole == ("n7", "n4", "n6", "n2", "n0", "n1", "n5", "n3", "n8")
    assert written == ("n7", "n4", "n6", "n3", "n8")
