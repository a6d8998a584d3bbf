"""The rules of each kind (metallb.md 1.1 to 1.6): one bad field, one reason, on the right object."""

from typing import Any

import pytest

from metalbgp.config.objects import AnyObject
from metalbgp.model.configuration import BFDProfile, Preference
from metalbgp.model.selectors import Selector
from tests.unit.config.made import alias, bfd, bgp, compiled, expressed, l2, labelled, peer, pool, whys

RED = labelled(color="red")
HUSH = {"password": "hush-hush"}


@pytest.mark.parametrize(
    ("found", "field", "why"),
    [
        (pool("p"), "spec.addresses", "is empty"),
        (pool("p", "10.0.0.0/24", "10.0.0.9"), "spec.addresses[1]", "one address"),
        (pool("p", "10.0.0.0/24", "10.0.0.9-10.0.1.3"), "spec.addresses[1]", "overlaps with"),
        (
            pool("p", "10.0.0.0/24", serviceAllocation={"namespaces": ["a", "b", "a"]}),
            "spec.serviceAllocation.namespaces",
            '"a" stands there twice',
        ),
        (
            pool("p", "10.0.0.0/24", serviceAllocation={"namespaceSelectors": [RED, RED]}),
            "spec.serviceAllocation.namespaceSelectors[1]",
            "twice",
        ),
        (
            pool("p", "10.0.0.0/24", serviceAllocation={"serviceSelectors": [expressed("a", "In")]}),
            "spec.serviceAllocation.serviceSelectors[0].matchExpressions[0]",
            "In needs values",
        ),
        (peer("p", myASN=0), "spec.myASN", "not from 1"),
        (peer("p", myASN=4294967296), "spec.myASN", "not from 1"),
        (peer("p", peerASN=-1), "spec.peerASN", "not from 0"),
        (peer("p", peerASN=0), "spec.peerASN", "is missing"),
        (peer("p", dynamicASN="external"), "spec.peerASN", "both peerASN and dynamicASN"),
        (peer("p", peerASN=None, dynamicASN="inside"), "spec.dynamicASN", "neither internal nor external"),
        (peer("p", localASN=0), "spec.localASN", "not from 1"),
        (peer("p", peerAddress="", interface=""), "spec.peerAddress", "is missing"),
        (peer("p", interface="eth0"), "spec.peerAddress", "both peerAddress and interface"),
        (peer("p", peerAddress="router.example"), "spec.peerAddress", "is not an IP address"),
        (peer("p", peerAddress="::ffff:10.0.0.1"), "spec.peerAddress", "IPv4 written as IPv6"),
        (peer("p", sourceAddress="eth0"), "spec.sourceAddress", "is not an IP address"),
        (peer("p", sourceAddress="2001:db8::1"), "spec.sourceAddress", "two families"),
        (peer("p", peerPort=16385), "spec.peerPort", "not from 0 to 16384"),
        (peer("p", routerID="2001:db8::1"), "spec.routerID", "not written like an IPv4 address"),
        (peer("p", routerID="1.2.3.04"), "spec.routerID", "not written like an IPv4 address"),
        (peer("p", routerID="0.0.0.0"), "spec.routerID", "a router ID is not 0"),
        (peer("p", holdTime="soon"), "spec.holdTime", "is not a duration"),
        (peer("p", holdTime="2s"), "spec.holdTime", "a hold time of 2 s"),
        (peer("p", holdTime="-3s"), "spec.holdTime", "a hold time of -3 s"),
        (peer("p", holdTime="65536s"), "spec.holdTime", "a hold time of 65536 s"),
        (peer("p", holdTime="9s", keepaliveTime="10s"), "spec.keepaliveTime", "longer than holdTime"),
        (peer("p", keepaliveTime="500ms"), "spec.keepaliveTime", "a hold time of 1 s"),
        (peer("p", connectTime="1500ms"), "spec.connectTime", "whole number"),
        (peer("p", connectTime="0s"), "spec.connectTime", "whole number"),
        (peer("p", connectTime="65536s"), "spec.connectTime", "whole number"),
        (peer("p", nodeSelectors=[RED, RED]), "spec.nodeSelectors[1]", "twice"),
        (peer("p", **HUSH, passwordSecret={"name": "b"}), "spec.passwordSecret", "both password"),
        (peer("p", password="x" * 81), "spec.password", "longer than 80 bytes"),
        (peer("p", bfdProfile="fast"), "spec.bfdProfile", 'BFDProfile "fast" does not exist'),
        (peer("p", peerASN=64513, ebgpMultiHop=True), "spec.ebgpMultiHop", "of our own AS"),
        (peer("p", peerASN=None, dynamicASN="internal", ebgpMultiHop=True), "spec.ebgpMultiHop", "own AS"),
        (bgp("a", aggregationLength=33), "spec.aggregationLength", "not from 1 to 32"),
        (bgp("a", aggregationLength=0), "spec.aggregationLength", "not from 1 to 32"),
        (bgp("a", aggregationLengthV6=129), "spec.aggregationLengthV6", "not from 1 to 128"),
        (bgp("a", localPref=-1), "spec.localPref", "not from 0"),
        (bgp("a", communities=["1:2", "1:2"]), "spec.communities", "stands there twice"),
        (bgp("a", communities=["70000:1"]), "spec.communities[0]", "is not a community"),
        (bgp("a", communities=["no-exprt"]), "spec.communities[0]", '(did you mean "no-export"?)'),
        (bgp("a", ipAddressPools=["p", "p"]), "spec.ipAddressPools", "twice"),
        (bgp("a", ipAddressPoolSelectors=[RED, RED]), "spec.ipAddressPoolSelectors[1]", "twice"),
        (bgp("a", peers=["p", "p"]), "spec.peers", "twice"),
        (
            bgp("a", aggregationLength=24, serviceSelectors=[RED]),
            "spec.aggregationLength",
            "cannot aggregate",
        ),
        (
            bgp("a", aggregationLengthV6=64, serviceSelectors=[RED]),
            "spec.aggregationLength",
            "cannot aggregate",
        ),
        (l2("a", interfaces=["eth0", "eth0"]), "spec.interfaces", "twice"),
        (l2("a", nodeSelectors=[RED, RED]), "spec.nodeSelectors[1]", "twice"),
        (
            l2("a", preferredNodeSelectors=[{"weight": 101, "preference": RED}]),
            "spec.preferredNodeSelectors[0].weight",
            "not from 1 to 100",
        ),
        (alias("c", **{"a:b": "1:2"}), "spec.communities[0].name", "has a colon"),
        (alias("c", X="nonsense"), "spec.communities[0].value", "is not a community"),
        (bfd("b", receiveInterval=9), "spec.receiveInterval", "not from 10 to 60000"),
        (bfd("b", transmitInterval=60001), "spec.transmitInterval", "not from 10 to 60000"),
        (bfd("b", detectMultiplier=1), "spec.detectMultiplier", "not from 2 to 255"),
        (bfd("b", echoInterval=9), "spec.echoInterval", "not from 10 to 60000"),
        (bfd("b", minimumTtl=255), "spec.minimumTtl", "not from 1 to 254"),
        (pool("p", 7), "spec", "Expected `str`"),  # type: ignore[arg-type]  # what a file may hold
    ],
)
def test_a_field_that_breaks_its_rule_is_named_and_the_object_stays_out(
    found: AnyObject, field: str, why: str
) -> None:
    result = compiled(found)
    assert [(one.object, one.field) for one in result.invalid] == [(found.name, field)], whys(result)
    assert why in result.invalid[0].why
    configuration = result.configuration
    in_force = (
        *configuration.pools,
        *configuration.peers,
        *configuration.bgp_advertisements,
        *configuration.l2_advertisements,
        *configuration.bfd_profiles,
    )
    assert not in_force


@pytest.mark.parametrize(
    ("length", "entries", "accepted"),
    [
        (16, ["192.168.0.0/24"], False),
        (24, ["192.168.0.0/24"], True),
        (26, ["3.3.3.2-3.3.3.254"], True),
        (24, ["3.3.3.2-3.3.3.254"], False),
        (24, ["10.0.0.0/24", "10.0.1.0/28"], False),  # each entry counts, not the pool
        (28, ["10.0.0.0/24", "10.0.1.0/28"], True),
        (24, ["2001:db8::/64"], True),  # no IPv4 in it, so nothing to refuse
    ],
)
def test_an_aggregate_is_not_wider_than_any_entry_of_its_pools(
    length: int, entries: list[str], accepted: bool
) -> None:
    result = compiled(pool("p", *entries), bgp("a", aggregationLength=length))
    assert bool(result.configuration.bgp_advertisements) is accepted
    assert bool(result.invalid) is not accepted


def test_an_aggregate_is_measured_against_the_pools_that_it_announces_only() -> None:
    wide, narrow = pool("wide", "10.0.0.0/16"), pool("narrow", "10.1.0.0/28")
    assert not compiled(wide, narrow, bgp("a", aggregationLength=16, ipAddressPools=["wide"])).invalid
    assert compiled(wide, narrow, bgp("a", aggregationLength=16)).invalid


@pytest.mark.parametrize(
    ("fields", "hold", "keepalive"),
    [
        ({}, None, None),
        ({"holdTime": "9s"}, 9, 3),
        ({"keepaliveTime": "3s"}, 9, 3),
        ({"holdTime": "30s", "keepaliveTime": "10s"}, 30, 10),
        ({"holdTime": "0s", "keepaliveTime": "0s"}, 0, 0),
        ({"holdTime": "500ms"}, 0, 0),
        ({"holdTime": "1m30s"}, 90, 30),
        ({"holdTime": "3.9s"}, 3, 1),
    ],
)
def test_a_timer_that_is_not_given_follows_from_the_other(
    fields: dict[str, str], hold: int | None, keepalive: int | None
) -> None:
    (found,) = compiled(peer("p", **fields)).configuration.peers
    assert (found.hold_time, found.keepalive_time) == (hold, keepalive)


def test_a_v1beta1_peer_is_read_and_its_missing_timers_stay_missing() -> None:
    (found,) = compiled(peer("p", peerPort=0)).configuration.peers
    assert (found.port, found.hold_time) == (179, None)


@pytest.mark.parametrize(
    ("fields", "pools"),
    [
        ({}, ("blue", "red", "red2")),
        ({"ipAddressPools": ["red"]}, ("red",)),
        ({"ipAddressPools": ["nowhere"]}, ()),
        ({"ipAddressPoolSelectors": [RED]}, ("red", "red2")),
        ({"ipAddressPools": ["blue"], "ipAddressPoolSelectors": [RED]}, ("blue", "red", "red2")),
        ({"ipAddressPools": ["red"], "ipAddressPoolSelectors": [RED]}, ("red", "red2")),
    ],
)
@pytest.mark.parametrize("kind", [bgp, l2])
def test_pools_are_chosen_by_name_or_label_and_all_without_either(
    kind: Any, fields: dict[str, Any], pools: tuple[str, ...]
) -> None:
    red = {"color": "red"}
    found = (
        pool("red", "10.0.0.0/24", labels=red),
        pool("red2", "10.0.1.0/24", labels=red),
        pool("blue", "10.0.2.0/24"),
    )
    configuration = compiled(*found, kind("a", **fields)).configuration
    (one,) = (*configuration.bgp_advertisements, *configuration.l2_advertisements)
    assert one.pools == pools


def test_communities_are_resolved_sorted_and_without_repetition() -> None:
    found = bgp("a", communities=["65000:2", "NAME", "65000:1", "large:1:2:3", "BIG"])
    result = compiled(found, alias("c", NAME="65000:2", BIG="large:4:5:6"))
    (one,) = result.configuration.bgp_advertisements
    assert one.communities == ((65000, 1), (65000, 2))
    assert one.large_communities == ((1, 2, 3), (4, 5, 6))


def test_an_unknown_alias_is_told_the_nearest_one() -> None:
    result = compiled(bgp("a", communities=["NO_ADVERTIS"]), alias("c", NO_ADVERTISE="65535:65282"))
    assert '(did you mean "NO_ADVERTISE"?)' in result.invalid[0].why


def test_every_field_of_a_peer_reaches_its_value() -> None:
    (found,) = compiled(
        peer(
            "p",
            localASN=7,
            sourceAddress="10.0.0.2",
            peerPort=1179,
            routerID="1.2.3.4",
            nodeSelectors=[RED],
            **HUSH,
            enableGracefulRestart=True,
            ebgpMultiHop=True,
            dualStackAddressFamily=True,
        )
    ).configuration.peers
    assert (found.local_asn, found.source_address, found.port, found.router_id) == (
        7,
        "10.0.0.2",
        1179,
        "1.2.3.4",
    )
    assert found.node_selectors == (Selector(labels=(("color", "red"),)),)
    assert found.has_password and found.graceful_restart and found.ebgp_multihop and found.dual_stack


def test_a_password_is_in_no_value_and_in_no_message() -> None:
    raw = peer("p", **HUSH, passwordSecret={"name": "b"})
    result = compiled(raw)
    assert HUSH["password"] not in f"{raw!r} {result!r}"


def test_every_field_of_a_profile_and_of_an_l2_advertisement_reaches_its_value() -> None:
    result = compiled(
        bfd(
            "b", receiveInterval=100, transmitInterval=101, detectMultiplier=5, echoInterval=50, echoMode=True
        ),
        l2(
            "a",
            interfaces=["eth1", "eth0"],
            preferredNodeSelectors=[{"weight": 7, "preference": RED}],
            serviceSelectors=[RED],
        ),
    )
    (profile,) = result.configuration.bfd_profiles
    assert profile == BFDProfile("b", 100, 101, 5, 50, True, source=profile.source)
    (one,) = result.configuration.l2_advertisements
    red = Selector(labels=(("color", "red"),))
    assert one.preferences == (Preference(weight=7, selector=red),)
    assert (one.interfaces, one.service_selectors) == (("eth0", "eth1"), (red,))


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"peerAddress": "fe80::1"}, "spec.peerAddress", "its link is not said"),
        ({"peerAddress": "10.0.0.1%eth0"}, "spec.peerAddress", "only a link-local address has a link"),
        ({"peerAddress": "fe80::1%eth 0"}, "spec.peerAddress", "not the name of an interface"),
        ({"peerAddress": "", "interface": 'eth0"; }'}, "spec.interface", "not the name of an interface"),
        ({"peerAddress": "", "interface": "eth0", "vrf": "red"}, "spec.vrf", "cannot be bound to a VRF"),
        ({"vrf": "a-name-of-17-char"}, "spec.vrf", "not the name of a VRF device"),
    ],
)
def test_a_link_is_an_interface_and_a_link_local_address_has_one(
    fields: dict[str, Any], field: str, words: str
) -> None:
    (one,) = compiled(peer("p", **fields)).invalid
    assert one.field == field and words in one.why


def test_a_link_local_address_is_read_with_its_link_and_an_unnumbered_peer_is_known_by_it() -> None:
    result = compiled(peer("a", peerAddress="fe80::1%eth0"), peer("b", peerAddress="", interface="eth1"))
    assert not result.invalid and not result.not_in_force
    assert [(one.key, one.interface) for one in result.configuration.peers] == [
        ("fe80::1", "eth0"),
        ("%eth1", "eth1"),
    ]
    (clash,) = compiled(
        peer("b", peerAddress="", interface="eth1"), peer("c", peerAddress="", interface="eth1")
    ).invalid
    assert clash.field == "spec.interface" and "eth1 is the link of BGPPeer b too" in clash.why


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"holdTime": "90s", "keepaliveTime": "40s"}, "spec.keepaliveTime"),
        ({"disableMP": True}, "spec.disableMP"),
    ],
)
def test_a_field_that_nothing_implements_is_accepted_and_reported(fields: dict[str, Any], field: str) -> None:
    result = compiled(peer("p", **fields), bfd("b"))
    assert not result.invalid
    assert [one.field for one in result.not_in_force if one.kind == "BGPPeer"] == [field]
    assert len(result.configuration.peers) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"holdTime": "90s", "keepaliveTime": "30s"},
        {"holdTime": "90s", "keepaliveTime": "10s"},
        {"keepaliveTime": "3s"},
        {"connectTime": "10s"},
        {"peerASN": None, "dynamicASN": "internal"},
        {"localASN": 7},
        {"enableGracefulRestart": True},
        {"ebgpMultiHop": True},
        {"dualStackAddressFamily": True},
        {"disableMP": False},
        {"bfdProfile": "b"},
    ],
)
def test_what_is_in_force_is_not_reported_as_missing(fields: dict[str, Any]) -> None:
    assert not compiled(peer("p", **fields), bfd("b")).not_in_force


def test_a_bfd_profile_says_that_echo_mode_is_not_in_force() -> None:
    (found,) = compiled(bfd("b", echoMode=True)).not_in_force
    assert (found.kind, found.object, found.field) == ("BFDProfile", "b", "spec.echoMode")
    assert "control packets watch the path" in found.why
    assert compiled(bfd("b", echoMode=False, echoInterval=50)).not_in_force == ()


@pytest.mark.parametrize(
    ("found", "field", "why"),
    [
        (bgp("a", ipAddressPools=["prodution"]), "spec.ipAddressPools", 'did you mean "production"?'),
        (l2("a", ipAddressPools=["prodution"]), "spec.ipAddressPools", 'did you mean "production"?'),
        (bgp("a", peers=["tor-a", "elsewhere"]), "spec.peers", 'BGPPeer "elsewhere" does not exist'),
    ],
)
def test_a_name_of_nothing_is_accepted_and_said(found: AnyObject, field: str, why: str) -> None:
    result = compiled(pool("production", "10.0.0.0/24"), peer("tor-a"), found)
    assert not result.invalid
    (one,) = result.not_in_force
    assert (one.object, one.field) == ("a", field)
    assert why in one.why
