"""Annotations metalbgp.io/… on advertisements and BGPPeers: what they become, and what is refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metalbgp.config import compiled as stored
from metalbgp.config import virtualip
from metalbgp.config.services import annotations
from metalbgp.model import extended
from metalbgp.model.configuration import BGPAdvertisement, L2Advertisement, Leaving
from metalbgp.model.services import RouteWishes
from tests.unit.config.made import alias, bgp, compiled, l2, peer, whys
from tests.values import holder, vip

M = "metalbgp.io/"
FIELD = "metadata.annotations.metalbgp.io/"


def noted(**notes: str) -> dict[str, str]:
    return {M + name.replace("_", "-"): text for name, text in notes.items()}


def the_one(**notes: str) -> BGPAdvertisement:
    result = compiled(bgp("a", notes=noted(**notes)))
    assert whys(result) == []
    assert result.not_in_force == ()
    (found,) = result.configuration.bgp_advertisements
    assert stored.decode(_bytes(result)) == result.configuration
    return found


def _bytes(result: Any) -> bytes:
    return msgspec.json.encode(stored.encode(result.configuration, "metallb-system"))


def test_every_annotation_of_an_advertisement_is_read_and_survives_the_object_of_the_speakers() -> None:
    found = the_one(
        med="50",
        prepend="2",
        extended_communities="target:64512:30, origin:4200000000:7",
        link_bandwidth="1000",
        backup_nodes="role=backup,!spare,rack",
        service_may="communities, blackhole",
        announce_delay="1.5s",
    )
    assert found.announce_delay == 1500
    assert found.service_may == ("blackhole", "communities")
    assert (found.med, found.prepend, found.link_bandwidth) == (50, 2, 1000)
    assert found.extended_communities == (0x0002_FC00_0000_001E, 0x0203_FA56_EA00_0007)
    (backup,) = found.backup_nodes
    assert backup.matches({"role": "backup", "rack": "7"})
    assert not backup.matches({"role": "backup", "rack": "7", "spare": ""})


def test_when_a_node_leaves_is_said_by_words_and_survives_the_object_of_the_speakers() -> None:
    found = the_one(drain="shutdown, cordon", drain_delay="2m", drain_tolerates="a, b=c:NoSchedule")
    assert found.leaving == Leaving(
        when=("cordon", "shutdown"), delay=120_000, tolerates=("a", "b=c:NoSchedule")
    )
    assert the_one().leaving == Leaving(when=(), delay=30_000)
    assert the_one(drain_delay="0s").leaving.delay == 0
    flat = compiled(l2("a", notes=noted(drain="taints"))).configuration.l2_advertisements[0]
    assert flat.leaving == Leaving(when=("taints",))


def test_an_advertisement_without_them_is_what_it_was() -> None:
    assert the_one() == the_one(**{})
    assert the_one(med="0").med == 0 and the_one().med is None
    assert the_one(announce_delay="0").announce_delay == 0
    assert the_one(announce_delay="1ns").announce_delay == 1  # a wish is never rounded away


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ({"drain": "cordone"}, '"cordone" is not one of cordon, shutdown, taints (did you mean "cordon"?)'),
        ({"drain_delay": "301s"}, "301s is not within 0s and 300s"),
        ({"drain_tolerates": "a:Never"}, '"a:Never" is not a taint'),
        ({"med": "-1"}, '"-1" is not a number from 0 to 4294967295'),
        ({"med": "4294967296"}, "is not a number"),
        ({"med": "٣"}, "is not a number"),
        ({"prepend": "17"}, "is not a number from 0 to 16"),
        ({"link_bandwidth": "0"}, "is not a number from 1"),
        ({"extended_communities": "64512:30"}, "is not an extended community"),
        ({"extended_communities": "target:70000:70000"}, "does not fit"),
        ({"extended_communities": "target:1:2:3"}, "is not an extended community"),
        ({"extended_communities": " "}, "is empty"),
        ({"extended_communities": "shutdown"}, "is not an extended community"),
        ({"service_may": "communities,all"}, '"all" is not one of blackhole, communities, local-preference'),
        ({"announce_delay": "2"}, '"2" is not a duration'),
        ({"announce_delay": "-1s"}, "-1s is not within 0s and 300s"),
        ({"announce_delay": "301s"}, "301s is not within 0s and 300s"),
        ({"backup_nodes": "a!=b"}, "does not select nodes"),
        ({"backup_nodes": "a b=c"}, "a b"),
    ],
)
def test_what_cannot_be_read_names_the_annotation_and_keeps_the_object_out(
    note: dict[str, str], why: str
) -> None:
    result = compiled(bgp("a", notes=noted(**note)))
    assert result.configuration.bgp_advertisements == ()
    assert all(one.field.startswith(FIELD + next(iter(note)).replace("_", "-")) for one in result.invalid)
    assert why in result.invalid[0].why


def test_an_annotation_of_ours_that_nothing_reads_is_told_with_the_near_miss() -> None:
    result = compiled(
        bgp("a", notes={M + "prependd": "2", "example.org/med": "x"}), peer("p", notes={M + "med": "1"})
    )
    said = {(one.kind, one.field): one.why for one in result.not_in_force}
    assert '(did you mean "prepend"?)' in said["BGPAdvertisement", FIELD + "prependd"]
    assert ("BGPPeer", FIELD + "med") in said
    assert len(said) == 2


def test_an_l2_advertisement_says_who_keeps_an_address_whether_it_is_fenced_and_spread() -> None:
    def read(**notes: str) -> L2Advertisement:
        result = compiled(l2("a", notes=noted(**notes)))
        assert whys(result) == []
        assert result.not_in_force == ()
        assert stored.decode(_bytes(result)) == result.configuration
        return result.configuration.l2_advertisements[0]

    plain = read()
    assert (plain.revertive, plain.fenced, plain.even) == (True, False, False)
    assert read(revertive="true") == plain
    found = read(revertive="false", fencing="lease", spread="even")
    assert (found.revertive, found.fenced, found.even) == (False, True, True)


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ({"revertive": "no"}, '"no" is neither true nor false'),
        ({"fencing": "true"}, '"true" is not "lease", the only value there is'),
        ({"spread": ""}, '"" is not "even"'),
    ],
)
def test_what_an_l2_advertisement_cannot_mean_keeps_it_out(note: dict[str, str], why: str) -> None:
    result = compiled(l2("a", notes=noted(**note)))
    assert result.configuration.l2_advertisements == ()
    assert [one.field for one in result.invalid] == [FIELD + next(iter(note))]
    assert why in result.invalid[0].why


def test_an_annotation_of_another_kind_does_nothing_on_an_l2_advertisement_and_that_is_told() -> None:
    result = compiled(l2("a", notes=noted(med="1", fence="lease")))
    said = {one.field: one.why for one in result.not_in_force if one.kind == "L2Advertisement"}
    assert said.keys() == {FIELD + "fence", FIELD + "med"}
    assert '(did you mean "fencing"?)' in said[FIELD + "fence"]


def test_well_known_names_need_no_community_object_and_an_alias_of_that_name_comes_first() -> None:
    result = compiled(bgp("a", communities=["no-export", "NO_ADVERTISE", "graceful-shutdown", "blackhole"]))
    assert whys(result) == []
    (found,) = result.configuration.bgp_advertisements
    assert found.communities == ((65535, 0), (65535, 666), (65535, 65281), (65535, 65282))
    named = compiled(bgp("a", communities=["no-export"]), alias("c", **{"no-export": "64512:1"}))
    assert named.configuration.bgp_advertisements[0].communities == ((64512, 1),)


def test_gtsm_is_asked_for_by_an_annotation_and_excludes_multihop() -> None:
    (found,) = compiled(peer("p", notes=noted(ttl_security="true"))).configuration.peers
    assert found.ttl_security
    both = compiled(peer("p", ebgpMultiHop=True, notes=noted(ttl_security="true")))
    assert "cannot be known by its TTL" in whys(both)[0]
    assert "neither true nor false" in whys(compiled(peer("p", notes=noted(ttl_security="yes"))))[0]


def test_the_limits_of_a_peer_are_read_and_what_they_cannot_be_is_said() -> None:
    notes = noted(max_routes="500", withdraw_limit="100 / 1m")
    (found,) = compiled(peer("p", notes=notes)).configuration.peers
    assert (found.max_routes, found.withdraw_limit, found.withdraw_window) == (500, 100, 60)
    for wrong, why in (
        (noted(max_routes="0"), "1"),
        (noted(withdraw_limit="100"), '"100" is not a number within a time'),
        (noted(withdraw_limit="100/0s"), "not within 1s and 24h"),
        (noted(withdraw_limit="0/10s"), "1"),
        (noted(withdraw_limit="x/10s"), "x"),
    ):
        assert why in whys(compiled(peer("p", notes=wrong)))[0]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.sampled_from(["target", "origin"]))
def test_an_extended_community_is_its_text_and_back(asn: int, number: int, kind: str) -> None:
    text = f"{kind}:{asn}:{number}"
    try:
        value = extended.from_text(text)
    except ValueError:
        assert asn > 0xFFFF and number > 0xFFFF
        return
    assert extended.text(value) == text and 0 <= value < 2**64


@given(st.integers(1, 2**32 - 1), st.integers(1, 2**23))
def test_a_bandwidth_keeps_its_megabits(asn: int, megabits: int) -> None:
    """The wire has 24 bits for them: what is above eight terabits is rounded."""
    value = extended.bandwidth(asn, megabits)
    assert extended.is_bandwidth(value)
    shown = extended.text(value)
    assert shown == f"bandwidth:{asn if asn <= 0xFFFF else 23456}:{megabits}M"
    assert extended.from_text(shown) == value


@example(8816675)
@given(st.integers(2**23, 10**9))
def test_a_bandwidth_that_was_rounded_is_shown_as_what_went_over_the_wire(megabits: int) -> None:
    value = extended.bandwidth(1, megabits)
    shown = extended.text(value)
    assert extended.from_text(shown) == value
    assert abs(int(shown.rpartition(":")[2].removesuffix("M")) - megabits) <= megabits / 2**23


# ------------------------------------------------------------------ of Services


def wished(**notes: str) -> Any:
    return annotations(noted(**notes))


def test_a_service_says_what_it_wishes_for_its_routes() -> None:
    found = wished(communities="64512:7, no-export large:1:2:3", local_preference="200", blackhole="true")
    assert found.misread == ()
    assert found.wishes == RouteWishes(
        communities=((64512, 7), (65535, 65281)),
        large_communities=((1, 2, 3),),
        local_preference=200,
        blackhole=True,
    )
    assert found.wishes.kinds == ("blackhole", "communities", "local-preference")
    assert annotations({"metallb.io/address-pool": "a"}).wishes.kinds == ()


def test_a_wish_that_cannot_be_read_is_named_and_the_others_count() -> None:
    found = wished(communities="64512:7 nowhere", local_preference="-1", blackhole="true")
    assert found.wishes == RouteWishes(communities=((64512, 7),), blackhole=True)
    assert [name for name, _ in found.misread] == [M + "communities", M + "local-preference"]
    assert "is not a community" in found.misread[0][1]


@given(
    st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535)), max_size=4),
    st.one_of(st.none(), st.integers(0, 2**32 - 1)),
    st.booleans(),
)
def test_wishes_survive_the_object_of_the_claim(
    plain: list[tuple[int, int]], preference: int | None, blackhole: bool
) -> None:
    wishes = RouteWishes(tuple(sorted(set(plain))), ((1, 2, 3),) if plain else (), preference, blackhole)
    claim = vip("198.51.100.7", {"web/shop": holder(wishes=wishes)})
    assert virtualip.decode(msgspec.json.encode(virtualip.encode(claim))).holders["web/shop"].wishes == wishes
