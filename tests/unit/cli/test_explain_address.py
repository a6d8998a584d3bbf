"""`metalbgp explain ADDRESS`: whose it is, or why it is nobody's, in the controller's own words."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.config import compiled
from metalbgp.model.configuration import Reservation
from tests.unit.cli.world import CONFIGURATION, SYSTEM, World, claim, node
from tests.values import block

PROMISE = Reservation(name="dns", addresses=("10.252.252.103",), namespace="web", service="dns")


def world(*claims: dict[str, Any]) -> World:
    found = World()
    found.objects["speakerconfigurations"] = [
        compiled.encode(replace(CONFIGURATION, reservations=(PROMISE,)), SYSTEM)
    ]
    found.objects["virtualips"] += claims
    return found


def said(text: str, *claims: dict[str, Any]) -> list[str]:
    return world(*claims).run("explain", text).stdout.splitlines()


POOL = "  pool        production 10.252.252.100/30 (real range .100 – .103), given to everybody"


def test_an_address_in_use_names_its_services_and_its_nodes() -> None:
    assert said("10.252.252.100") == [
        "10.252.252.100 is held by web/nginx",
        POOL,
        "  claim       VirtualIP 10.252.252.100, bound 12m ago",
        "  BGP         n1, n2, n3 announce it to tor-a, tor-b",
        "  L2          no node",
        "  more        metalbgp explain web/nginx",
    ]


def test_a_free_one_is_free_and_a_promised_one_says_to_whom() -> None:
    assert said("10.252.252.101") == ["10.252.252.101 is free", POOL]
    assert said("10.252.252.103") == [
        "10.252.252.103 is reserved for web/dns",
        POOL,
        "  reserved    by AddressReservation dns, for web/dns",
    ]


def test_what_waits_says_for_whom_and_until_when() -> None:
    waits = claim(
        "10.252.252.101", "web/gone", phase="cooling", kept_for=("web/gone",), until="2026-11-25T13:00:00Z"
    )
    del waits["spec"]["holders"]
    lines = said("10.252.252.101", waits)
    assert lines[0] == "10.252.252.101 is kept, and given to nobody else yet"
    assert "  kept        for web/gone, until 2026-11-25T13:00:00Z" in lines


def test_in_no_pool_and_of_the_cluster_itself_are_problems() -> None:
    result = world().run("explain", "203.0.113.9")
    assert result.exit_code == 1 and result.stdout.splitlines()[0] == "203.0.113.9 is in no pool"
    busy = world()
    busy.objects["nodes"][0]["status"]["addresses"] = [{"type": "InternalIP", "address": "10.252.252.102"}]
    result = busy.run("explain", "10.252.252.102")
    assert result.exit_code == 1
    assert "10.252.252.102 is given to nobody" in result.stdout
    assert "10.252.252.102 belongs to Node n1" in result.stdout


def test_another_installation_is_named() -> None:
    other = claim("10.252.252.101", "web/other")
    other["metadata"]["labels"]["metalbgp.io/installation"] = "edge"
    assert "  claim       installation edge has it" in said("10.252.252.101", other)


@pytest.mark.parametrize(
    "text",
    ["FD00::0001", " fd00::1", "fd00:0:0::1", "fd00::1/128", "fd00-0000-0000-0000-0000-0000-0000-0001"],
)
def test_any_spelling_of_an_address_is_that_address(text: str) -> None:
    assert said(text)[0] == "fd00::1 is free"


def test_an_ipv4_address_as_a_router_shows_it_and_a_network_that_is_none() -> None:
    assert said("10.252.252.101/32")[0] == "10.252.252.101 is free"
    result = world().run("explain", "10.252.252.0/24")
    assert result.exit_code == 2
    assert result.stderr == (
        "metalbgp: 10.252.252.0/24 is a network: name one address of it; "
        "metalbgp pools --addresses lists every address that is not free\n"
    )


def test_one_node_to_one_peer() -> None:
    found = world()
    found.objects["nodes"] = [node("n1")]
    found.configure(replace(CONFIGURATION, peers=CONFIGURATION.peers[:1]))
    assert (
        "  BGP         n1 announces it to tor-a" in found.run("explain", "10.252.252.100").stdout.splitlines()
    )


def test_who_may_not_read_nodes_is_told_so_and_nothing_false_about_them() -> None:
    found = world()
    found.forbidden = {"nodes"}
    result = found.run("explain", "10.252.252.100")
    assert "no node" not in result.stdout
    assert result.stdout.splitlines()[0] == "10.252.252.100 is held by web/nginx"
    assert result.stderr == "note: not allowed to read nodes; ask for ClusterRole metalbgp-viewer\n"


def test_an_address_that_its_pool_avoids_says_so() -> None:
    found = world()
    avoiding = replace(
        CONFIGURATION.pools[1], ranges=(block("10.252.251.0-10.252.251.255"),), avoid_buggy_ips=True
    )
    found.configure(replace(CONFIGURATION, pools=(avoiding,)))
    result = found.run("explain", "10.252.251.255")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "10.252.251.255 is given to nobody"
    assert "avoidBuggyIPs" in result.stdout


def test_as_json_it_is_a_value_of_its_own() -> None:
    found = json.loads(world().run("explain", "10.252.252.100", "-o", "json").stdout)
    assert found["kind"] == "AddressExplanation"
    (item,) = found["items"]
    assert (item["services"], item["bgpNodes"]) == (["web/nginx"], ["n1", "n2", "n3"])
