"""Several objects together: the last good version of each, and who stays in a conflict."""

from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.config.compile import Compiled
from metalbgp.config.objects import AnyObject
from metalbgp.model.configuration import Configuration
from tests.unit.config.made import (
    NOTHING,
    alias,
    bfd,
    bgp,
    compiled,
    expressed,
    l2,
    labelled,
    peer,
    pool,
    whys,
)

RACK_A, RACK_B = labelled(rack="a"), labelled(rack="b")


def ranges(result: Compiled) -> dict[str, list[str]]:
    return {one.name: [str(block) for block in one.ranges] for one in result.configuration.pools}


def in_force(*found: AnyObject) -> Configuration:
    result = compiled(*found)
    assert not result.invalid, whys(result)
    return result.configuration


# ------------------------------------------------------------------ last good


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (pool("x", "10.0.0.0/24"), pool("x", "nonsense", generation=2)),
        (peer("x"), peer("x", myASN=0, generation=2)),
        (bgp("x", localPref=7), bgp("x", communities=["what"], generation=2)),
        (l2("x"), l2("x", interfaces=["a", "a"], generation=2)),
        (bfd("x"), bfd("x", detectMultiplier=1, generation=2)),
    ],
)
def test_an_object_that_became_invalid_keeps_its_last_good_version(good: AnyObject, bad: AnyObject) -> None:
    before = in_force(good)
    result = compiled(bad, previous=before)
    assert len(result.invalid) == 1
    assert result.configuration == before


def test_while_one_object_is_invalid_all_others_move_on() -> None:
    before = in_force(pool("a", "10.0.0.0/24"), pool("b", "10.0.1.0/24"))
    result = compiled(
        pool("a", "nonsense"), pool("b", "10.0.2.0/24"), pool("c", "10.0.3.0/24"), previous=before
    )
    assert ranges(result) == {
        "a": ["10.0.0.0-10.0.0.255"],
        "b": ["10.0.2.0-10.0.2.255"],
        "c": ["10.0.3.0-10.0.3.255"],
    }


def test_an_object_deleted_and_made_again_invalid_has_no_last_good_version() -> None:
    before = in_force(pool("a", "10.0.0.0/24"))
    assert not compiled(pool("a", "nonsense", uid="another"), previous=before).configuration.pools


def test_a_deleted_object_is_gone() -> None:
    assert not compiled(previous=in_force(pool("a", "10.0.0.0/24"))).configuration.pools


def test_an_unreadable_object_is_invalid_and_not_deleted() -> None:
    before = in_force(pool("a", "10.0.0.0/24"))
    wrong: Any = {"not": "a list"}
    result = compiled(pool("a", wrong), previous=before)
    assert result.configuration == before
    assert result.invalid[0].field == "spec"


def test_the_sequence_and_the_installation_are_carried_and_not_counted() -> None:
    before = replace(NOTHING, sequence=41)
    found = compiled(pool("a", "10.0.0.0/24"), previous=before).configuration
    assert (found.installation, found.sequence) == ("metallb-system", 41)


# ------------------------------------------------------------------ pools


def test_overlapping_pools_name_both_cidrs_and_both_pools() -> None:
    result = compiled(pool("old", "10.0.0.0/24", age=5), pool("new", "10.1.0.0/24", "10.0.0.128/25"))
    assert list(ranges(result)) == ["old"]
    (one,) = result.invalid
    assert (one.object, one.field) == ("new", "spec.addresses[1]")
    assert one.why == 'CIDR "10.0.0.128/25" in pool "new" overlaps with CIDR "10.0.0.0/24" in pool "old"'


def test_the_pool_in_force_wins_over_an_older_one_that_comes_to_overlap() -> None:
    before = in_force(pool("young", "10.0.0.0/24"), pool("old", "10.0.1.0/24", age=9))
    grown = pool("old", "10.0.0.0/23", age=9, generation=2)
    result = compiled(pool("young", "10.0.0.0/24"), grown, previous=before)
    assert result.configuration == before
    assert [one.object for one in result.invalid] == ["old"]


def test_a_change_of_anything_else_does_not_lose_a_pool_its_place() -> None:
    before = in_force(pool("a", "10.0.0.0/24"), pool("b", "10.0.1.0/24", age=9))
    result = compiled(
        pool("a", "10.0.0.0/24", autoAssign=False, generation=2),
        pool("b", "10.0.0.0/23", age=9, generation=2),
        previous=before,
    )
    assert [one.object for one in result.invalid] == ["b"]
    assert [one.auto_assign for one in result.configuration.pools] == [False, True]


def test_addresses_may_move_from_one_pool_to_another_in_one_change() -> None:
    before = in_force(pool("a", "10.0.0.0/23"), pool("b", "10.0.2.0/24"))
    result = compiled(pool("a", "10.0.0.0/24"), pool("b", "10.0.1.0/24", "10.0.2.0/24"), previous=before)
    assert not result.invalid
    assert ranges(result)["a"] == ["10.0.0.0-10.0.0.255"]


def test_a_pool_that_steps_back_takes_its_old_place_from_nobody() -> None:
    # b moves into a's new place and must step back; then c, which moved into b's old place, must as well.
    before = in_force(
        pool("a", "10.0.0.0/24", age=3), pool("b", "10.0.1.0/24", age=2), pool("c", "10.0.2.0/24", age=1)
    )
    result = compiled(
        pool("a", "10.0.9.0/24", age=3),
        pool("b", "10.0.9.0/25", age=2),
        pool("c", "10.0.1.0/25", age=1),
        previous=before,
    )
    assert ranges(result) == {
        "a": ["10.0.9.0-10.0.9.255"],
        "b": ["10.0.1.0-10.0.1.255"],
        "c": ["10.0.2.0-10.0.2.255"],
    }
    assert {one.object for one in result.invalid} == {"b", "c"}


# ------------------------------------------------------------------ peers


def test_of_two_peers_with_one_address_the_older_runs() -> None:
    result = compiled(peer("young"), peer("old", age=5, peerPort=1179))
    assert [one.name for one in result.configuration.peers] == ["old"]
    assert result.invalid[0].object == "young"


def test_the_peer_in_force_wins_over_an_older_one() -> None:
    before = in_force(peer("young"))
    result = compiled(peer("young"), peer("old", age=5), previous=before)
    assert [one.name for one in result.configuration.peers] == ["young"]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ([RACK_A], [RACK_B], True),
        ([RACK_A], [RACK_A], False),
        ([RACK_A], [], False),
        ([RACK_A], [labelled(zone="b")], False),
        ([RACK_A, RACK_B], [RACK_B], False),
        ([RACK_A], [expressed("rack", "NotIn", "a")], True),
    ],
)
def test_peers_share_an_address_only_where_no_node_can_run_both(
    one: list[Any], other: list[Any], both: bool
) -> None:
    result = compiled(peer("a", nodeSelectors=one), peer("b", nodeSelectors=other))
    assert (len(result.configuration.peers) == 2) is both


def test_a_peer_whose_profile_is_missing_waits_and_one_in_force_stays() -> None:
    before = in_force(peer("p", bfdProfile="fast"), bfd("fast"))
    gone = compiled(peer("p", bfdProfile="fast"), previous=before)
    assert len(gone.configuration.peers) == 1
    assert 'BFDProfile "fast" does not exist' in whys(gone)[0]
    assert gone.configuration == before  # its BFD session goes on with the profile that is gone
    again = compiled(peer("p", bfdProfile="fast"), peer("q", bfdProfile="fast"), previous=gone.configuration)
    assert again.configuration == before and len(again.invalid) == 2
    without = compiled(peer("p", generation=2), previous=again.configuration).configuration
    assert without.peers and not without.bfd_profiles
    near = compiled(peer("p", bfdProfile="fsat"), bfd("fast"))
    assert not near.configuration.peers
    assert "did you mean" in whys(near)[0]


# ------------------------------------------------------------------ communities


def test_an_alias_that_two_objects_define_belongs_to_the_older() -> None:
    old, young = alias("old", X="1:1"), alias("young", X="2:2", Y="3:3")
    old = replace(old, metadata=replace(old.metadata, creation_timestamp="2025-01-01T00:00:00Z"))
    result = compiled(young, old, bgp("a", communities=["X", "Y"]))
    assert result.configuration.bgp_advertisements[0].communities == ((1, 1), (3, 3))
    assert whys(result) == [
        'Community young: spec.communities[0].name: "X" is already defined by Community old'
    ]


def test_an_alias_in_force_is_not_taken_over_by_an_older_object() -> None:
    young = alias("young", X="2:2")
    before = in_force(young, bgp("a", communities=["X"]))
    old = alias("old", X="1:1")
    old = replace(old, metadata=replace(old.metadata, creation_timestamp="2025-01-01T00:00:00Z"))
    result = compiled(young, old, bgp("a", communities=["X"]), previous=before)
    assert result.configuration == before
    assert [one.object for one in result.invalid] == ["young"]


def test_an_advertisement_whose_alias_goes_keeps_its_last_good_version() -> None:
    before = in_force(alias("c", X="1:1"), bgp("a", communities=["X"]))
    result = compiled(bgp("a", communities=["X"]), previous=before)
    assert result.configuration == before
    assert [one.object for one in result.invalid] == ["a"]


def test_a_changed_alias_changes_the_advertisements_that_name_it() -> None:
    before = in_force(alias("c", X="1:1"), bgp("a", communities=["X"]))
    result = compiled(alias("c", X="2:2"), bgp("a", communities=["X"]), previous=before)
    assert result.configuration.bgp_advertisements[0].communities == ((2, 2),)


# ------------------------------------------------------------------ localPref

V4, DUAL = ("10.0.0.0/24",), ("10.0.0.0/24", "2001:db8::/120")


@pytest.mark.parametrize(
    ("addresses", "one", "other", "conflict"),
    [
        (V4, {"localPref": 100}, {"localPref": 100}, False),
        (V4, {"localPref": 100}, {"localPref": 200}, True),
        (V4, {"localPref": 100}, {}, True),
        (V4, {"localPref": 100, "aggregationLength": 24}, {"localPref": 200}, False),
        (V4, {"localPref": 100, "aggregationLengthV6": 124}, {"localPref": 200}, True),  # no IPv6 in the pool
        (DUAL, {"localPref": 100, "aggregationLength": 24}, {"localPref": 200}, True),  # IPv6 still meets
        (
            DUAL,
            {"localPref": 100, "aggregationLength": 24, "aggregationLengthV6": 124},
            {"localPref": 200},
            False,
        ),
        (V4, {"localPref": 100, "peers": ["a"]}, {"localPref": 200, "peers": ["b"]}, False),
        (V4, {"localPref": 100, "peers": ["a"]}, {"localPref": 200}, True),
        (
            V4,
            {"localPref": 100, "nodeSelectors": [RACK_A]},
            {"localPref": 200, "nodeSelectors": [RACK_B]},
            False,
        ),
        (V4, {"localPref": 100, "nodeSelectors": [RACK_A]}, {"localPref": 200}, True),
        (V4, {"localPref": 100, "serviceSelectors": [RACK_A]}, {"localPref": 200}, False),
        (V4, {"localPref": 100, "ipAddressPools": ["p"]}, {"localPref": 200, "ipAddressPools": ["q"]}, False),
    ],
)
def test_advertisements_disagree_when_localpref_differs_for_the_same_prefix_peer_and_node(
    addresses: tuple[str, ...], one: dict[str, Any], other: dict[str, Any], conflict: bool
) -> None:
    result = compiled(
        pool("p", *addresses), pool("q", "10.9.0.0/24"), bgp("old", age=5, **one), bgp("young", **other)
    )
    assert bool(result.invalid) is conflict
    assert len(result.configuration.bgp_advertisements) == (1 if conflict else 2)
    if conflict:
        assert result.invalid[0].object == "young"


def test_of_two_that_come_to_disagree_the_changed_one_waits() -> None:
    unchanged = bgp("young", localPref=100)
    before = in_force(pool("p", *V4), unchanged, bgp("old", age=5, localPref=100))
    result = compiled(
        pool("p", *V4), unchanged, bgp("old", age=5, localPref=200, generation=2), previous=before
    )
    assert result.configuration == before
    assert [one.object for one in result.invalid] == ["old"]


@pytest.mark.parametrize(
    ("note", "value"),
    [("med", "50"), ("prepend", "2"), ("link-bandwidth", "100"), ("backup-nodes", "role=backup")],
)
def test_an_annotation_that_comes_to_disagree_waits_and_takes_no_route_away(note: str, value: str) -> None:
    """A route has one of each. Annotations change no generation: what they say is compared."""
    before = in_force(pool("p", *V4), bgp("old", age=5), bgp("young"))
    noted = bgp("old", age=5, notes={f"metalbgp.io/{note}": value})
    result = compiled(pool("p", *V4), noted, bgp("young"), previous=before)
    assert result.configuration == before
    (told,) = result.invalid
    assert (told.object, told.field) == ("old", f"metadata.annotations.metalbgp.io/{note}")
    assert "while BGPAdvertisement young says" in told.why and "give them one" in told.fix
    assert told.awaits  # admission lets it in: the other one is changed next
    # Said on both, it is in force.
    both = compiled(
        pool("p", *V4), noted, bgp("young", notes={f"metalbgp.io/{note}": value}), previous=before
    )
    assert not both.invalid


def test_a_pool_edit_that_breaks_an_aggregate_is_told_on_the_advertisement() -> None:
    before = in_force(pool("p", "10.0.0.0/24"), bgp("a", aggregationLength=24))
    result = compiled(pool("p", "10.0.0.0/26"), bgp("a", aggregationLength=24), previous=before)
    assert [one.object for one in result.invalid] == ["a"]
    assert ranges(result) == {"p": ["10.0.0.0-10.0.0.63"]}
    assert result.configuration.bgp_advertisements == before.bgp_advertisements
    assert whys(result) == [
        'BGPAdvertisement a: spec.aggregationLength: /24 is wider than 10.0.0.0/26 of pool "p" '
        "(its widest CIDR is a /26)"
    ]
    assert result.invalid[0].fix == "write 26 or more"


HUSH: dict[str, Any] = {"password": "hush"}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (pool("p", "10.0.0.0/24", "10.1.0.0-2001:db8::1", generation=2), "spec.addresses[1]"),
        (
            peer("p", **HUSH, passwordSecret={"name": "t"}, generation=2),
            "spec.passwordSecret",
        ),
        (peer("p", bfdProfile="fast", generation=2), "spec.bfdProfile"),
        (peer("p", routerID="2001:db8::1", generation=2), "spec.routerID"),
    ],
)
def test_what_metallb_takes_though_it_is_wrong_costs_its_object_alone(wrong: Any, field: str) -> None:
    """New, it is not in force; edited in, the last good version stays. Everything else moves on."""
    other = pool("other", "10.9.0.0/24")
    fresh = compiled(wrong, other)
    assert [(one.field, bool(one.fix)) for one in fresh.invalid] == [(field, True)]
    assert [one.name for one in (*fresh.configuration.pools, *fresh.configuration.peers)] == ["other"]
    before = in_force(pool("p", "10.0.0.0/24"), peer("p"))
    result = compiled(wrong, other, previous=before)
    assert [one.field for one in result.invalid] == [field]
    kept = {
        one.name: one.source.generation for one in (*result.configuration.pools, *result.configuration.peers)
    }
    assert kept == {"p": 1, "other": 1}
