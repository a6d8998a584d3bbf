"""`metalbgp plan`: what a change would do on every node, and that nothing is written."""

import json
from pathlib import Path
from typing import Any

import yaml
from msgspec.structs import replace

from metalbgp.model.report import OrderReport
from tests.unit.cli.world import CONFIGURATION, LAYER2, NODES, SYSTEM, World, claim, endpoints, service

POOL = {
    "apiVersion": "metallb.io/v1beta1",
    "kind": "IPAddressPool",
    "metadata": {"name": "production", "namespace": SYSTEM},
    "spec": {"addresses": ["10.252.252.100/30"]},
}
EXTERNAL: dict[str, Any] = {
    "apiVersion": "metallb.io/v1beta1",
    "kind": "BGPAdvertisement",
    "metadata": {"name": "external", "namespace": SYSTEM},
    "spec": {"communities": ["64513:7"]},
}


def tor(name: str, address: str, **spec: Any) -> dict[str, Any]:
    whole = {"myASN": 64513, "peerASN": 64512, "peerAddress": address, **spec}
    about = {"name": name, "namespace": SYSTEM}
    return {"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": about, "spec": whole}


A, B = tor("tor-a", "10.252.252.1", enableGracefulRestart=True), tor("tor-b", "10.252.252.2")


def planned(tmp_path: Path, *documents: dict[str, Any], world: World | None = None) -> tuple[int, list[str]]:
    """The lines, of a cluster whose objects are what its configuration was made from."""
    found = world or World()
    found.objects["ipaddresspools"] = [POOL]
    found.objects["bgppeers"] = [A, B]
    found.objects["bgpadvertisements"] = [EXTERNAL]
    path = tmp_path / "change.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    result = found.run("plan", str(path))
    assert found.written == []
    return result.exit_code, result.stdout.splitlines()


def test_what_stands_already_changes_nothing(tmp_path: Path) -> None:
    assert planned(tmp_path, EXTERNAL, A, B, POOL) == (0, ["nothing would change"])


def test_an_attribute_changes_every_route_and_ends_no_session(tmp_path: Path) -> None:
    marked = {**EXTERNAL, "spec": {"communities": ["64513:7", "no-export"]}}
    code, lines = planned(tmp_path, marked)
    assert code == 0
    words = "64513:7 → 64513:7 65535:65281"
    assert lines[0] == f"~ route     10.252.252.100/32   n1 → tor-a   {words}"
    assert len(lines) == 7 and lines[-1] == "6 routes changed"


def test_an_aggregate_takes_the_place_of_the_host_route(tmp_path: Path) -> None:
    code, lines = planned(
        tmp_path, {**EXTERNAL, "spec": {"communities": ["64513:7"], "aggregationLength": 30}}
    )
    assert code == 1
    assert "+ route     10.252.252.100/30   n1 → tor-a   64513:7" in lines
    assert "- route     10.252.252.100/32   n1 → tor-a" in lines
    assert lines[-1] == "6 routes added; 6 routes removed"


def test_sessions_that_would_reset_name_the_fields_and_those_that_live_on_are_not_named(
    tmp_path: Path,
) -> None:
    code, lines = planned(
        tmp_path,
        tor("tor-a", "10.252.252.1", enableGracefulRestart=True, holdTime="30s"),
        tor("tor-b", "10.252.252.2", connectTime="5s"),
    )
    assert code == 1
    assert [line for line in lines if "session" in line] == [
        "~ session   n1 → tor-a   reset: hold_time",
        "~ session   n2 → tor-a   reset: hold_time",
        "~ session   n3 → tor-a   reset: hold_time",
        "3 sessions reset",
    ]


def test_a_pool_that_is_taken_away_says_who_loses_what_and_gets_what(tmp_path: Path) -> None:
    world = World()
    world.objects["services"].append(service("web/waits"))
    other = {**POOL, "spec": {"addresses": ["10.252.252.101-10.252.252.103"]}}
    code, lines = planned(tmp_path, other, world=world)
    assert code == 1
    assert lines[0].startswith("- address   web/nginx would lose 10.252.252.100 and get 10.252.252.101: ")
    assert lines[1] == "+ address   web/waits would get 10.252.252.102"
    assert "+ route     10.252.252.101/32   n1 → tor-a   64513:7" in lines


def test_what_is_wrong_changes_nothing_and_is_said(tmp_path: Path) -> None:
    code, lines = planned(tmp_path, {**EXTERNAL, "spec": {"communities": ["nonsense"]}})
    assert code == 1
    assert lines[0].startswith("wrong      BGPAdvertisement external: spec.communities[0]: ")
    assert lines[1:] == ["nothing would change"]


def test_as_json_it_has_every_route(tmp_path: Path) -> None:
    world = World()
    world.objects["ipaddresspools"], world.objects["bgppeers"] = [POOL], [A, B]
    world.objects["bgpadvertisements"] = [EXTERNAL]
    path = tmp_path / "change.yaml"
    path.write_text(yaml.safe_dump({**EXTERNAL, "spec": {"peers": ["tor-a"], "communities": ["64513:7"]}}))
    (found,) = json.loads(world.run("plan", str(path), "-o", "json").stdout)["items"]
    assert {(one["node"], one["peer"], one["what"]) for one in found["routes"]} == {
        (node, "tor-b", "removed") for node in ("n1", "n2", "n3")
    }


def test_spreading_addresses_evenly_names_those_that_would_move_and_no_other(tmp_path: Path) -> None:
    """All three stand on n1; how they got there does not matter."""
    world = World()
    world.configure(replace(CONFIGURATION, bgp_advertisements=(), l2_advertisements=(LAYER2,)))
    about = {"name": "flat", "namespace": SYSTEM}
    layer2 = {"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": about, "spec": {}}
    names = ["web/nginx", "web/b", "web/c"]
    world.objects["services"] = [service(name) for name in names]
    world.objects["endpointslices"] = [endpoints(name, "n1") for name in names]
    world.objects["virtualips"] = [
        claim(f"10.252.252.10{number}", name, holder={"bgp": (), "l2": ("flat",)}, candidates=NODES)
        for number, name in enumerate(names)
    ]
    world.objects["ipaddresspools"], world.objects["bgppeers"] = [POOL], [A, B]
    world.objects["bgpadvertisements"], world.objects["l2advertisements"] = [], [layer2]
    path = tmp_path / "change.yaml"
    notes = {"metalbgp.io/spread": "even"}
    path.write_text(yaml.safe_dump({**layer2, "metadata": {**about, "annotations": notes}}))
    lines = world.run("plan", str(path)).stdout.splitlines()
    assert lines == [
        "~ L2        10.252.252.100   n1 → n3",
        "~ L2        10.252.252.101   n1 → n2",
        "2 L2 addresses elsewhere",
    ]


def order(action: str, target: str, **fields: Any) -> OrderReport:
    return OrderReport(
        name=f"{action.lower()}-{target}",
        action=action,
        target=target,
        author="eve",
        reason="fibre",
        **fields,
    )


def obeyed(*orders: OrderReport, nodes: tuple[str, ...] = NODES) -> World:
    world = World()
    for name in nodes:
        world.report(name, orders=orders)
    return world


def test_an_address_that_is_held_comes_to_no_router_and_the_order_is_named(tmp_path: Path) -> None:
    world = obeyed(order("Hold", "10.252.252.101"))
    world.objects["services"].append(service("web/second"))
    world.objects["endpointslices"].append(endpoints("web/second", "n1"))
    code, lines = planned(tmp_path, EXTERNAL, world=world)
    assert lines == [
        "+ address   web/second would get 10.252.252.101",
        "! hold      10.252.252.101   held by eve: fibre; while it is in force it keeps away 6 routes",
        "nothing is lost",
    ]
    assert code == 0


def test_an_order_for_one_node_keeps_away_what_that_node_would_announce(tmp_path: Path) -> None:
    held = order("Hold", "10.252.252.100", node="n2")
    marked = {**EXTERNAL, "spec": {"communities": ["64513:7", "no-export"]}}
    _, lines = planned(tmp_path, marked, world=obeyed(held, nodes=("n2",)))
    assert [line.split()[3] for line in lines if line.startswith("~ route")] == ["n1", "n1", "n3", "n3"]
    assert lines[-2:] == [
        "! hold      10.252.252.100   held on n2 by eve: fibre; while it is in force it keeps away 2 routes",
        "4 routes changed",
    ]


def test_a_peer_that_is_shut_gets_neither_session_nor_routes(tmp_path: Path) -> None:
    world = obeyed(order("Shut", "tor-c"), order("Shut", "tor-b"))
    code, lines = planned(
        tmp_path, tor("tor-c", "10.252.252.3"), tor("tor-b", "10.252.252.2", holdTime="30s"), world=world
    )
    shut = "the session is shut by eve: fibre; while it is in force it keeps away"
    assert lines == [
        f"! shut      tor-b   {shut} 3 sessions",
        f"! shut      tor-c   {shut} 3 routes, 3 sessions",
        "nothing would change",
    ]
    assert code == 0


def test_orders_about_what_the_files_do_not_touch_are_not_named(tmp_path: Path) -> None:
    world = obeyed(order("Shut", "tor-b"), order("Hold", "10.252.252.103"))
    marked = {**EXTERNAL, "spec": {"communities": ["64513:7"], "peers": ["tor-a"]}}
    code, lines = planned(tmp_path, marked, world=world)
    assert (code, lines) == (0, ["nothing would change"]), "the peer that is shut has no route to lose"


def test_nobody_answers_for_a_held_address_in_layer_2(tmp_path: Path) -> None:
    world = obeyed(order("Hold", "10.252.252.100"))
    world.configure(replace(CONFIGURATION, bgp_advertisements=()))
    about = {"name": "flat", "namespace": SYSTEM}
    layer2 = {"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": about, "spec": {}}
    world.objects["ipaddresspools"], world.objects["bgppeers"] = [POOL], [A, B]
    path = tmp_path / "change.yaml"
    path.write_text(yaml.safe_dump(layer2))
    assert world.run("plan", str(path)).stdout.splitlines() == [
        "! hold      10.252.252.100   held by eve: fibre; while it is in force it keeps away 1 L2 address",
        "nothing would change",
    ]
