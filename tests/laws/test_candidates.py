"""Which five nodes stand ready for an address: MetalLB's order, several zones, and little that moves."""

from hypothesis import given, settings
from hypothesis import strategies as st

from metalbgp.model.services import Node
from metalbgp.plan.ranking import WRITTEN, ZONE, order, spread_zones

FIRST = "192.0.2.1"
ZONES = st.dictionaries(
    st.integers(0, 30).map("n{}".format), st.sampled_from(["", "a", "b", "c", "d", "e", "f"]), max_size=20
)


def nodes_of(zones: dict[str, str]) -> dict[str, Node]:
    return {
        name: Node(name=name, labels={ZONE: zone} if zone else {}) for name, zone in sorted(zones.items())
    }


def chosen(zones: dict[str, str]) -> tuple[str, ...]:
    return spread_zones(order(zones, FIRST), nodes_of(zones))


@given(ZONES)
def test_the_first_is_metallbs_and_the_list_a_part_of_its_order(zones: dict[str, str]) -> None:
    whole, found = order(zones, FIRST), chosen(zones)
    assert found[:1] == whole[:1]
    assert len(found) == min(WRITTEN, len(zones))
    assert found == tuple(name for name in whole if name in found)


@given(ZONES)
def test_as_many_zones_as_there_is_room_for_are_in_the_list(zones: dict[str, str]) -> None:
    spanned = {zones[name] for name in chosen(zones)}
    assert len(spanned) == min(WRITTEN, len(set(zones.values())))


@given(ZONES)
def test_with_one_zone_or_without_labels_the_first_five_are_taken(zones: dict[str, str]) -> None:
    assert chosen(dict.fromkeys(zones, "a")) == order(zones, FIRST)[:WRITTEN]
    assert chosen(dict.fromkeys(zones, "")) == order(zones, FIRST)[:WRITTEN]


@given(ZONES.filter(bool), st.data())
@settings(max_examples=300)
def test_a_node_that_goes_is_replaced_by_at_most_one_and_moves_no_other(
    zones: dict[str, str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(sorted(zones)))
    before, after = chosen(zones), chosen({name: zone for name, zone in zones.items() if name != gone})
    stay = [name for name in before if name != gone]
    if gone not in before:
        assert after == before
    else:
        assert set(stay) <= set(after)
        assert len(set(after) - set(stay)) <= 1
