"""`metalbgp services`: who has an address, who announces it; who has none, and why."""

from msgspec import json
from msgspec.structs import replace

from metalbgp.model.report import DutyReport
from tests.unit.cli.world import CONFIGURATION, LAYER2, World, claim, endpoints, service


def test_each_service_is_a_row_with_its_announcers() -> None:
    result = World().run("services")
    assert result.stdout.splitlines() == [
        "SERVICE     ADDRESS          POOL         POLICY    ENDPOINTS   BGP       L2   SINCE   PROBLEM",
        "web/nginx   10.252.252.100   production   Cluster   3/3         3 nodes   -    12m",
    ]
    assert result.exit_code == 0


def test_a_service_without_an_address_says_why() -> None:
    world = World()
    world.objects["services"].append(
        service("web/shop", annotations={"metallb.io/address-pool": "prodution"})
    )
    result = world.run("services", "--problems")
    (row,) = result.stdout.splitlines()[1:]
    assert row == (
        "web/shop   -         -      Cluster   0/0         -     -    20m     "
        'pool "prodution" does not exist; pools: lab-v6, production. Did you mean "production"?'
    )
    assert result.exit_code == 1
    document = json.decode(world.run("services", "-o", "json", "--problems").stdout)
    assert document["items"][0]["refused"]["reason"] == "UnknownPool"
    assert document["items"][0]["refused"]["remedy"].startswith("kubectl annotate -n web service shop")


def test_a_service_that_no_endpoint_serves_is_a_problem() -> None:
    world = World()
    world.objects["virtualips"] = [claim("10.252.252.100", "web/nginx", holder={"serving": False})]
    world.objects["endpointslices"] = [endpoints("web/nginx", "n1", "n2", ready=False)]
    row = world.run("services").stdout.splitlines()[1]
    assert row.endswith("not announced: none of 2 endpoints serves")
    world.objects["endpointslices"] = []
    assert world.run("services").stdout.splitlines()[1].endswith("not announced: it has no endpoint")


def test_in_l2_who_reports_that_it_answers_is_named_and_else_who_is_first() -> None:
    world = World()
    world.configure(replace(CONFIGURATION, bgp_advertisements=(), l2_advertisements=(LAYER2,)))
    holder = {"bgp": (), "l2": ("flat",)}
    world.objects["virtualips"] = [
        claim("10.252.252.100", "web/nginx", holder=holder, candidates=("n2", "n1"))
    ]
    assert "   -     n2 is first   12m" in world.run("services").stdout
    assert world.run("services", "--node", "n1").stdout.startswith("no Service of type LoadBalancer")
    world.report("n1", duties=(DutyReport("10.252.252.100"),), duties_total=1)
    row = world.run("services").stdout.splitlines()[1].split()
    assert row[5:7] == ["-", "n1"]


def test_another_class_is_not_ours_unless_the_controller_serves_it() -> None:
    world = World()
    world.objects["services"].append(service("web/other", loadBalancerClass="example.com/lb"))
    assert world.run("services", "-o", "name").stdout.split() == ["web/nginx"]
    template = world.objects["deployments"][0]["spec"]["template"]["spec"]
    template["containers"][0]["args"] = ["--lb-class=example.com/lb"]
    assert world.run("services", "-o", "name").stdout.split() == ["web/other"]


def test_without_the_right_to_see_services_there_is_no_answer() -> None:
    world = World()
    world.forbidden = {"services"}
    result = world.run("services")
    assert result.exit_code == 1
    assert result.stderr == "metalbgp: not allowed to read services; ask for ClusterRole metalbgp-viewer\n"


def test_without_endpointslices_the_claim_says_whether_any_serves() -> None:
    world = World()
    world.forbidden = {"endpointslices"}
    result = world.run("services")
    assert result.stdout.splitlines()[1].split()[4:7] == ["?", "3", "nodes"]
    assert result.exit_code == 0


def test_a_namespace_narrows_the_answer() -> None:
    world = World()
    world.objects["services"].append(service("shop/cart"))
    assert world.run("services", "-n", "web", "-o", "name").stdout.split() == ["web/nginx"]
