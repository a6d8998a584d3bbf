"""What PoolPolicies and AddressReservations add to MetalLB's order (docs/differences.md)."""

from typing import Any

import pytest

from metalbgp.model import reasons
from metalbgp.model.addresses import Occupied
from metalbgp.model.configuration import PoolPolicy, Quota, Reservation
from metalbgp.model.services import Namespace
from metalbgp.model.virtualips import VirtualIP
from tests.unit.allocate.desk import Desk
from tests.values import block, labelled, pinned, pool, ports, service

A = pool("a", "192.0.2.0-192.0.2.3")
B = pool("b", "198.51.100.0-198.51.100.3")
SIX = pool("six", "2001:db8::-2001:db8::3", auto_assign=False)
SHOP = Reservation(name="shop", addresses=("192.0.2.2",), namespace="web", service="shop")


def policy(*pools: str, **fields: Any) -> PoolPolicy:
    return PoolPolicy(name="policy", pools=pools or ("a",), **fields)


def cooling(address: str, *kept_for: str, **fields: str) -> VirtualIP:
    return VirtualIP(address=address, pool="a", phase="cooling", kept_for=kept_for, **fields)


class TestReservations:
    def test_a_reserved_address_waits_for_its_service_and_is_given_without_asking(self) -> None:
        desk = Desk(pool("a", "192.0.2.2-192.0.2.3"), reservations=[SHOP])
        assert desk.addresses(service("web/other")) == ("192.0.2.3",)
        assert "1 reserved" in desk.refusal(service("web/third")).explain()
        answer = desk.given(service("web/shop"))
        assert (answer.addresses, answer.why) == (
            ("192.0.2.2",),
            reasons.Reserved(pool="a", reservation="shop"),
        )

    def test_who_asks_for_a_reserved_address_is_told_whose_it_is(self) -> None:
        reason = Desk(A, reservations=[SHOP]).refusal(service(requested_addresses="192.0.2.2"))
        assert reason == reasons.AddressReserved(address="192.0.2.2", reservation="shop", whose="web/shop")

    def test_a_reservation_may_admit_by_label(self) -> None:
        gold = Reservation(name="gold", addresses=("192.0.2.2",), selector=labelled(tier="gold"))
        desk = Desk(A, reservations=[gold])
        assert desk.addresses(service("web/one", labels={"tier": "gold"})) == ("192.0.2.2",)
        assert desk.addresses(service("web/two", labels={"tier": "gold"})) == ("192.0.2.0",)

    @pytest.mark.parametrize(
        ("wish", "expected"),
        [
            ({"requested_addresses": "192.0.2.3"}, "192.0.2.3"),
            ({"requested_pool": "b"}, "198.51.100.0"),
            ({"requested_pool": "a"}, "192.0.2.2"),
            ({"cluster_ips": ("fd00::1",), "requested_pool": "six"}, "2001:db8::"),
        ],
    )
    def test_an_explicit_wish_for_something_else_outweighs_it(
        self, wish: dict[str, Any], expected: str
    ) -> None:
        assert Desk(A, B, SIX, reservations=[SHOP]).addresses(service("web/shop", **wish)) == (expected,)

    def test_it_outweighs_pinned_pools_but_not_what_is_held(self) -> None:
        pin = pool("pin", "203.0.113.1", allocation=pinned(priority=1))
        assert Desk(A, pin, reservations=[SHOP]).addresses(service("web/shop")) == ("192.0.2.2",)
        assert Desk(A, reservations=[SHOP]).addresses(service("web/shop"), held=("192.0.2.1",)) == (
            "192.0.2.1",
        )

    def test_an_address_that_somebody_holds_stays_with_its_holder(self) -> None:
        desk = Desk(A)
        assert desk.addresses(service("web/early", requested_addresses="192.0.2.2")) == ("192.0.2.2",)
        desk.reservations = (SHOP,)
        desk.taken.reserve(desk.reservations)
        assert desk.addresses(service("web/early")) == ("192.0.2.2",)
        assert desk.addresses(service("web/shop")) == ("192.0.2.0",)

    def test_nobody_joins_a_reserved_address_who_is_not_admitted(self) -> None:
        desk = Desk(A, reservations=[SHOP])
        desk.addresses(service("web/shop", sharing_key="k"))
        second = service("web/other", sharing_key="k", ports=ports(443))
        assert desk.addresses(second) == ("192.0.2.0",)

    def test_a_pair_reserved_for_a_dual_stack_service_is_given_as_a_pair(self) -> None:
        both = pool("both", "203.0.113.0-203.0.113.3", "2001:db8:1::-2001:db8:1::3")
        pair = Reservation(
            name="pair", addresses=("2001:db8:1::2", "203.0.113.2"), namespace="web", service="shop"
        )
        desk = Desk(both, reservations=[pair])
        assert desk.addresses(service("web/shop", dual="RequireDualStack")) == pair.addresses[::-1]


class TestWhatIsKept:
    def test_a_service_that_comes_back_finds_its_address_and_others_do_not(self) -> None:
        desk = Desk(A)
        desk.taken.learn("192.0.2.0", cooling("192.0.2.0", "web/shop", "web#front"))
        assert desk.addresses(service("web/other")) == ("192.0.2.1",)
        answer = desk.given(service("web/shop"))
        assert answer.addresses == ("192.0.2.0",)
        assert answer.why == reasons.Returned(pool="a", kept_for="web/shop")

    def test_an_address_id_finds_it_under_another_name_but_not_in_another_namespace(self) -> None:
        desk = Desk(A)
        desk.taken.learn("192.0.2.0", cooling("192.0.2.0", "web/shop", "web#front"))
        assert desk.addresses(service("shop/new", address_id="front")) == ("192.0.2.1",)
        assert desk.addresses(service("web/new", address_id="front")) == ("192.0.2.0",)

    def test_whoever_asks_for_it_is_told_for_whom_and_until_when(self) -> None:
        desk = Desk(A)
        until = "2026-01-02T00:00:00Z"
        desk.taken.learn("192.0.2.0", cooling("192.0.2.0", "web/shop", until=until))
        assert desk.refusal(service("x/y", requested_addresses="192.0.2.0")) == reasons.AddressCooling(
            address="192.0.2.0", kept_for=("web/shop",), until=until
        )

    def test_a_reservation_is_stronger_than_a_memory(self) -> None:
        desk = Desk(A, reservations=[SHOP])
        desk.taken.learn("192.0.2.2", cooling("192.0.2.2", "web/other"))
        assert desk.addresses(service("web/other")) == ("192.0.2.0",)
        assert desk.addresses(service("web/shop")) == ("192.0.2.2",)

    def test_a_named_pool_gives_what_is_kept_there_and_not_what_is_kept_elsewhere(self) -> None:
        desk = Desk(A, B)
        desk.taken.learn("192.0.2.3", cooling("192.0.2.3", "web/shop"))
        desk.taken.learn("198.51.100.3", cooling("198.51.100.3", "web/shop"))
        assert desk.addresses(service("web/shop", requested_pool="b")) == ("198.51.100.3",)


class TestExhausted:
    def desk(self, **fields: Any) -> Desk:
        desk = Desk(pool("a", "192.0.2.8-192.0.2.10"), policies=[policy(**fields)])
        for address, until in (("8", "2026-03"), ("9", "2026-01"), ("10", "2026-01")):
            desk.taken.learn(f"192.0.2.{address}", cooling(f"192.0.2.{address}", "x/y", until=until))
        return desk

    def test_refuse_keeps_cooling_addresses_and_counts_them(self) -> None:
        reason = self.desk().refusal(service(requested_pool="a"))
        assert reason == reasons.PoolExhausted(pool="a", family="IPv4", size=3, cooling=3)
        assert "3 cooling" in reason.explain()

    def test_reuse_gives_the_one_nearest_to_its_end_then_the_lowest(self) -> None:
        desk, got = self.desk(reuse_early=True), []
        for number in range(3):
            got += desk.addresses(service(f"web/{number}"))
            desk.taken.open(got[-1])
        assert got == ["192.0.2.9", "192.0.2.10", "192.0.2.8"]

    def test_reuse_waits_until_no_pool_at_all_has_a_free_one(self) -> None:
        desk = self.desk(reuse_early=True)
        desk.pools = (*desk.pools, pool("z", "198.51.100.1"))
        assert desk.addresses(service("web/one")) == ("198.51.100.1",)
        assert desk.addresses(service("web/two")) == ("192.0.2.9",)

    def test_reuse_never_gives_a_reserved_address(self) -> None:
        desk = self.desk(reuse_early=True)
        desk.taken.reserve([Reservation(name="r", addresses=("192.0.2.9",), namespace="x", service="y")])
        assert desk.addresses(service("web/one")) == ("192.0.2.10",)


class TestQuotas:
    def test_a_namespace_gets_no_more_than_its_limit_and_is_told(self) -> None:
        desk = Desk(A, policies=[policy(quotas=(Quota(limit=1),))])
        desk.addresses(service("web/one"))
        assert desk.refusal(service("web/two", requested_pool="a")) == reasons.QuotaReached(
            pool="a", namespace="web", limit=1, used=1, policy="policy"
        )
        assert "at most 1" in desk.refusal(service("web/two")).explain()
        assert desk.addresses(service("shop/one")) == ("192.0.2.1",)

    def test_it_is_the_no_of_one_pool_and_the_next_is_asked(self) -> None:
        desk = Desk(A, B, policies=[policy(quotas=(Quota(limit=1),))])
        assert [desk.addresses(service(f"web/{i}")) for i in (1, 2)] == [("192.0.2.0",), ("198.51.100.0",)]

    def test_a_shared_address_counts_once(self) -> None:
        desk = Desk(A, policies=[policy(quotas=(Quota(limit=1),))])
        desk.addresses(service("web/one", sharing_key="k"))
        assert desk.addresses(service("web/two", sharing_key="k", ports=ports(443))) == ("192.0.2.0",)
        other = service("shop/x", sharing_key="k", ports=ports(53), requested_addresses="192.0.2.0")
        assert desk.addresses(other) == ("192.0.2.0",)
        assert desk.taken.used_by_namespace("shop", A) == 1

    def test_what_is_held_stays_when_the_limit_falls(self) -> None:
        desk = Desk(A, policies=[policy(quotas=(Quota(limit=0),))])
        assert desk.addresses(service("web/one"), held=("192.0.2.1",)) == ("192.0.2.1",)

    def test_both_addresses_of_a_dual_stack_service_count(self) -> None:
        both = pool("a", "192.0.2.0-192.0.2.3", "2001:db8::-2001:db8::3")
        desk = Desk(both, policies=[policy(quotas=(Quota(limit=1),))])
        assert isinstance(desk.refusal(service(dual="RequireDualStack")), reasons.NoPoolFits)
        answer = desk.given(service(dual="PreferDualStack"))
        assert answer.addresses == ("192.0.2.0",)
        assert isinstance(answer.lacks, reasons.QuotaReached)

    def test_a_pair_asked_for_by_address_counts_both_though_one_is_held(self) -> None:
        both = pool("a", "192.0.2.0-192.0.2.3", "2001:db8::-2001:db8::3")
        desk = Desk(both, policies=[policy(quotas=(Quota(limit=2),))])
        desk.addresses(service("web/other"))
        desk.addresses(service("web/one", cluster_ips=("fd00::1",)))
        pair = service("web/one", dual="PreferDualStack", requested_addresses="192.0.2.3,2001:db8::")
        assert isinstance(desk.refusal(pair), reasons.QuotaReached)

    @pytest.mark.parametrize(
        "quota",
        [
            Quota(limit=0, namespaces=("web",)),
            Quota(limit=0, namespace_selectors=(labelled(team="small"),)),
        ],
    )
    def test_it_may_concern_some_namespaces_only(self, quota: Quota) -> None:
        names = [Namespace(name="web", labels={"team": "small"})]
        desk = Desk(A, policies=[policy(quotas=(quota,))], namespaces=names)
        assert isinstance(desk.refusal(service("web/one")), reasons.NoPoolFits)
        assert desk.addresses(service("shop/one")) == ("192.0.2.0",)


class TestTwoPools:
    def desk(self, **fields: Any) -> Desk:
        return Desk(A, SIX, policies=[policy(second_family_from="six", **fields)])

    @pytest.mark.parametrize("how", ["PreferDualStack", "RequireDualStack"])
    def test_the_other_family_comes_from_the_second_pool(self, how: str) -> None:
        answer = self.desk().given(service(dual=how))
        assert answer.addresses == ("192.0.2.0", "2001:db8::")
        assert (answer.pool, answer.second, answer.pools) == ("a", "six", "a,six")

    def test_without_the_policy_nothing_comes_from_it(self) -> None:
        assert Desk(A, SIX).addresses(service(dual="PreferDualStack")) == ("192.0.2.0",)

    def test_a_single_address_grows_and_a_pair_stays(self) -> None:
        desk, one = self.desk(), service(dual="PreferDualStack")
        assert desk.addresses(one, held=("192.0.2.3",)) == ("192.0.2.3", "2001:db8::")
        assert desk.addresses(one, held=("192.0.2.3", "2001:db8::3")) == ("192.0.2.3", "2001:db8::3")

    def test_single_stack_services_get_nothing_from_the_second_pool(self) -> None:
        assert isinstance(self.desk().refusal(service(cluster_ips=("fd00::1",))), reasons.NoPoolFits)
        only = service(cluster_ips=("fd00::1",), requested_pool="a")
        assert self.desk().refusal(only) == reasons.PoolExhausted(pool="a", family="IPv6", size=0)

    def test_a_pair_may_be_asked_for_by_address(self) -> None:
        wish = service(dual="RequireDualStack", requested_addresses="192.0.2.1,2001:db8::1")
        answer = self.desk().given(wish)
        assert (answer.addresses, answer.pools) == (("192.0.2.1", "2001:db8::1"), "a,six")

    def test_an_exhausted_second_pool_is_named(self) -> None:
        desk = Desk(A, pool("six", auto_assign=False), policies=[policy(second_family_from="six")])
        answer = desk.given(service(dual="PreferDualStack"))
        assert answer.lacks == reasons.PoolExhausted(pool="a", family="IPv6", size=0)
        desk = Desk(A, pool("six", "2001:db8::", auto_assign=False), policies=desk.policies)
        desk.addresses(service("x/y", cluster_ips=("fd00::1",), requested_pool="six"))
        answer = desk.given(service(dual="PreferDualStack"))
        assert answer.lacks == reasons.PoolExhausted(pool="six", family="IPv6", size=1)

    def test_the_second_pool_never_fetches_from_a_manual_first(self) -> None:
        manual = pool("a", "192.0.2.0-192.0.2.3", auto_assign=False)
        opened = pool("six", "2001:db8::-2001:db8::3")
        desk = Desk(manual, opened, policies=[policy(second_family_from="six")])
        assert desk.addresses(service("web/auto", dual="PreferDualStack")) == ("2001:db8::",)
        named = service("web/named", dual="PreferDualStack", requested_pool="a")
        assert desk.addresses(named) == ("192.0.2.0", "2001:db8::1")


class TestGuard:
    NETWORK = Occupied(block("192.0.2.0-192.0.2.255"), "the Pod network of Node n1")
    NODE = Occupied(block("192.0.2.1"), "Node n1")

    def test_an_address_of_a_node_is_passed_over_and_refused_with_its_owner(self) -> None:
        desk = Desk(A)
        desk.taken.occupy([Occupied(block("192.0.2.0-192.0.2.1"), "Node n1")])
        assert desk.addresses(service()) == ("192.0.2.2",)
        assert desk.refusal(service("x/y", requested_addresses="192.0.2.1")) == reasons.AddressOccupied(
            address="192.0.2.1", owner="Node n1"
        )

    def test_the_most_exact_owner_is_named_and_whole_networks_are_jumped_over(self) -> None:
        huge = pool("a", "10.0.0.0-10.255.255.255")
        desk = Desk(huge)
        desk.taken.occupy(
            [Occupied(block("10.0.0.0-10.254.255.255"), "Pods"), Occupied(block("10.0.0.7"), "Node n7")]
        )
        assert desk.taken.owner("10.0.0.7") == "Node n7"
        assert desk.taken.owner("10.0.0.8") == "Pods"
        assert desk.addresses(service()) == ("10.255.0.0",)

    def test_what_is_held_stays(self) -> None:
        desk = Desk(A)
        desk.taken.occupy([self.NETWORK])
        assert desk.addresses(service(), held=("192.0.2.3",)) == ("192.0.2.3",)

    def test_a_status_of_another_load_balancer_is_no_hold(self) -> None:
        desk = Desk(A)
        desk.taken.occupy([self.NODE])
        assert desk.addresses(service(ingress=("192.0.2.1",))) == ("192.0.2.0",)
        assert desk.addresses(service("x/y", ingress=("192.0.2.1",), pool_annotation="a")) == ("192.0.2.1",)

    def test_a_pool_whose_rest_belongs_to_the_cluster_says_so(self) -> None:
        desk = Desk(A)
        desk.taken.occupy([self.NETWORK])
        assert "Pod network of Node n1" in desk.refusal(service(requested_pool="a")).explain()

    def test_allow_turns_it_off_for_the_pool(self) -> None:
        desk = Desk(A, policies=[policy(allow_cluster_addresses=True)])
        desk.taken.occupy([self.NETWORK])
        assert desk.addresses(service()) == ("192.0.2.0",)

    def test_what_the_cluster_gives_up_is_free_again(self) -> None:
        desk = Desk(A)
        desk.taken.occupy([self.NETWORK])
        desk.taken.occupy([])
        assert desk.addresses(service()) == ("192.0.2.0",)
