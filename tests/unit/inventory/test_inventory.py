"""Which Services does this change touch? One row of the table each, and: a repeated event touches nothing."""

from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import NOTHING, Touched
from metalbgp.model.configuration import Configuration, PoolPolicy, Quota, Reservation
from metalbgp.model.services import Endpoints, Namespace, Rank, Service
from tests.values import (
    bgp,
    configuration,
    endpoint_slice,
    holder,
    l2,
    labelled,
    node,
    peer,
    pinned,
    pool,
    ports,
    service,
    vip,
)

ADDRESS = "10.252.252.100"
KEY = "web/nginx"


def inventory(made: Configuration | None = None, *services: Service) -> Inventory:
    found = Inventory("metallb-system")
    found.configure(made or configuration(peer("tor-a"), bgp(), l2()))
    for one in services:
        found.put_service(one)
    return found


def only(*keys: str) -> Touched:
    return Touched(services=frozenset(keys))


class TestServices:
    def test_a_new_a_changed_and_a_deleted_service_touch_themselves(self) -> None:
        found = inventory()
        assert found.put_service(service()) == only(KEY)
        assert found.put_service(service(ports=ports(443))) == only(KEY)
        assert found.drop_service(KEY) == only(KEY)
        assert found.drop_service(KEY) == NOTHING

    def test_a_new_resource_version_alone_decides_nothing(self) -> None:
        found = inventory(None, service())
        assert found.put_service(service(resource_version="2")) == NOTHING
        assert found.services[KEY].resource_version == "2"

    def test_what_is_not_a_load_balancer_of_ours_touches_nothing_until_it_holds_something(self) -> None:
        found = inventory()
        assert found.put_service(service(type="ClusterIP")) == NOTHING
        assert found.put_service(service("web/b", load_balancer_class="other")) == NOTHING
        found.put_service(service())
        assert found.put_service(service(type="ClusterIP", resource_version="2")) == only(KEY)
        found.put_claim(vip(ADDRESS))
        assert found.orphans() == (KEY,)
        assert found.put_service(service(type="ClusterIP", ports=ports(1))) == only(KEY)

    def test_only_the_class_that_was_asked_for_is_ours(self) -> None:
        mine = Inventory("x", load_balancer_class="metalbgp.io/lb")
        assert mine.is_ours(service(load_balancer_class="metalbgp.io/lb"))
        assert not mine.is_ours(service())
        assert not inventory().is_ours(service(load_balancer_class="metalbgp.io/lb"))
        assert not inventory().is_ours(service(deleting=True))

    def test_a_changed_sharing_key_touches_those_who_wait_to_join(self) -> None:
        waiting = service("web/waiting", sharing_key="k")
        found = inventory(None, waiting, service("web/other", sharing_key="z"), service())
        found.put_claim(vip(ADDRESS))
        assert found.put_service(service(sharing_key="k")) == only(KEY, "web/waiting")


class TestEndpoints:
    def test_several_slices_make_one_count_and_a_moving_endpoint_counts_once(self) -> None:
        found = inventory(None, service())
        found.put_slice(endpoint_slice(KEY, "a", ("10.1.0.1", "n1", True), ("10.1.0.2", "n2", False)))
        found.put_slice(
            endpoint_slice(KEY, "b", ("10.1.0.1", "n1", True), ("10.1.0.3", "", True), ("", "n1", True))
        )
        assert found.endpoints(KEY) == Endpoints(serving=2, total=3, ready=(("n1", 1),), nameless=1)

    def test_a_dual_stack_pod_counts_once(self) -> None:
        found = inventory(None, service())
        found.put_slice(endpoint_slice(KEY, "v4", ("10.1.0.1", "n1", True), ("10.1.0.2", "n1", True)))
        found.put_slice(endpoint_slice(KEY, "v6", ("fd00::1", "n1", True), ("fd00::2", "n1", True)))
        assert found.endpoints(KEY) == Endpoints(serving=2, total=2, ready=(("n1", 2),))

    def test_none_and_some_are_urgent_and_under_cluster_nothing_else_matters(self) -> None:
        found = inventory(None, service())
        assert found.put_slice(endpoint_slice(KEY, "a", ("10.1.0.1", "n1", True))) == only(KEY)
        more = endpoint_slice(KEY, "a", ("10.1.0.1", "n1", True), ("10.1.0.2", "n2", True))
        assert found.put_slice(more) == NOTHING
        assert found.put_slice(endpoint_slice(KEY, "a", ("10.1.0.1", "n1", False))) == only(KEY)

    def test_under_local_another_set_of_nodes_is_urgent_and_another_count_may_wait(self) -> None:
        found = inventory(None, service(external_traffic_policy="Local"))
        found.put_slice(endpoint_slice(KEY, "a", ("10.1.0.1", "n1", True)))
        two = endpoint_slice(KEY, "a", ("10.1.0.1", "n1", True), ("10.1.0.2", "n1", True))
        assert found.put_slice(two) == Touched(counts=frozenset({KEY}))
        assert found.put_slice(endpoint_slice(KEY, "b", ("10.1.0.3", "n2", True))) == only(KEY)
        assert found.drop_slice("web/b") == only(KEY)
        assert found.drop_slice("web/b") == NOTHING

    def test_under_local_the_start_of_an_end_is_urgent_and_under_cluster_it_is_nothing(self) -> None:
        for policy, wanted in (("Local", only(KEY)), ("Cluster", NOTHING)):
            found = inventory(None, service(external_traffic_policy=policy))
            found.put_slice(endpoint_slice(KEY, "a", ("10.1.0.1", "n1", True), ("10.1.0.2", "n2", True)))
            going = endpoint_slice(KEY, "a", ("10.1.0.1", "n1", Rank.TERMINATING), ("10.1.0.2", "n2", True))
            assert found.put_slice(going) == wanted
            assert found.endpoints(KEY) == Endpoints(
                serving=2, total=2, ready=(("n2", 1),), terminating=(("n1", 1),)
            )

    def test_on_a_node_the_best_rank_counts_and_in_two_slices_the_better_entry(self) -> None:
        found = inventory(None, service())
        ends = ("10.1.0.2", "n1", Rank.TERMINATING)
        found.put_slice(endpoint_slice(KEY, "a", ("10.1.0.1", "n1", Rank.TERMINATING), ends))
        found.put_slice(endpoint_slice(KEY, "b", ("10.1.0.1", "n1", True)))
        assert found.endpoints(KEY) == Endpoints(serving=2, total=2, ready=(("n1", 1),))

    def test_a_slice_may_change_its_owner(self) -> None:
        found = inventory(None, service(), service("web/b"))
        found.put_slice(endpoint_slice(KEY, "a", ("10.1.0.1", "n1", True)))
        assert found.put_slice(endpoint_slice("web/b", "a", ("10.1.0.1", "n1", True))) == only(KEY, "web/b")
        assert (found.endpoints(KEY).serving, found.endpoints("web/b").serving) == (0, 1)

    def test_slices_that_come_before_their_service_are_there_when_it_comes(self) -> None:
        found = inventory()
        assert found.put_slice(endpoint_slice(KEY, "a", ("10.1.0.1", "n1", True))) == NOTHING
        assert found.put_service(service()) == only(KEY)
        assert found.endpoints(KEY).serving == 1


class TestNodes:
    def test_a_node_touches_l2_candidates_by_policy_and_no_service(self) -> None:
        found = inventory()
        found.put_claim(vip("10.252.252.1", {"web/c": holder(l2=("layer2",))}))
        found.put_claim(
            vip("10.252.252.2", {"web/l": holder(l2=("layer2",), policy="Local", nodes={"n2": 1})})
        )
        found.put_claim(vip("10.252.252.3", {"web/b": holder(bgp=("external",))}))
        assert found.put_node(node("n1")) == Touched(addresses=frozenset({"10.252.252.1"}))
        assert found.put_node(node("n1")) == NOTHING
        both = frozenset({"10.252.252.1", "10.252.252.2"})
        assert found.live({"n2"}) == Touched(addresses=both)
        assert found.live({"n2"}) == NOTHING
        assert found.put_node(node("n2")) == Touched(addresses=both)
        assert found.put_node(node("n2", rack="1")) == Touched(addresses=both)
        assert found.drop_node("n2") == Touched(addresses=both)


class TestNamespaces:
    def test_labels_touch_services_there_only_while_a_pool_selects_by_them(self) -> None:
        found = inventory(None, service(), service("shop/x"))
        assert found.put_namespace(Namespace(name="web")) == NOTHING
        rule = pinned(namespace_selectors=(labelled(team="a"),))
        found.configure(configuration(pool("production", "10.252.252.0-10.252.252.9", allocation=rule)))
        assert found.put_namespace(Namespace(name="web", labels={"team": "a"})) == only(KEY)
        assert found.put_namespace(Namespace(name="web", labels={"team": "a"})) == NOTHING


class TestClaims:
    def test_our_own_claim_seen_again_touches_nothing(self) -> None:
        found = inventory(None, service())
        assert found.pending == {KEY}
        assert found.put_claim(vip(ADDRESS)) == only(KEY)
        assert found.put_claim(vip(ADDRESS, resource_version="9")) == NOTHING
        assert (found.pending, found.held(KEY)) == (set(), (ADDRESS,))

    def test_a_deleted_claim_touches_its_holder_and_those_who_wait_for_room(self) -> None:
        waiting, elsewhere = service("web/waiting"), service("web/elsewhere", requested_pool="other")
        found = inventory(None, service(), waiting, elsewhere)
        found.put_claim(vip(ADDRESS))
        assert found.drop_claim(ADDRESS) == only(KEY, "web/waiting")
        assert found.held(KEY) == ()
        assert found.drop_claim(ADDRESS) == NOTHING

    def test_a_sharer_that_leaves_makes_room_as_well(self) -> None:
        found = inventory(None, service(), service("web/b"), service("web/waiting"))
        found.put_claim(vip(ADDRESS, {KEY: holder(), "web/b": holder()}))
        assert found.put_claim(vip(ADDRESS, {KEY: holder()})) == only(KEY, "web/b", "web/waiting")

    def test_claims_of_services_that_are_gone_are_orphans(self) -> None:
        found = inventory()
        found.put_claim(vip(ADDRESS))
        assert found.orphans() == (KEY,)


class TestConfiguration:
    here = pool("production", "10.252.252.0-10.252.252.255")
    there = pool("other", "192.0.2.0-192.0.2.9")

    def test_attributes_and_peers_touch_nobody(self) -> None:
        found = inventory(configuration(self.here, peer("a"), bgp(), l2()), service())
        found.put_claim(vip(ADDRESS))
        changed = configuration(
            self.here,
            peer("b"),
            bgp(communities=((1, 1),), local_preference=5, peers=("b",), aggregation_length=24),
            l2(interfaces=("eth0",)),
            sequence=2,
        )
        assert found.configure(changed) == NOTHING

    def test_a_changed_pool_touches_those_in_it_and_those_who_wait(self) -> None:
        found = inventory(
            configuration(self.here, self.there), service(), service("web/b"), service("web/wait")
        )
        found.put_claim(vip(ADDRESS, {KEY: holder()}))
        found.put_claim(vip("192.0.2.1", {"web/b": holder()}, pool="other"))
        bigger = pool("other", "192.0.2.0-192.0.2.99")
        assert found.configure(configuration(self.here, bigger, sequence=2)) == only("web/b", "web/wait")
        renamed = pool("renamed", "10.252.252.0-10.252.252.255")
        assert found.configure(configuration(renamed, bigger, sequence=3)) == only(KEY, "web/wait")

    def test_a_matching_advertisement_touches_the_services_of_its_pools(self) -> None:
        found = inventory(
            configuration(self.here, self.there), service(), service("web/b"), service("web/wait")
        )
        found.put_claim(vip(ADDRESS, {KEY: holder()}))
        found.put_claim(vip("192.0.2.1", {"web/b": holder()}, pool="other"))
        assert found.configure(configuration(self.here, self.there, bgp())) == only(KEY)
        selects = bgp(service_selectors=(labelled(a="b"),))
        assert found.configure(configuration(self.here, self.there, selects)) == only(KEY)
        assert found.configure(configuration(self.here, self.there, bgp("x", "other"))) == only(KEY, "web/b")

    def test_the_nodes_of_an_l2_advertisement_touch_candidates_only(self) -> None:
        found = inventory(configuration(self.here, bgp(), l2()), service())
        found.put_claim(vip(ADDRESS))
        narrowed = l2(node_selectors=(labelled(rack="1"),))
        assert found.configure(configuration(self.here, bgp(), narrowed)) == Touched(
            addresses=frozenset({ADDRESS})
        )


def test_of_two_urgencies_the_higher_wins() -> None:
    both = only("a") | Touched(counts=frozenset({"a", "b"}), addresses=frozenset({"x"}))
    assert both == Touched(frozenset({"a"}), frozenset({"b"}), frozenset({"x"}))
    assert not NOTHING


class TestPoliciesAndReservations:
    def kept(self) -> Inventory:
        """web/nginx holds an address, web/late waits, one address cools."""
        found = inventory(None, service(), service("web/late"))
        found.put_claim(vip(ADDRESS))
        found.put_claim(vip("10.252.252.7", {}, phase="cooling", kept_for=("web/gone",)))
        return found

    def test_a_reservation_touches_who_waits_its_addresses_and_what_cools_and_nobody_else(self) -> None:
        found = self.kept()
        made = Reservation(name="dns", addresses=("10.252.252.9",), namespace="web", service="shop")
        touched = found.configure(configuration(peer("tor-a"), bgp(), l2(), reservations=(made,)))
        assert touched == Touched(
            services=frozenset({"web/late"}), idle=frozenset({"10.252.252.9", "10.252.252.7"})
        )
        again = found.configure(configuration(peer("tor-a"), bgp(), l2(), sequence=2))
        assert again.idle == {"10.252.252.9", "10.252.252.7"}, "its VirtualIP is to go"

    def test_a_policy_touches_who_waits_and_what_cools_and_no_holder(self) -> None:
        found = self.kept()
        sticky = PoolPolicy(name="p", pools=("production",), sticky=True)
        touched = found.configure(configuration(peer("tor-a"), bgp(), l2(), policies=(sticky,)))
        assert touched == Touched(services=frozenset({"web/late"}), idle=frozenset({"10.252.252.7"}))

    def test_pools_that_are_paired_or_parted_touch_the_services_of_both(self) -> None:
        found = self.kept()
        pair = PoolPolicy(name="p", pools=("production",), second_family_from="v6")
        touched = found.configure(configuration(peer("tor-a"), bgp(), l2(), policies=(pair,)))
        assert "web/nginx" in touched.services

    def test_a_reserved_claim_that_goes_is_looked_at_again_and_another_is_not(self) -> None:
        found = self.kept()
        made = Reservation(name="dns", addresses=("10.252.252.7",), namespace="web", service="shop")
        found.configure(configuration(peer("tor-a"), bgp(), l2(), reservations=(made,)))
        assert found.drop_claim("10.252.252.7").idle == {"10.252.252.7"}
        assert not found.drop_claim(ADDRESS).idle

    def test_who_asks_for_a_pool_waits_for_its_second_as_well(self) -> None:
        made = configuration(
            pool("v4", "192.0.2.0"),
            pool("v6", "2001:db8::"),
            policies=(PoolPolicy(name="p", pools=("v4",), second_family_from="v6"),),
        )
        found = inventory(made, service(), service("web/late", requested_pool="v4", dual="RequireDualStack"))
        found.put_claim(vip("2001:db8::", pool="v6"))
        assert "web/late" in found.drop_claim("2001:db8::").services

    def test_a_sharer_may_join_when_the_claim_changes_its_terms(self) -> None:
        found = inventory(None, service(), service("web/late", sharing_key="k"))
        found.put_claim(vip(ADDRESS, {KEY: holder()}))
        touched = found.put_claim(vip(ADDRESS, {KEY: holder(sharing_key="k", ports=("TCP/443",))}))
        assert touched.services == {KEY, "web/late"}

    def test_labels_of_a_namespace_count_for_quotas_of_those_who_wait(self) -> None:
        quota = Quota(limit=1, namespace_selectors=(labelled(team="x"),))
        policy = PoolPolicy(name="p", pools=("production",), quotas=(quota,))
        found = inventory(configuration(policies=(policy,)), service(), service("web/late"))
        found.put_claim(vip(ADDRESS))
        assert found.put_namespace(Namespace(name="web", labels={"team": "x"})) == only("web/late")
