"""`metalbgp explain`: the screen of cli.md, from the same functions that controller and speakers run."""

import pytest
from msgspec import json
from msgspec.structs import replace

from metalbgp.cli import wire
from metalbgp.model.report import DrainReport, OrderReport, UnservedReport
from tests.unit.cli.world import (
    CONFIGURATION,
    EXCLUDE,
    GIVEN,
    LAYER2,
    World,
    claim,
    down,
    journal,
    node,
    service,
    session,
)
from tests.unit.cli.world_l2 import NODES, held, reflex

ADDRESS = "10.252.252.100"


def test_an_address_with_every_node_and_peer_and_what_the_wire_says() -> None:
    world = World()
    world.objects["nodes"][2] = node("n3", **{EXCLUDE: ""})
    world.says["n2"] = journal("n2", tor_b="waiting")
    result = world.run("explain", "web/nginx")
    assert result.stdout.splitlines() == [
        "web/nginx has 10.252.252.100",
        "  asked for   pool production (annotation metallb.universe.tf/address-pool)",
        "  pool        production 10.252.252.100/30 (real range .100 – .103)",
        f"  given       {GIVEN}",
        "  claim       VirtualIP 10.252.252.100, bound 12m ago",
        "  endpoints   3 serving of 3 (n1, n2, n2), policy Cluster: any node may announce",
        "  BGP         advertisement external → 10.252.252.100/32",
        "                n1 → tor-a   confirmed on the wire 12m ago",
        "                n1 → tor-b   confirmed on the wire 12m ago",
        "                n2 → tor-a   confirmed on the wire 12m ago",
        "                n2 → tor-b   waiting for 4m12s: session down (metalbgp sessions --node n2)",
        f"                n3 → tor-a   no: n3 has label {EXCLUDE}",
        "                n3 → tor-b   no: the same",
        "  L2          no: no L2Advertisement selects pool production for this Service",
    ]
    assert result.exit_code == 0


def test_what_gave_it_stands_in_the_claim_and_where_nothing_stands_that_is_said() -> None:
    """allocate(), asked again, would say no more than that it keeps what it has."""
    world = World()
    asked = {"metallb.io/loadBalancerIPs": "10.252.252.100"}  # meanwhile it asks otherwise
    world.objects["services"] = [service("web/nginx", annotations=asked)]
    assert f"  given       {GIVEN}" in world.run("explain", "nginx").stdout.splitlines()
    world.objects["virtualips"] = [claim("10.252.252.100", "web/nginx", holder={"why": ""})]
    unknown = "  given       kept: it already had it when this began to be written down"
    assert unknown in world.run("explain", "nginx").stdout.splitlines()


def test_two_addresses_that_came_in_two_ways_say_so_each_for_itself() -> None:
    world = World()
    beside = "chosen beside 10.252.252.100"
    world.objects["virtualips"].append(claim("fd00::1", "web/nginx", holder={"why": beside}))
    lines = world.run("explain", "nginx").stdout.splitlines()
    assert [line for line in lines if line.startswith("  given")] == [
        f"  given       {GIVEN}: 10.252.252.100",
        f"  given       {beside}: fd00::1",
    ]


def test_of_two_addresses_the_one_that_is_held_is_named() -> None:
    world = World()
    world.objects["virtualips"].append(claim("10.252.252.101", "web/nginx"))
    order = OrderReport(name="h", action="Hold", target="10.252.252.101", author="eve")
    for name in ("n1", "n2", "n3"):
        world.report(name, orders=(order,))
    found = [line for line in world.run("explain", "nginx").stdout.splitlines() if line.startswith("  BGP")]
    assert found == [
        "  BGP         advertisement external → 10.252.252.100/32",
        "  BGP         10.252.252.101 no: held by eve",
    ]


def test_a_withdrawal_that_is_held_back_is_noted_for_the_route_may_still_stand() -> None:
    world = World()
    world.report("n1", session("tor-a", held=2))
    note = "note: n1 → tor-a: 2 withdrawals held back (metalbgp.io/withdraw-limit), so what is not wanted may"
    assert note in world.run("explain", "nginx").stderr


def test_a_refusal_with_its_remedy() -> None:
    world = World()
    world.objects["services"].append(
        service("web/shop", annotations={"metallb.io/address-pool": "prodution"})
    )
    result = world.run("explain", "web/shop")
    assert result.stdout.splitlines() == [
        "web/shop has no address",
        "  asked for   pool prodution (annotation metallb.io/address-pool)",
        '  refused     pool "prodution" does not exist; pools: lab-v6, production. '
        'Did you mean "production"?',
        "  remedy      kubectl annotate -n web service shop metallb.io/address-pool=production --overwrite",
    ]
    assert result.exit_code == 1


def test_an_address_that_another_service_holds_is_named() -> None:
    world = World()
    asked = {"metallb.io/loadBalancerIPs": "10.252.252.100"}
    world.objects["services"].append(service("web/shop", annotations=asked))
    result = world.run("explain", "web/shop")
    assert "  refused     10.252.252.100 is held by web/nginx" in result.stdout.splitlines()


@pytest.mark.parametrize("said", ["nginx", "web/nginx", "svc/nginx", "service/nginx"])
def test_a_service_is_named_as_kubectl_names_it(said: str) -> None:
    assert World().run("explain", said).stdout.startswith("web/nginx has ")


def test_the_namespace_of_the_context_counts_unless_another_is_given() -> None:
    world = World()
    world.objects["services"].append(service("shop/cart"))
    assert world.run("explain", "cart", "-n", "shop").stdout.startswith("shop/cart has ")
    result = world.run("explain", "cart")
    assert result.exit_code == 2
    assert result.stderr == "metalbgp: there is no Service web/cart; did you mean shop/cart?\n"


def test_a_near_miss_is_suggested() -> None:
    result = World().run("explain", "web/ngnix")
    assert result.exit_code == 2
    assert result.stderr == 'metalbgp: there is no Service "web/ngnix"; did you mean "web/nginx"?\n'


def test_what_is_no_service_is_usage() -> None:
    assert World().run("explain", "a/b/c").exit_code == 2
    assert World().run("explain").exit_code == 2


def test_a_service_of_another_type_or_class_is_said_to_be_so() -> None:
    world = World()
    world.objects["services"] += [
        service("web/inner", type="ClusterIP"),
        service("web/other", loadBalancerClass="example.com/lb"),
    ]
    result = world.run("explain", "inner")
    assert result.stderr == (
        "metalbgp: web/inner is of type ClusterIP: only LoadBalancer Services get an address\n"
    )
    assert 'its loadBalancerClass ("example.com/lb")' in world.run("explain", "other").stderr


def test_a_node_that_does_not_answer_is_said_with_its_last_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.ask_all, "__defaults__", (0.05,))
    world = World()
    world.says["n2"] = None
    lines = world.run("explain", "nginx").stdout.splitlines()
    said = "confirmed, as reported 2s ago (no answer within 0.05 s)"
    assert f"                n2 → tor-a   {said}" in lines
    assert "                n1 → tor-a   confirmed on the wire 12m ago" in lines


def test_without_the_right_to_exec_it_goes_on() -> None:
    world = World()
    world.forbidden = {"exec"}
    world.report("n3", session("tor-a"), down())
    result = world.run("explain", "nginx")
    assert "                n1 → tor-a   confirmed, as reported 2s ago" in result.stdout.splitlines()
    assert "n3 → tor-b   waiting, as reported 2s ago: session down" in result.stdout
    assert result.stderr == f"note: {wire.NO_RIGHT}\n"
    assert result.exit_code == 0


def test_a_speaker_that_does_not_live_announces_nothing() -> None:
    world = World()
    world.objects["pods"][-1]["status"]["conditions"] = []
    assert "n3 → tor-a   no: no speaker lives on n3" in world.run("explain", "nginx").stdout


def test_node_and_peer_narrow_the_lines() -> None:
    lines = World().run("explain", "nginx", "--node", "n2", "--peer", "tor-b").stdout.splitlines()
    assert [line.split("  ")[-1] for line in lines if "→ tor-" in line] == [" confirmed on the wire 12m ago"]


def test_no_endpoint_is_a_problem_and_says_where_to_look() -> None:
    world = World()
    world.objects["virtualips"] = [claim("10.252.252.100", "web/nginx", holder={"serving": False})]
    world.objects["endpointslices"] = []
    result = world.run("explain", "nginx")
    assert "  BGP         no: no endpoint serves (none is ready)" in result.stdout.splitlines()
    assert result.exit_code == 1


def test_json_carries_reasons_with_their_names_and_words() -> None:
    world = World()
    world.objects["nodes"][2] = node("n3", **{EXCLUDE: ""})
    document = json.decode(world.run("explain", "nginx", "-o", "json").stdout)
    (item,) = document["items"]
    assert item["addresses"] == ["10.252.252.100"]
    assert item["pool"]["ranges"] == ["10.252.252.100-10.252.252.103"]
    line = item["bgp"][0]["lines"][-1]
    assert (line["node"], line["peer"], line["reason"]["reason"]) == ("n3", "tor-b", "NodeExcluded")


def layer2(owner: str) -> World:
    world = World()
    world.configure(replace(CONFIGURATION, bgp_advertisements=(), l2_advertisements=(LAYER2,)))
    holder = {"bgp": (), "l2": ("flat",)}
    world.objects["virtualips"] = [claim(ADDRESS, "web/nginx", holder=holder, candidates=NODES)]
    for name in NODES:
        world.reflexes[name] = reflex(name, {ADDRESS: held(owner, name == owner)})
    return world


@pytest.mark.parametrize("what", ["web/nginx", ADDRESS])
def test_in_l2_the_nodes_themselves_say_who_answers(what: str) -> None:
    world = layer2("n2")
    world.reflexes["n1"] = reflex("n1", {ADDRESS: held("n2")}, state="cut-off", why="no interface has a link")
    said = "n2 answers since 12m; n1 cut-off; n3 stands by"
    assert said in world.run("explain", what).stdout
    assert "n1 is first; n2, n3 stand by" in world.run("explain", what, "--no-wire").stdout
    world.forbidden = {"exec"}
    assert "n1 is first; n2, n3 stand by" in world.run("explain", what).stdout


def test_what_a_node_that_leaves_had_to_keep_in_l2_is_told() -> None:
    world = layer2("n1")
    world.report("n1", drain=(DrainReport(why="cordoned", answers=(ADDRESS,)),))
    assert "n1 answers since 12m; n2 stands by; n3 stands by; n1 leaves (cordoned), and nobody else may" in (
        world.run("explain", "web/nginx").stdout
    )
    world.report("n1", drain=(DrainReport(why="cordoned", withdrawn=1),))
    assert "leaves" not in world.run("explain", "web/nginx").stdout


def test_two_that_answer_are_told_by_explain_as_well() -> None:
    world = layer2("n1")
    world.reflexes["n2"] = reflex("n2", {ADDRESS: held("n2", True)})
    assert "(two answer for it: n1, n2)" in world.run("explain", "web/nginx").stdout


def test_a_node_that_saw_its_last_pod_end_says_so_here_and_in_the_list_of_what_is_not_sent() -> None:
    world = World()
    local = {"policy": "Local", "nodes": {"n1": 1, "n2": 2}}
    world.objects["virtualips"] = [claim("10.252.252.100", "web/nginx", holder=local)]
    world.report("n1", unserved=(UnservedReport("10.252.252.100", "web/nginx"),))
    words = "externalTrafficPolicy is Local, and the speaker on n1 saw the last Pod there end"
    shown = world.run("explain", "web/nginx").stdout
    assert [line for line in shown.splitlines() if words in line]
    assert "externalTrafficPolicy is Local and no endpoint serves on n3" in shown
    assert words in world.run("routes", "--not-sent").stdout
    assert "BGP         n2 announces it" in world.run("explain", "10.252.252.100").stdout
