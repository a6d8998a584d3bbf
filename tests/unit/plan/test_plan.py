"""Which advertisements match a Service, and when a VirtualIP is worth a write."""

from msgspec.structs import replace

from metalbgp.model.services import Endpoints
from metalbgp.plan.plan import barred_from_l2, plan, virtual_ip
from metalbgp.plan.ranking import Claimant
from metalbgp.plan.scene import Scene
from tests.values import PRODUCTION, bgp, configuration, l2, labelled, node, ports, service

SERVING = Endpoints(serving=2, total=3, ready=(("n1", 2),))


def test_advertisements_match_by_pool_and_by_service_labels() -> None:
    made = configuration(
        bgp("all"),
        bgp("gold", service_selectors=(labelled(tier="gold"), labelled(tier="silver"))),
        bgp("elsewhere", "other"),
        l2("layer2"),
        l2("gold2", service_selectors=(labelled(tier="gold"),)),
    )
    gold = plan(service(labels={"tier": "gold"}), SERVING, PRODUCTION, made)
    assert (gold.bgp, gold.l2) == (("all", "gold"), ("layer2", "gold2"))
    plain = plan(service(), SERVING, PRODUCTION, made)
    assert (plain.bgp, plain.l2) == (("all",), ("layer2",))


def test_a_sharing_service_is_not_announced_in_l2_while_a_match_selects_services() -> None:
    made = configuration(l2("layer2"), l2("gold", service_selectors=(labelled(tier="gold"),)))
    shared = service(sharing_key="k", labels={"tier": "gold"})
    assert plan(shared, SERVING, PRODUCTION, made).l2 == ()
    assert barred_from_l2(shared, PRODUCTION, made) == ("gold",)
    assert plan(service(sharing_key="k"), SERVING, PRODUCTION, made).l2 == ("layer2",)


def test_policy_cluster_names_no_node_and_local_counts_by_node() -> None:
    cluster = plan(service(selector={"app": "x"}), SERVING, PRODUCTION, configuration())
    assert (cluster.serving, cluster.nodes, cluster.selector) == (True, {}, {})
    local = plan(
        service(selector={"app": "x"}, external_traffic_policy="Local", ports=ports(443, 80)),
        SERVING,
        PRODUCTION,
        configuration(),
    )
    assert (local.nodes, local.selector, local.ports) == ({"n1": 2}, {"app": "x"}, ("TCP/443", "TCP/80"))


def test_a_virtual_ip_is_written_again_only_when_a_speaker_would_act_differently() -> None:
    made = configuration(l2())
    scene = Scene(configuration=made, nodes={"n1": node("n1")}, live={"n1"})

    def claimant(endpoints: Endpoints = SERVING) -> Claimant:
        one = service()
        return Claimant(service=one.key, holder=plan(one, endpoints, PRODUCTION, made), first="10.252.252.1")

    first = virtual_ip("10.252.252.1", PRODUCTION, [claimant()], scene)
    assert (first.phase, first.configuration, first.candidates) == ("bound", 1, ("n1",))
    stored = replace(first, uid="u", resource_version="7", since="2026-01-01T00:00:00Z")
    newer = replace(scene, configuration=replace(made, sequence=9))
    assert virtual_ip("10.252.252.1", PRODUCTION, [claimant()], newer, stored) is stored
    gone = virtual_ip("10.252.252.1", PRODUCTION, [claimant(Endpoints())], newer, stored)
    assert (gone.configuration, gone.candidates, gone.uid, gone.since) == (9, (), "u", stored.since)
    back = virtual_ip("10.252.252.1", PRODUCTION, [claimant()], newer, replace(stored, phase="releasing"))
    assert (back.phase, back.since) == ("bound", "")
