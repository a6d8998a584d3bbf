"""The rows of metallb.md 2.3 to 2.7 that decide which address a Service gets."""

from typing import Any

import pytest

from metalbgp.allocate.taken import use_of
from metalbgp.model import reasons
from metalbgp.model.allocation import Allocation
from metalbgp.model.services import Namespace, Port
from tests.unit.allocate.desk import Desk
from tests.values import labelled, pinned, pool, ports, service

A = pool("a", "192.0.2.0-192.0.2.3")
B = pool("b", "198.51.100.0-198.51.100.3")
V6 = pool("six", "2001:db8::-2001:db8::3")
BOTH = pool("both", "203.0.113.0-203.0.113.1", "2001:db8:1::-2001:db8:1::1")


def test_the_first_free_address_of_a_named_pool_is_given() -> None:
    desk = Desk(A, B)
    first = desk.ask(service("web/one", requested_pool="b"))
    assert isinstance(first, Allocation)
    assert first.addresses == ("198.51.100.0",)
    assert first.why == reasons.FirstFree(pool="b", asked="annotation metallb.io/address-pool")
    assert desk.addresses(service("web/two", requested_pool="b")) == ("198.51.100.1",)


def test_ranges_are_tried_in_the_order_of_the_spec() -> None:
    desk = Desk(pool("a", "192.0.2.9", "192.0.2.1"))
    assert [desk.addresses(service(f"web/{i}")) for i in (1, 2)] == [("192.0.2.9",), ("192.0.2.1",)]


def test_an_unknown_pool_is_refused_with_the_nearest_name_and_a_remedy() -> None:
    reason = Desk(pool("production", "192.0.2.1"), V6).refusal(
        service("web/shop", requested_pool="prodution")
    )
    assert reason.explain() == (
        'pool "prodution" does not exist; pools: production, six. Did you mean "production"?'
    )
    assert reason.remedy() == (
        "kubectl annotate -n web service shop metallb.io/address-pool=production --overwrite"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"requested_addresses": "192.0.2.2"}, ("192.0.2.2",)),
        ({"load_balancer_ip": "192.0.2.3"}, ("192.0.2.3",)),
        ({"requested_addresses": "", "load_balancer_ip": "192.0.2.3"}, ("192.0.2.3",)),
        ({"requested_addresses": "192.0.2.2", "requested_pool": "a"}, ("192.0.2.2",)),
        ({"requested_addresses": "2001:DB8::0:2", "cluster_ips": ("fd00::1",)}, ("2001:db8::2",)),
    ],
)
def test_a_requested_address_is_given(fields: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert Desk(A, V6).addresses(service(**fields)) == expected


def test_a_requested_pair_is_given_ipv4_first() -> None:
    wish = service(dual="RequireDualStack", requested_addresses="2001:db8:1::1, 203.0.113.1")
    assert Desk(BOTH).addresses(wish) == ("203.0.113.1", "2001:db8:1::1")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"requested_addresses": "192.0.2.1", "load_balancer_ip": "192.0.2.1"}, reasons.BadRequest),
        ({"requested_addresses": "192.0.2"}, reasons.BadRequest),
        ({"requested_addresses": "192.0.2.1,"}, reasons.BadRequest),
        ({"requested_addresses": "::ffff:192.0.2.1"}, reasons.BadRequest),
        ({"requested_addresses": "192.0.2.1,192.0.2.2"}, reasons.BadRequest),
        ({"requested_addresses": "2001:db8::1"}, reasons.FamilyMismatch),
        ({"requested_addresses": "192.0.2.1", "dual": "PreferDualStack"}, reasons.FamilyMismatch),
        (
            {"requested_addresses": "192.0.2.1,2001:db8::1", "dual": "PreferDualStack"},
            reasons.AddressNotInPool,
        ),
        ({"requested_addresses": "10.0.0.1"}, reasons.AddressNotInPool),
        ({"requested_addresses": "192.0.2.1", "requested_pool": "b"}, reasons.AddressNotInPool),
        ({"requested_pool": "nope", "requested_addresses": "192.0.2.1"}, reasons.UnknownPool),
        ({"cluster_ips": ()}, reasons.NoClusterIP),
        ({"cluster_ips": ("None",)}, reasons.NoClusterIP),
        ({"ip_family_policy": "RequireDualStack"}, reasons.FamilyMismatch),
        ({"dual": "RequireDualStack"}, reasons.NoPoolFits),
        ({"dual": "RequireDualStack", "requested_pool": "a"}, reasons.PoolExhausted),
    ],
)
def test_what_cannot_be_given_says_why(fields: dict[str, Any], kind: type[reasons.Reason]) -> None:
    assert isinstance(Desk(A, B, V6).refusal(service(**fields)), (kind, reasons.NoDualStackPool))


def test_no_pool_at_all_is_a_reason_of_its_own() -> None:
    assert Desk().refusal(service()) == reasons.NoPools()


def test_a_full_pool_says_so() -> None:
    desk = Desk(pool("tiny", "192.0.2.1"))
    desk.ask(service("web/one"))
    assert desk.refusal(service("web/two", requested_pool="tiny")) == reasons.PoolExhausted(
        pool="tiny", family="IPv4", size=1
    )
    automatic = desk.refusal(service("web/two"))
    assert isinstance(automatic, reasons.NoPoolFits)
    assert "tiny" in automatic.explain()


def test_auto_assign_false_blocks_only_automatic_choice() -> None:
    desk = Desk(pool("manual", "192.0.2.1-192.0.2.9", auto_assign=False))
    assert isinstance(desk.refusal(service("web/auto")), reasons.NoPoolFits)
    assert desk.addresses(service("web/named", requested_pool="manual")) == ("192.0.2.1",)
    assert desk.addresses(service("web/asked", requested_addresses="192.0.2.7")) == ("192.0.2.7",)


def test_pinned_pools_come_first_by_priority_and_fall_through_to_open_ones() -> None:
    desk = Desk(
        pool("aopen", "192.0.2.0-192.0.2.9"),
        pool("last", "192.0.2.20", allocation=pinned()),
        pool("second", "192.0.2.30", allocation=pinned(priority=20, namespaces=("web",))),
        pool("first", "192.0.2.40", allocation=pinned(priority=10)),
    )
    got = [desk.addresses(service(f"web/{i}"))[0] for i in range(4)]
    assert got == ["192.0.2.40", "192.0.2.30", "192.0.2.20", "192.0.2.0"]


def test_restrictions_of_a_pool_hold_for_those_who_name_it_too() -> None:
    shop = pool("shop", "192.0.2.1-192.0.2.9", allocation=pinned(namespaces=("shop",)))
    tier = pool(
        "tier", "192.0.2.11-192.0.2.19", allocation=pinned(service_selectors=(labelled(tier="gold"),))
    )
    desk = Desk(shop, tier)
    for fields in ({"requested_pool": "shop"}, {"requested_addresses": "192.0.2.1"}):
        assert desk.refusal(service(**fields)) == reasons.PoolRestricted(pool="shop", why="namespace")
    assert desk.refusal(service(requested_pool="tier")) == reasons.PoolRestricted(pool="tier", why="labels")
    assert desk.addresses(service("web/a", labels={"tier": "gold"})) == ("192.0.2.11",)
    assert desk.addresses(service("shop/a")) == ("192.0.2.1",)


def test_namespace_selectors_read_the_labels_of_the_namespace() -> None:
    rule = pinned(namespace_selectors=(labelled(team="shop"),))
    desk = Desk(
        pool("p", "192.0.2.1", allocation=rule), namespaces=[Namespace(name="web", labels={"team": "shop"})]
    )
    assert isinstance(desk.refusal(service("other/x")), reasons.NoPoolFits)
    assert desk.addresses(service("web/x")) == ("192.0.2.1",)


def test_namespace_selectors_that_match_nothing_open_the_pool_to_nobody() -> None:
    rule = pinned(namespace_selectors=(labelled(team="none"),))
    reason = Desk(pool("p", "192.0.2.1", allocation=rule)).refusal(service(requested_pool="p"))
    assert reason == reasons.PoolRestricted(pool="p", why="namespace")


def test_a_priority_alone_restricts_nobody_and_equal_ones_go_by_name() -> None:
    both = [pool(name, f"192.0.2.{i}", allocation=pinned(priority=5)) for i, name in enumerate("ba")]
    desk = Desk(*both)
    assert [desk.given(service(f"web/{i}")).pool for i in range(2)] == ["a", "b"]


def test_everyone_of_several_service_selectors_may_admit_but_the_namespace_must_fit_too() -> None:
    rule = pinned(namespaces=("web",), service_selectors=(labelled(t="g"), labelled(t="h")))
    desk = Desk(pool("p", "192.0.2.1-192.0.2.9", allocation=rule))
    assert desk.addresses(service("web/a", labels={"t": "h"})) == ("192.0.2.1",)
    assert isinstance(desk.refusal(service("shop/a", labels={"t": "h"})), reasons.NoPoolFits)
    assert isinstance(desk.refusal(service("web/b", labels={"t": "i"})), reasons.NoPoolFits)


def test_buggy_addresses_are_avoided_and_refused_when_asked_for() -> None:
    desk = Desk(pool("p", "192.0.2.254-192.0.3.1", avoid_buggy_ips=True))
    assert desk.refusal(service(requested_addresses="192.0.3.0")) == reasons.AddressAvoided(
        address="192.0.3.0", pool="p"
    )
    assert desk.addresses(service("web/1")) == ("192.0.2.254",)
    assert desk.addresses(service("web/2")) == ("192.0.3.1",)


class TestDualStack:
    def test_both_families_come_from_one_pool(self) -> None:
        assert Desk(A, V6, BOTH).addresses(service(dual="PreferDualStack")) == ("203.0.113.0", "2001:db8:1::")

    def test_prefer_takes_the_first_family_of_the_service_when_no_pool_has_both(self) -> None:
        wish = {"dual": "PreferDualStack"}
        assert Desk(A, V6).addresses(service(**wish)) == ("192.0.2.0",)
        assert Desk(A, V6).addresses(service(**wish, ip_families=("IPv6", "IPv4"))) == ("2001:db8::",)
        assert Desk(V6).addresses(service(**wish)) == ("2001:db8::",)

    def test_a_single_address_grows_a_second_family_from_the_same_pool_only(self) -> None:
        one = service(dual="PreferDualStack")
        assert Desk(A, BOTH).addresses(one, held=("192.0.2.1",)) == ("192.0.2.1",)
        assert Desk(A, BOTH).addresses(one, held=("203.0.113.1",)) == ("203.0.113.1", "2001:db8:1::")

    def test_becoming_single_stack_keeps_the_address_of_that_family(self) -> None:
        held = ("203.0.113.1", "2001:db8:1::1")
        assert Desk(BOTH).addresses(service(), held=held) == ("203.0.113.1",)

    def test_a_pool_that_loses_a_family_takes_only_that_address(self) -> None:
        """MetalLB clears both and starts again; here what can be kept is kept (docs/differences.md)."""
        shrunk, elsewhere = pool("both", "203.0.113.0-203.0.113.1"), pool("whole", "192.0.2.1", "2001:db8::1")
        answer = Desk(shrunk, elsewhere).given(
            service(dual="PreferDualStack"), held=("203.0.113.1", "2001:db8:1::1")
        )
        assert answer.addresses == ("203.0.113.1",)
        assert answer.lacks == reasons.PoolExhausted(pool="both", family="IPv6", size=0)

    def test_a_pool_that_gains_a_family_gives_the_second_address(self) -> None:
        one = service(dual="PreferDualStack")
        assert Desk(A).addresses(one, held=("192.0.2.1",)) == ("192.0.2.1",)
        grown = pool("a", "192.0.2.0-192.0.2.3", "2001:db8::5")
        assert Desk(grown).addresses(one, held=("192.0.2.1",)) == ("192.0.2.1", "2001:db8::5")

    def test_cluster_ips_decide_the_family_and_ip_families_do_not(self) -> None:
        one = service(cluster_ips=("fd00::1",), ip_families=("IPv4",))
        assert Desk(A, V6).addresses(one) == ("2001:db8::",)
        assert Desk(A, V6).addresses(service(ip_families=("IPv6",))) == ("192.0.2.0",)

    def test_a_changed_family_gives_the_old_address_back(self) -> None:
        assert Desk(A, V6).addresses(service(cluster_ips=("fd00::1",)), held=("192.0.2.1",)) == (
            "2001:db8::",
        )

    def test_two_addresses_never_come_from_two_strange_pools(self) -> None:
        held = ("192.0.2.1", "2001:db8::1")
        assert Desk(A, V6).addresses(service(dual="PreferDualStack"), held=held) == ("192.0.2.1",)

    def test_a_pinned_pool_of_one_family_outweighs_an_open_one_of_both(self) -> None:
        one = pool("pin", "192.0.2.9", allocation=pinned())
        assert Desk(one, BOTH).addresses(service(dual="PreferDualStack")) == ("192.0.2.9",)
        assert Desk(one, BOTH).addresses(service(dual="RequireDualStack"))[0] == "203.0.113.0"

    def test_each_pool_that_said_no_has_one_line_though_it_lacks_both_families(self) -> None:
        reason = Desk(pool("a", "192.0.2.1"), V6, pool("m", "192.0.2.7", auto_assign=False)).refusal(
            service(dual="RequireDualStack")
        )
        assert len(reason.lines()) == 1 + 3

    def test_requiring_both_moves_only_when_the_pool_has_no_second(self) -> None:
        one = service(dual="RequireDualStack")
        assert Desk(A, BOTH).addresses(one, held=("192.0.2.1",)) == ("203.0.113.0", "2001:db8:1::")
        assert Desk(A, BOTH).addresses(one, held=("203.0.113.1",)) == ("203.0.113.1", "2001:db8:1::")


class TestKeeping:
    def test_what_is_held_is_kept_whatever_is_free_below(self) -> None:
        assert Desk(A).addresses(service(), held=("192.0.2.3",)) == ("192.0.2.3",)
        assert Desk(A).addresses(service(ingress=("192.0.2.2",)), held=()) == ("192.0.2.2",)

    def test_a_claim_outweighs_a_status(self) -> None:
        assert Desk(A).addresses(service(ingress=("192.0.2.2",)), held=("192.0.2.3",)) == ("192.0.2.3",)

    def test_a_renamed_pool_keeps_its_addresses(self) -> None:
        renamed = pool("new", "192.0.2.0-192.0.2.3")
        answer = Desk(renamed).ask(service(), held=("192.0.2.2",))
        assert isinstance(answer, Allocation)
        assert (answer.addresses, answer.pool) == (("192.0.2.2",), "new")

    @pytest.mark.parametrize(
        "fields", [{"requested_pool": "b"}, {"requested_addresses": "198.51.100.0"}, {"ports": ports(443)}]
    )
    def test_a_new_wish_outweighs_what_is_held(self, fields: dict[str, Any]) -> None:
        desk = Desk(A, B)
        desk.taken.hold("192.0.2.1", use_of(service("web/other", sharing_key="k", ports=ports(443))))
        moved = desk.addresses(service(sharing_key="k", **fields), held=("192.0.2.1",))
        assert moved in (("198.51.100.0",), ("192.0.2.0",))

    def test_an_address_that_became_avoided_or_restricted_is_replaced(self) -> None:
        avoiding = pool("a", "192.0.2.0-192.0.2.3", avoid_buggy_ips=True)
        assert Desk(avoiding).addresses(service(), held=("192.0.2.0",)) == ("192.0.2.1",)
        others = pool("a", "192.0.2.0-192.0.2.3", allocation=pinned(namespaces=("shop",)))
        assert Desk(others, B).addresses(service(), held=("192.0.2.1",)) == ("198.51.100.0",)
        gold = pool("a", "192.0.2.0-192.0.2.3", allocation=pinned(service_selectors=(labelled(t="g"),)))
        assert Desk(gold, B).addresses(service(labels={"t": "g"}), held=("192.0.2.1",)) == ("192.0.2.1",)
        assert Desk(gold, B).addresses(service(labels={}), held=("192.0.2.1",)) == ("198.51.100.0",)

    def test_auto_assign_turned_off_takes_nothing_away(self) -> None:
        manual = pool("a", "192.0.2.0-192.0.2.3", auto_assign=False)
        assert Desk(manual, B).addresses(service(), held=("192.0.2.1",)) == ("192.0.2.1",)

    def test_a_request_for_what_is_held_changes_nothing_in_any_order(self) -> None:
        held = ("203.0.113.1", "2001:db8:1::1")
        wish = service(dual="RequireDualStack", requested_addresses="2001:db8:1::1,203.0.113.1")
        answer = Desk(BOTH).given(wish, held=held)
        assert (answer.addresses, answer.why) == (held, reasons.Kept(pool="both", held=held))

    def test_an_address_that_left_every_pool_is_replaced(self) -> None:
        assert Desk(B).addresses(service(), held=("192.0.2.1",)) == ("198.51.100.0",)

    def test_an_address_that_the_api_server_refused_is_passed_over(self) -> None:
        answer = Desk(A).ask(service(), held=(), refused=frozenset({"192.0.2.0", "192.0.2.1"}))
        assert isinstance(answer, Allocation)
        assert answer.addresses == ("192.0.2.2",)


class TestSharing:
    def test_any_namespace_may_join_and_another_protocol_is_another_port(self) -> None:
        desk = Desk(pool("one", "192.0.2.1"))
        desk.addresses(service("web/dns", sharing_key="k", ports=(Port("TCP", 53),)))
        assert desk.addresses(service("other/dns", sharing_key="k", ports=(Port("UDP", 53),))) == (
            "192.0.2.1",
        )

    def test_services_of_policy_local_share_when_they_mean_the_same_pods(self) -> None:
        desk = Desk(pool("one", "192.0.2.1"))
        local = {"sharing_key": "k", "external_traffic_policy": "Local", "selector": {"app": "x"}}
        assert desk.addresses(service("web/one", **local)) == ("192.0.2.1",)
        assert desk.addresses(service("web/two", **local, ports=ports(443))) == ("192.0.2.1",)

    def test_the_last_writers_key_counts(self) -> None:
        desk = Desk(pool("one", "192.0.2.1"))
        desk.addresses(service("web/one", sharing_key="old"))
        desk.addresses(service("web/one", sharing_key="new"))
        assert desk.addresses(service("web/two", sharing_key="new", ports=ports(443))) == ("192.0.2.1",)
        assert isinstance(
            desk.refusal(service("web/three", sharing_key="old", ports=ports(53))), reasons.NoPoolFits
        )

    def test_who_breaks_the_sharing_moves_and_the_others_stay(self) -> None:
        desk = Desk(A)
        desk.addresses(service("web/one", sharing_key="k"))
        two = service("web/two", sharing_key="k", ports=ports(443))
        assert desk.addresses(two) == ("192.0.2.0",)
        assert desk.addresses(service("web/two", sharing_key="k")) == ("192.0.2.1",)
        assert desk.addresses(service("web/one", sharing_key="k")) == ("192.0.2.0",)

    def test_the_lowest_of_free_and_shareable_wins(self) -> None:
        desk = Desk(A)
        desk.addresses(service("web/one", requested_addresses="192.0.2.2", sharing_key="k"))
        assert desk.addresses(service("web/two", sharing_key="k", ports=ports(443))) == ("192.0.2.0",)
        desk.addresses(service("web/x", requested_addresses="192.0.2.1"))
        assert desk.addresses(service("web/three", sharing_key="k", ports=ports(8443))) == ("192.0.2.0",)

    @pytest.mark.parametrize(
        ("first", "second", "reason"),
        [
            ({}, {}, reasons.AddressTaken(address="192.0.2.1", holder="web/one")),
            ({}, {"sharing_key": "k"}, reasons.NotShared(address="192.0.2.1", holder="web/one", why="key")),
            (
                {"sharing_key": "k"},
                {"sharing_key": "k"},
                reasons.PortTaken(address="192.0.2.1", port=80, protocol="TCP", holder="web/one"),
            ),
            (
                {"sharing_key": "k"},
                {
                    "sharing_key": "k",
                    "ports": ports(443),
                    "external_traffic_policy": "Local",
                    "selector": {"app": "x"},
                },
                reasons.NotShared(address="192.0.2.1", holder="web/one", why="policy"),
            ),
            (
                {"sharing_key": "k", "external_traffic_policy": "Local", "selector": {"app": "y"}},
                {
                    "sharing_key": "k",
                    "ports": ports(443),
                    "external_traffic_policy": "Local",
                    "selector": {"app": "x"},
                },
                reasons.NotShared(address="192.0.2.1", holder="web/one", why="selector"),
            ),
        ],
    )
    def test_a_refused_sharer_is_told_what_stands_in_the_way(
        self, first: dict[str, Any], second: dict[str, Any], reason: reasons.Reason
    ) -> None:
        desk = Desk(A)
        desk.addresses(service("web/one", requested_addresses="192.0.2.1", **first))
        assert desk.refusal(service("other/two", requested_addresses="192.0.2.1", **second)) == reason

    def test_local_with_an_empty_selector_equals_cluster(self) -> None:
        desk = Desk(A)
        desk.addresses(service("web/one", requested_addresses="192.0.2.1", sharing_key="k"))
        two = service(
            "web/two",
            requested_addresses="192.0.2.1",
            sharing_key="k",
            external_traffic_policy="Local",
            ports=ports(443),
        )
        assert desk.addresses(two) == ("192.0.2.1",)

    def test_a_service_alone_on_its_address_may_change_its_key(self) -> None:
        desk = Desk(A)
        desk.addresses(service("web/one", sharing_key="k"))
        assert desk.addresses(service("web/one", sharing_key="other")) == ("192.0.2.0",)
        assert desk.addresses(service("web/two", sharing_key="other", ports=ports(443))) == ("192.0.2.0",)
