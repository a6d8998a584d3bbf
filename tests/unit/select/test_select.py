"""What one node does for one VirtualIP: the rows of metallb.md 3.1 to 3.4 and 4.3, and our own gates."""

from typing import Any

import pytest

from metalbgp.model import extended, reasons
from metalbgp.model.configuration import Configuration
from metalbgp.model.routes import Attributes, Duty, NodePlan
from metalbgp.model.services import EXCLUDE_LABEL, Node
from metalbgp.select.select import routes_of, select
from tests.values import bgp, configuration, holder, l2, labelled, node, peer, pool, vip

ADDRESS = "10.252.252.100"
PREFIX = f"{ADDRESS}/32"
N1 = node("n1")
PLAIN = configuration(peer("tor-a"), bgp())


def refused(plan: NodePlan, protocol: str = "bgp") -> dict[str, reasons.Reason]:
    return {one.peer: one.reason for one in plan.refused if one.protocol == protocol}


def test_an_address_is_announced_to_every_peer_that_carries_its_family() -> None:
    made = configuration(peer("tor-a"), peer("tor-b"), peer("six", "2001:db8::1"), bgp())
    plan = select(vip(), made, N1)
    assert set(routes_of(plan)) == {("tor-a", PREFIX), ("tor-b", PREFIX)}
    assert refused(plan) == {"six": reasons.FamilyNotCarried(peer="six", family="IPv4")}


def test_a_dual_stack_session_carries_both_families() -> None:
    made = configuration(
        pool("production", "10.252.252.0-10.252.252.255", "2001:db8::-2001:db8::ff"),
        peer("six", "2001:db8:1::1", dual_stack=True),
        bgp(),
    )
    assert set(routes_of(select(vip(), made, N1))) == {("six", PREFIX)}
    assert set(routes_of(select(vip("2001:db8::7"), made, N1))) == {("six", "2001:db8::7/128")}


@pytest.mark.parametrize(
    ("fields", "where", "reason"),
    [
        ({"serving": False}, N1, reasons.NoServingEndpoint(service="web/nginx")),
        ({"policy": "Local", "nodes": {"n2": 1}}, N1, reasons.NoLocalEndpoint(node="n1")),
        ({"policy": "Local", "nodes": {"n1": 0}}, N1, reasons.NoLocalEndpoint(node="n1")),
        (
            {"policy": "Local", "nodes": {"n2": 1}, "terminating": {"n1": 1}},
            N1,
            reasons.EndpointsTerminate(node="n1"),
        ),
        ({}, node("n1", network_unavailable=True), reasons.NodeNetworkUnavailable(node="n1")),
        ({}, Node(name="n1", labels={EXCLUDE_LABEL: ""}), reasons.NodeExcluded(node="n1")),
        ({"bgp": ()}, N1, reasons.NoMatchingAdvertisement(kind="BGPAdvertisement", pool="production")),
    ],
)
def test_a_node_says_no_with_its_reason(fields: dict[str, Any], where: Node, reason: reasons.Reason) -> None:
    plan = select(vip(holders={"web/nginx": holder(**{"bgp": ("external",)} | fields)}), PLAIN, where)
    assert plan.routes == ()
    assert refused(plan) == {"": reason}


@pytest.mark.parametrize(
    ("fields", "where", "declines"),
    [
        ({}, N1, False),
        ({}, Node(name="n1", labels={EXCLUDE_LABEL: ""}), True),
        ({}, node("n1", network_unavailable=True), True),
        ({}, Node(name="n9", labels={EXCLUDE_LABEL: ""}), False),  # nobody counts on it
        ({"bgp": ("external",), "l2": ()}, Node(name="n1", labels={EXCLUDE_LABEL: ""}), False),
    ],
)
def test_a_candidate_that_will_not_answer_in_l2_declines(
    fields: dict[str, Any], where: Node, declines: bool
) -> None:
    held = vip(holders={"web/nginx": holder(**{"l2": ("layer2",)} | fields)}, candidates=("n1", "n2"))
    plan = select(held, configuration(l2(), bgp()), where)
    assert [one.declined for one in plan.declined] == [True] * declines
    assert not (plan.duties and plan.declined)


def test_terminating_endpoints_announce_where_they_are_the_last_resort_and_their_count_is_the_weight() -> (
    None
):
    going = holder(
        bgp=("external",), policy="Local", nodes={"n2": 1}, terminating={"n1": 3}, last_resort=True
    )
    made = configuration(peer("tor-a"), bgp(link_bandwidth=100))
    attributes = routes_of(select(vip(holders={"web/nginx": going}), made, N1))["tor-a", PREFIX]
    assert attributes.extended_communities == (extended.bandwidth(64513, 300),)


def test_the_exclude_label_may_be_ignored_by_option() -> None:
    made = configuration(peer("tor-a"), bgp(), ignore_exclude_label=True)
    assert routes_of(select(vip(), made, Node(name="n1", labels={EXCLUDE_LABEL: ""})))


def test_under_local_only_nodes_with_endpoints_announce() -> None:
    local = vip(holders={"web/nginx": holder(bgp=("external",), policy="Local", nodes={"n1": 2})})
    assert routes_of(select(local, PLAIN, N1))
    assert not routes_of(select(local, PLAIN, node("n2")))


def test_node_selectors_of_advertisement_and_peer_and_the_peer_list_are_obeyed() -> None:
    made = configuration(
        peer("rack1", node_selectors=(labelled(rack="1"),)),
        peer("rack2", node_selectors=(labelled(rack="2"),)),
        peer("other"),
        bgp("external", peers=("rack1", "rack2")),
        bgp("elsewhere", node_selectors=(labelled(rack="9"),)),
    )
    plan = select(
        vip(holders={"web/nginx": holder(bgp=("external", "elsewhere"))}), made, node("n1", rack="1")
    )
    assert set(routes_of(plan)) == {("rack1", PREFIX)}
    assert refused(plan) == {
        "rack2": reasons.NodeNotSelected(kind="BGPPeer", object="rack2", node="n1"),
        "other": reasons.PeerNotListed(advertisement="external", peer="other"),
        "": reasons.NodeNotSelected(kind="BGPAdvertisement", object="elsewhere", node="n1"),
    }


def test_communities_of_several_advertisements_are_unioned_on_one_route() -> None:
    made = configuration(
        peer("tor-a"),
        bgp("a", communities=((64512, 1), (64512, 2)), local_preference=100),
        bgp("b", communities=((64512, 2), (64512, 3)), large_communities=((1, 2, 3),), local_preference=100),
    )
    plan = select(vip(holders={"web/nginx": holder(bgp=("a", "b"))}), made, N1)
    assert routes_of(plan) == {
        ("tor-a", PREFIX): Attributes(
            communities=((64512, 1), (64512, 2), (64512, 3)),
            large_communities=((1, 2, 3),),
            local_preference=100,
        )
    }
    assert plan.routes[0][1].advertisements == ("a", "b")


def test_advertisements_that_disagree_on_local_preference_announce_nothing_where_they_meet() -> None:
    made = configuration(
        peer("tor-a"),
        peer("tor-b"),
        bgp("a", local_preference=100),
        bgp("b", local_preference=200, peers=("tor-a",)),
        bgp("c", local_preference=300, aggregation_length=24),
    )
    plan = select(vip(holders={"web/nginx": holder(bgp=("a", "b", "c"))}), made, N1)
    assert set(routes_of(plan)) == {
        ("tor-b", PREFIX),
        ("tor-a", "10.252.252.0/24"),
        ("tor-b", "10.252.252.0/24"),
    }
    assert isinstance(refused(plan)["tor-a"], reasons.ConflictingAdvertisements)


def test_aggregation_masks_the_address_and_never_leaves_the_pool() -> None:
    made = configuration(
        pool("production", "10.252.252.2-10.252.252.254"),  # its widest block is a /26
        peer("tor-a"),
        bgp("fits", aggregation_length=26),
        bgp("wide", aggregation_length=24),
    )
    plan = select(vip(holders={"web/nginx": holder(bgp=("fits", "wide"))}), made, N1)
    assert set(routes_of(plan)) == {("tor-a", "10.252.252.64/26")}
    assert refused(plan)[""] == reasons.PrefixTooShort(
        prefix="10.252.252.0/24", pool="production", advertisement="wide", shortest=26
    )


def test_not_even_a_pool_of_everything_makes_a_default_route() -> None:
    made = configuration(pool("production", "0.0.0.0-255.255.255.255"), peer("a"), bgp(aggregation_length=0))
    assert select(vip(), made, N1).routes == ()


def test_an_address_in_no_pool_is_never_announced() -> None:
    plan = select(vip("10.9.9.9"), PLAIN, N1)
    assert (plan.routes, plan.duties) == ((), ())
    assert set(refused(plan).values()) == {reasons.NotInPool(address="10.9.9.9")}


@pytest.mark.parametrize("phase", ["reserved", "releasing", "cooling"])
def test_only_a_bound_address_is_announced(phase: str) -> None:
    plan = select(vip(phase=phase, candidates=("n1",)), configuration(peer("a"), bgp(), l2()), N1)
    assert (plan.routes, plan.duties, plan.undecided) == ((), (), ())


class TestWatchesThatHaveNotMet:
    def test_an_older_configuration_decides_nothing(self) -> None:
        plan = select(vip(configuration=9), PLAIN, N1)
        assert plan.undecided == (ADDRESS,)
        assert refused(plan)[""] == reasons.OlderConfiguration(held=1, wanted=9)

    def test_a_virtual_ip_that_names_a_removed_advertisement_is_the_past(self) -> None:
        made = configuration(peer("tor-a"), bgp("new"), sequence=2)
        assert select(vip(), made, N1).undecided == (ADDRESS,)

    def test_one_planned_with_this_very_configuration_is_obeyed_as_it_is(self) -> None:
        made = configuration(peer("tor-a"), bgp("new"))
        assert select(vip(), made, N1).undecided == ()


class TestL2:
    made = configuration(l2())

    def on(self, where: Node, made: Configuration | None = None, **fields: Any) -> NodePlan:
        return select(vip(**{"candidates": ("n1", "n2")} | fields), made or self.made, where)

    def test_every_candidate_has_the_duty_and_the_others_know_who_has(self) -> None:
        duty = Duty(address=ADDRESS, candidates=("n1", "n2"))
        assert self.on(N1).duties == self.on(node("n2")).duties == (duty,)
        plan = self.on(node("n3"))
        assert plan.duties == ()
        assert refused(plan, "layer2") == {"": reasons.NoCandidate(candidates=("n1", "n2"), node="n3")}

    def test_without_a_candidate_nobody_answers(self) -> None:
        why = refused(self.on(N1, candidates=()), "layer2")[""]
        assert why == reasons.NoCandidate(candidates=(), node="n1")

    def test_an_owner_that_was_excluded_meanwhile_says_no_for_itself(self) -> None:
        assert self.on(node("n1", network_unavailable=True)).duties == ()
        made = configuration(l2(node_selectors=(labelled(rack="1"),)))
        plan = self.on(N1, made)
        assert refused(plan, "layer2")[""] == reasons.NodeNotSelected(
            kind="L2Advertisement", object="layer2", node="n1"
        )

    def test_interfaces_are_the_union_and_any_open_advertisement_means_all(self) -> None:
        made = configuration(
            l2("a", interfaces=("eth1", "eth0")),
            l2("b", interfaces=("eth2",)),
            l2("c"),
            l2("far", node_selectors=(labelled(rack="9"),)),
        )

        def duty(*names: str) -> tuple[Duty, ...]:
            return self.on(N1, made, holders={"web/nginx": holder(l2=names)}).duties

        assert duty("a", "b", "far") == (Duty(ADDRESS, ("eth0", "eth1", "eth2"), ("n1", "n2")),)
        assert duty("a", "c") == (Duty(ADDRESS, None, ("n1", "n2")),)

    def test_one_advertisement_that_fences_or_keeps_does_so_on_every_node(self) -> None:
        """Also on one that it does not cover: two candidates with two rules would be two owners."""
        made = configuration(
            l2("plain"),
            l2("keeps", revertive=False, node_selectors=(labelled(rack="9"),)),
            l2("fences", fenced=True),
        )

        def rules(**holders: tuple[str, ...]) -> tuple[bool, bool]:
            plan = self.on(
                N1, made, holders={f"web/{key}": holder(l2=names) for key, names in holders.items()}
            )
            (duty,) = plan.duties
            return duty.revertive, duty.fenced

        assert rules(a=("plain",)) == (True, False)
        assert rules(a=("plain", "keeps")) == (False, False)
        assert rules(a=("plain",), b=("keeps",), c=("fences",)) == (False, True)
