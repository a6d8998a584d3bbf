"""hold, shut and their opposites: one order for one thing, near misses named, all see who said no."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.config import orders
from metalbgp.model.orders import Order
from metalbgp.model.report import DrainReport, OrderReport
from tests.unit.cli.world import SYSTEM, World, before, claim, session
from tests.unit.cli.world_l2 import NOW

ADDRESS = "10.252.252.100"
HELD = OrderReport(
    name=f"hold-{ADDRESS}",
    action="Hold",
    target=ADDRESS,
    author="eve",
    reason="fibre work",
    expires="2026-01-02T00:00:00Z",
    created=before(minutes=3),
)


def put(world: World, order: Order, **meta: Any) -> None:
    body = orders.encode(order, SYSTEM)
    body["metadata"] |= {"creationTimestamp": before(minutes=3), **meta}
    world.objects.setdefault("speakerorders", []).append(body)


def specs(world: World) -> list[dict[str, Any]]:
    return [one["spec"] for one in world.objects.get("speakerorders", [])]


def hold(**fields: Any) -> Order:
    return Order(**{"name": f"hold-{ADDRESS}", "action": "Hold", "address": ADDRESS, **fields})


def obeyed(world: World, *, only: tuple[str, ...] = ("n1", "n2", "n3"), order: OrderReport = HELD) -> None:
    for name in only:
        world.report(name, orders=(order,))


def test_a_hold_says_who_why_and_until_when() -> None:
    world = World()
    result = world.run("hold", ADDRESS, "--reason", "fibre work", "--for", "2h")
    until = (NOW + timedelta(hours=2)).isoformat().replace("+00:00", "Z")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{ADDRESS} is held until {until}",
        "who obeys: metalbgp orders",
        f"back: metalbgp unhold {ADDRESS}",
    ]
    assert specs(world) == [
        {"action": "Hold", "address": ADDRESS, "reason": "fibre work", "author": "eve", "expires": until}
    ]


def test_a_service_is_held_by_its_addresses_and_for_one_node_where_that_is_said() -> None:
    world = World()
    world.objects["virtualips"].append(claim("10.252.252.101", "web/nginx"))
    assert world.run("hold", "nginx", "--node", "n2").exit_code == 0
    assert [(one["address"], one["node"]) for one in specs(world)] == [
        (ADDRESS, "n2"),
        ("10.252.252.101", "n2"),
    ]
    assert world.run("unhold", "web/nginx", "--node", "n2").exit_code == 0
    assert specs(world) == []


def test_a_second_hold_changes_the_first_and_forgets_what_it_does_not_say() -> None:
    world = World()
    put(world, hold(reason="fibre work", author="mallory", expires="2026-01-01T00:00:00Z"))
    result = world.run("hold", ADDRESS)
    assert "(the order that stood is changed)" in result.stdout
    assert specs(world) == [{"action": "Hold", "address": ADDRESS, "author": "eve"}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("hold", "10.9.9.9"), "10.9.9.9 is in no pool, so no speaker announces it"),
        (("hold", "web/ngin"), 'there is no Service "web/ngin"; did you mean "web/nginx"?'),
        (("hold", ADDRESS, "--node", "n4"), 'there is no node "n4"; did you mean'),
        (("hold", ADDRESS, "--for", "2"), '--for: "2" is not a duration; write "2s"'),
        (("hold", ADDRESS, "--for", "0s"), "--for: 0s is not more than nothing"),
        (("shut", "tor-c"), 'there is no peer "tor-c"; did you mean'),
        (("unhold", "10.252.252.102"), f'there is no hold of "10.252.252.102"; did you mean "{ADDRESS}"?'),
        (("unshut", "tor-a"), 'there is no shut of "tor-a"; there is none'),
        (
            ("unhold", ADDRESS, "--node", "n1"),
            f"{ADDRESS} is not held on n1, but on every node",
        ),
    ],
)
def test_a_name_that_nothing_answers_to_is_usage(words: tuple[str, ...], said: str) -> None:
    world = World()
    put(world, hold())
    result = world.run(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert specs(world) == [orders.spec_of(hold())]


def test_who_may_not_order_is_told_which_role_he_lacks() -> None:
    world = World()
    world.forbidden.add("speakerorders")
    result = world.run("hold", ADDRESS)
    assert result.exit_code == 1
    assert "not allowed to write speakerorders; ask for ClusterRole metalbgp-operator" in result.stderr


def test_without_the_kind_it_is_said_where_it_comes_from() -> None:
    world = World()
    world.absent.add("speakerorders")
    result = world.run("shut", "tor-a")
    assert result.exit_code == 1 and "there is no kind SpeakerOrder here yet" in result.stderr
    assert world.run("orders").exit_code == 0


def test_a_peer_is_shut_by_name_or_address_and_comes_back() -> None:
    world = World()
    assert world.run("shut", "10.252.252.2", "--reason", "new card").exit_code == 0
    assert specs(world) == [{"action": "Shut", "peer": "tor-b", "reason": "new card", "author": "eve"}]
    result = world.run("unshut", "tor-b")
    assert result.stdout == "tor-b is no longer shut (by eve, new card)\n"
    assert specs(world) == []


def test_an_order_made_by_hand_is_taken_back_as_well() -> None:
    world = World()
    put(world, hold(name="mine"))
    assert world.run("unhold", ADDRESS).exit_code == 0
    assert specs(world) == []


def test_the_list_says_who_obeys_and_a_speaker_that_does_not_is_a_problem() -> None:
    world = World()
    put(world, hold(author="eve", reason="fibre work", expires="2026-01-02T00:00:00Z"))
    world.objects["speakerorders"][0]["spec"]["expires"] = (NOW + timedelta(hours=1)).isoformat()
    obeyed(world)
    head, row = world.run("orders").stdout.splitlines()
    assert head.split() == ["ORDER", "TARGET", "NODE", "BY", "AGE", "UNTIL", "OBEYED", "REASON"]
    assert row.startswith(f"Hold    {ADDRESS}   every   eve   3m00s") and row.endswith("3/3      fibre work")
    world.report("n3")
    result = world.run("orders", "--problems")
    assert result.exit_code == 1 and "2/3, not by n3" in result.stdout


def test_an_order_that_is_over_is_shown_as_such_and_one_of_a_nodes_own_socket_too() -> None:
    world = World()
    put(world, hold(expires=before(minutes=1)))
    mine = OrderReport(name=f"local-{ADDRESS}", action="Hold", target=ADDRESS, local=True)
    obeyed(world, only=("n2",), order=mine)
    rows = world.run("orders").stdout.splitlines()[1:]
    assert "n2" in rows[0] and "by its socket" in rows[0]
    assert "over, 1m00s ago" in rows[1]
    result = world.run("unhold", ADDRESS)
    assert "still held on n2 by its own socket (metalbgp unhold --local there)" in result.stderr


def test_explain_shows_the_order_instead_of_the_nodes() -> None:
    world = World()
    obeyed(world)
    said = f"held by eve, until {HELD.expires}: fibre work"
    service = world.run("explain", "web/nginx")
    assert f"  BGP         no: {said}" in service.stdout
    assert f"  remedy      metalbgp unhold {ADDRESS}" in service.stdout
    address = world.run("explain", ADDRESS).stdout
    assert f"  order       {said} (metalbgp unhold {ADDRESS})" in address
    assert "  BGP         no node" in address
    assert said in world.run("routes", "--not-sent").stdout


def test_explain_shows_an_order_of_one_node_on_its_line() -> None:
    world = World()
    alone = OrderReport(name="x", action="Shut", target="tor-b", node="n2", author="eve")
    obeyed(world, only=("n2",), order=alone)
    said = world.run("explain", "web/nginx").stdout
    assert "n2 → tor-b   no: the session is shut on n2 by eve" in said
    assert "n1 → tor-b   confirmed" in said


def test_a_shut_session_is_no_problem_and_status_has_a_line_for_orders() -> None:
    world = World()
    shut = OrderReport(name="shut-tor-b", action="Shut", target="tor-b", author="eve", reason="new card")
    for name in ("n1", "n2", "n3"):
        down = session("tor-b", state="Shut", routes_wanted=0, routes_confirmed=0)
        world.report(name, session("tor-a"), down, orders=(shut,))
    result = world.run("status")
    assert result.exit_code == 0
    assert "sessions     3 of 3 established" in result.stdout
    assert result.stdout.splitlines()[-1] == "orders       shut tor-b by eve: new card"
    assert world.run("sessions").exit_code == 0


ORDER = """\
apiVersion: metalbgp.io/v1alpha1
kind: SpeakerOrder
metadata: {name: mine}
spec:
"""


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{action: Hold, address: 10.0.0.1}", []),
        ("{action: Hold}", ["spec.address: is missing: a Hold needs it"]),
        ("{action: Drain, node: n1, peer: tor}", ["spec.peer: a Drain has none"]),
        (
            "{action: Hold, adress: 10.0.0.1}",
            ['spec.adress: there is no such field (did you mean "address"?'],
        ),
        ("{action: Shut, peer: tor, expires: soon}", ['spec.expires: "soon" is no time']),
    ],
)
def test_validate_judges_orders_as_well(spec: str, said: list[str], tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(f"{ORDER}  {spec}\n")
    result = World().run("validate", str(path))
    assert result.exit_code == int(bool(said))
    found = [line for line in result.stdout.splitlines() if "SpeakerOrder mine" in line]
    assert len(found) == len(said)
    for line, words in zip(found, said, strict=True):
        assert words in line


LEAVES = DrainReport(why="drained by eve: new disk", withdrawn=1, eased=1, stays=("10.252.252.101/32",))
DRAINED = OrderReport(
    name="drain-n1", action="Drain", target="n1", node="n1", author="eve", reason="new disk"
)


def test_a_node_is_drained_and_comes_back() -> None:
    world = World()
    assert world.run("drain", "n1", "--reason", "new disk").stdout.splitlines() == [
        "n1 is drained",
        "who obeys: metalbgp orders",
        "back: metalbgp undrain n1",
    ]
    assert specs(world) == [{"action": "Drain", "node": "n1", "reason": "new disk", "author": "eve"}]
    obeyed(world, only=("n1",), order=DRAINED)
    (row,) = world.run("orders", "--node", "n1").stdout.splitlines()[1:]
    assert row.split()[:4] == ["Drain", "n1", "-", "eve"] and "1/1" in row
    assert world.run("undrain", "n2").exit_code == 2
    assert world.run("undrain", "n1").stdout == "n1 is no longer drained (by eve, new disk)\n"
    assert specs(world) == []


def test_what_a_node_that_leaves_withdrew_is_missing_nowhere() -> None:
    world = World()
    world.report("n1", orders=(DRAINED,), drain=(LEAVES,))
    world.says["n1"]["routes"] = world.says["n1"]["routes"][:1]  # to tor-b it is withdrawn
    eased = {"communities": [[64513, 7], [65535, 0]], "local_preference": 0}
    world.says["n1"]["routes"][0][2:5] = [eased, eased, eased]
    said = world.run("explain", "web/nginx").stdout
    assert "n1 → tor-a   confirmed on the wire 12m ago, less preferred: n1 leaves (drained by eve" in said
    assert "n1 → tor-b   n1 leaves (drained by eve: new disk)" in said
    result = world.run("routes", "--node", "n1")
    assert result.exit_code == 0 and "missing" not in result.stdout
    status = world.run("status").stdout.splitlines()[-1]
    assert status == (
        "orders       drain n1 by eve: new disk · n1 leaves (drained by eve: new disk): 1 route withdrawn, "
        "1 less preferred, nobody else announces 10.252.252.101/32"
    )


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (Order(name="a", action="Drain", node="n9"), "0/0, no speaker ever reported from n9"),
        (Order(name="b", action="Shut", peer="tor-z"), "0/3, there is no peer tor-z"),
        (Order(name="c", action="Hold", address="192.0.2.1"), "0/3, 192.0.2.1 is in no pool"),
    ],
    ids=lambda value: getattr(value, "action", ""),
)
def test_an_order_about_what_is_not_there_says_so(order: Order, words: str) -> None:
    world = World()
    put(world, order)
    assert words in world.run("orders").stdout


def test_a_reason_that_no_order_can_carry_is_wrong_usage_and_nothing_is_written() -> None:
    world = World()
    result = world.run("shut", "tor-b", "--reason", "x" * 1025)
    assert result.exit_code == 2 and "--reason has 1025 characters, 1024 at most" in result.stderr
    assert specs(world) == []


def test_a_release_of_a_peer_without_a_limit_says_that_nothing_is_held_back() -> None:
    result = World().run("release", "tor-b")
    assert result.exit_code == 0 and "tor-b has no metalbgp.io/withdraw-limit" in result.stderr


def test_a_speaker_that_cannot_report_all_of_its_orders_is_not_accused() -> None:
    world = World()
    put(world, hold())
    obeyed(world, only=("n1", "n2"))
    assert world.run("orders").exit_code == 1
    world.report("n3", orders=(replace(HELD, name="another"),), orders_total=2)
    result = world.run("orders")
    assert result.exit_code == 0 and "not by" not in result.stdout


def test_without_an_api_server_a_hold_names_the_way_that_needs_none() -> None:
    world = World()
    world.unreachable = True
    result = world.run("hold", ADDRESS)
    assert result.exit_code == 1 and "metalbgp hold --local ADDRESS --for 1h" in result.stderr
