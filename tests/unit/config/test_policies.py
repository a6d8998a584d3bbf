"""PoolPolicy and AddressReservation: what they become, what is refused, who stays when two want one thing."""

from typing import Any

import pytest

from metalbgp.model.configuration import PoolPolicy, Quota, Reservation
from metalbgp.model.selectors import Selector
from tests.unit.config.made import SHOP, compiled, l2, labelled, policy, pool, reservation, whys

LAB = pool("lab", "198.51.100.0/28", "2001:db8::/120")


def the_policy(**fields: Any) -> PoolPolicy:
    result = compiled(LAB, policy("p", "lab", **fields))
    assert whys(result) == []
    (found,) = result.configuration.policies
    return found


def test_a_policy_that_says_nothing_changes_nothing() -> None:
    found = the_policy()
    assert found == PoolPolicy(name="p", pools=("lab",), source=found.source)
    assert found.source.uid == "uid-PoolPolicy-p"


def test_every_field_of_a_policy_is_read() -> None:
    found = the_policy(
        sticky={"for": "24h"},
        reuseDelay="1m30s",
        whenExhausted="Reuse",
        quotas=[{"limit": 5, "namespaces": ["web"]}, {"limit": 0, "namespaceSelectors": [labelled(a="b")]}],
        secondFamilyFrom="other",
        probe="BeforeUse",
        protection="InUse",
        clusterAddresses="Allow",
    )
    assert found == PoolPolicy(
        name="p",
        pools=("lab",),
        sticky=True,
        sticky_for=86400,
        reuse_delay=90,
        reuse_early=True,
        quotas=(
            Quota(limit=5, namespaces=("web",)),
            Quota(limit=0, namespace_selectors=(Selector(labels=(("a", "b"),)),)),
        ),
        second_family_from="other",
        probe=True,
        protect=True,
        allow_cluster_addresses=True,
        source=found.source,
    )


def test_sticky_without_a_time_is_without_end_and_absent_is_not_at_all() -> None:
    assert (the_policy(sticky={}).sticky, the_policy(sticky={}).sticky_for) == (True, None)
    assert the_policy().sticky is False
    # Half a second is a wish, and not none.
    assert (the_policy(reuseDelay="500ms").reuse_delay, the_policy(reuseDelay="0").reuse_delay) == (1, 0)


@pytest.mark.parametrize(
    ("fields", "field", "why"),
    [
        ({"sticky": {"for": "1d"}}, "spec.sticky.for", '"1d" is not a duration'),
        ({"sticky": {"for": "0s"}}, "spec.sticky.for", "0s is not more than nothing"),
        ({"reuseDelay": "-1s"}, "spec.reuseDelay", "-1s is negative"),
        ({"whenExhausted": "reuse"}, "spec.whenExhausted", '(did you mean "Reuse"?)'),
        ({"probe": "Always"}, "spec.probe", '"Always" is neither Never nor BeforeUse'),
        ({"protection": "inUse"}, "spec.protection", '(did you mean "InUse"?)'),
        ({"clusterAddresses": "Allowed"}, "spec.clusterAddresses", '(did you mean "Allow"?)'),
        ({"quotas": [{}]}, "spec.quotas[0].limit", "is missing"),
        ({"quotas": [{"limit": 1}, {"limit": -1}]}, "spec.quotas[1].limit", "-1 is negative"),
        ({"quotas": [{"limit": 1, "namespaces": ["a", "a"]}]}, "spec.quotas[0].namespaces", "twice"),
        ({"secondFamilyFrom": "lab"}, "spec.secondFamilyFrom", "is the pool itself"),
        ({"ipAddressPools": []}, "spec.ipAddressPools", "is empty"),
        ({"ipAddressPools": ["lab", "lab"]}, "spec.ipAddressPools", "twice"),
        ({"quotas": 3}, "spec", "Expected `array | null`"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said_at_its_field(
    fields: dict[str, Any], field: str, why: str
) -> None:
    given = {"ipAddressPools": ["lab"]} | fields
    names = given.pop("ipAddressPools")
    result = compiled(LAB, policy("p", *names, **given))
    assert [(one.kind, one.object, one.field) for one in result.invalid] == [("PoolPolicy", "p", field)]
    assert why in result.invalid[0].why
    assert result.configuration.policies == ()


def test_a_policy_that_becomes_wrong_keeps_its_last_good_version() -> None:
    before = compiled(LAB, policy("p", "lab", reuseDelay="10s")).configuration
    result = compiled(LAB, policy("p", "lab", generation=2, reuseDelay="10 s"), previous=before)
    assert result.configuration.policies == before.policies
    assert "spec.reuseDelay" in whys(result)[0]


def test_a_pool_obeys_one_policy_the_one_in_force_then_the_older() -> None:
    older, younger = policy("older", "lab", "b", age=9), policy("younger", "a", "lab", age=1)
    result = compiled(LAB, younger, older)
    assert [one.name for one in result.configuration.policies] == ["older"]
    assert whys(result) == [
        'PoolPolicy younger: spec.ipAddressPools[1]: IPAddressPool "lab" already obeys PoolPolicy older'
    ]
    in_force = compiled(LAB, younger).configuration
    later = compiled(LAB, younger, older, previous=in_force).configuration
    assert [one.name for one in later.policies] == ["younger"]


def test_two_policies_whose_other_fields_change_do_not_fight_again() -> None:
    one, two = policy("one", "a"), policy("two", "b", age=9)
    before = compiled(one, two).configuration
    result = compiled(policy("one", "a", generation=2, reuseDelay="1s"), two, previous=before)
    assert whys(result) == [] and result.configuration.policies[0].reuse_delay == 1


def test_a_policy_says_what_of_it_does_nothing() -> None:
    v6 = pool("lab-v6", "2001:db8:1::/120")
    said = {
        (one.object, one.field): one.why
        for one in compiled(
            LAB,
            v6,
            policy("probes", "lab", probe="BeforeUse", protection="InUse"),
            policy("misspelt", "lob"),
            policy("second", "lab-v6", secondFamilyFrom="lab-v4"),
        ).not_in_force
    }
    assert said == {
        (
            "probes",
            "spec.probe",
        ): 'no L2Advertisement selects IPAddressPool "lab", so no node can ask for its addresses',
        ("misspelt", "spec.ipAddressPools"): 'IPAddressPool "lob" does not exist (did you mean "lab"?)',
        ("second", "spec.secondFamilyFrom"): 'IPAddressPool "lab-v4" does not exist (did you mean "lab-v6"?)',
    }
    asking = policy("probes", "lab", probe="BeforeUse")
    assert compiled(LAB, asking, l2("all")).not_in_force == ()
    useless = compiled(LAB, v6, policy("p", "lab", secondFamilyFrom="lab-v6")).not_in_force
    assert "no family that these pools lack" in useless[0].why
    assert compiled(LAB, v6, policy("p", "lab-v6", secondFamilyFrom="lab")).not_in_force == ()


# ------------------------------------------------------------------ reservations


def test_a_reservation_is_for_one_service_or_for_whatever_a_selector_finds() -> None:
    named = reservation("dns", "198.51.100.7", "2001:DB8::7", comment="DNS of shop.example.com")
    some = reservation(
        "some", "198.51.100.8", service={"namespace": "web"}, serviceSelector=labelled(app="shop")
    )
    any_of = reservation("team", "198.51.100.9", service={"namespace": "team"}, serviceSelector={})
    result = compiled(LAB, named, some, any_of)
    assert whys(result) == [] and result.not_in_force == ()
    first, second, third = result.configuration.reservations
    assert first == Reservation(
        name="dns",
        addresses=("198.51.100.7", "2001:db8::7"),
        namespace="web",
        service="shop",
        comment="DNS of shop.example.com",
        source=first.source,
    )
    assert (second.namespace, second.selector) == ("web", Selector(labels=(("app", "shop"),)))
    assert second.admits("web", "x", {"app": "shop"}) and not second.admits("db", "x", {"app": "shop"})
    assert third.admits("team", "anything", {}) and not third.admits("web", "anything", {})


@pytest.mark.parametrize(
    ("fields", "field", "why"),
    [
        ({"addresses": []}, "spec.addresses", "is empty"),
        ({"addresses": ["198.51.100.7/32"]}, "spec.addresses[0]", "is not one address"),
        ({"addresses": ["198.51.100.7-198.51.100.8"]}, "spec.addresses[0]", "is not one address"),
        ({"addresses": ["198.51.100.07"]}, "spec.addresses[0]", "is not an IP address"),
        ({"addresses": ["::ffff:1.2.3.4"]}, "spec.addresses[0]", "is IPv4 written as IPv6"),
        ({"addresses": ["2001:db8::7", "2001:DB8:0::7"]}, "spec.addresses[1]", "stands there twice"),
        ({"service": {}}, "spec.service", "names no Service"),
        ({"service": {"namespace": "web"}}, "spec.service", "names no Service"),
        ({"service": {"name": "shop"}}, "spec.service.namespace", "is missing"),
        ({"service": SHOP, "serviceSelector": labelled(a="b")}, "spec.serviceSelector", "both"),
        ({"service": {}, "serviceSelector": {}}, "spec.serviceSelector", "selects every Service"),
        ({"serviceSelector": labelled(**{"a b": "c"})}, "spec.serviceSelector.matchLabels", "no"),
        ({"service": {"namespace": "web", "name": "Shop"}}, "spec.service.name", 'called "Shop"'),
    ],
)
def test_what_is_wrong_with_a_reservation_is_said_at_its_field(
    fields: dict[str, Any], field: str, why: str
) -> None:
    given = {"addresses": ["198.51.100.7"]} | fields
    addresses = given.pop("addresses")
    result = compiled(LAB, reservation("r", *addresses, **given))
    assert [(one.kind, one.field) for one in result.invalid] == [("AddressReservation", field)]
    assert why in result.invalid[0].why
    assert result.configuration.reservations == ()


def test_an_address_is_reserved_once_by_the_one_in_force_then_the_older() -> None:
    older = reservation("older", "198.51.100.7", age=9)
    younger = reservation("younger", "198.51.100.6", "198.51.100.7", age=1)
    result = compiled(LAB, younger, older)
    assert [one.name for one in result.configuration.reservations] == ["older"]
    assert whys(result) == [
        "AddressReservation younger: spec.addresses[1]: 198.51.100.7 is reserved by "
        "AddressReservation older, for web/shop"
    ]
    in_force = compiled(LAB, younger).configuration
    later = compiled(LAB, younger, older, previous=in_force).configuration
    assert [one.name for one in later.reservations] == ["younger"]


def test_a_reservation_that_becomes_wrong_keeps_what_it_reserved() -> None:
    before = compiled(LAB, reservation("r", "198.51.100.7")).configuration
    result = compiled(LAB, reservation("r", "198.51.100.300", generation=2), previous=before)
    assert result.configuration.reservations == before.reservations
    assert "spec.addresses[0]" in whys(result)[0]


def test_a_reservation_says_which_of_its_addresses_no_pool_can_give() -> None:
    shy = pool("shy", "192.0.2.0/24", avoidBuggyIPs=True)
    result = compiled(LAB, shy, reservation("r", "198.51.100.7", "203.0.113.1", "192.0.2.255"))
    assert [(one.field, one.why) for one in result.not_in_force] == [
        ("spec.addresses[1]", "203.0.113.1 is in no IPAddressPool"),
        ("spec.addresses[2]", '192.0.2.255 is avoided by pool "shy" (avoidBuggyIPs)'),
    ]
