"""`metalbgp routes`: the wire's word on each route; a dead node is a row, a missing right is a line."""

import pytest
from msgspec.structs import replace

from metalbgp.cli import wire
from metalbgp.cli.errors import Unreachable
from metalbgp.config import compiled
from tests.unit.cli.world import (
    CONFIGURATION,
    EXCLUDE,
    LAYER2,
    World,
    claim,
    down,
    journal,
    node,
    session,
    waiting,
)

HEAD = "PREFIX              SERVICE     NODE   PEER    NEXT HOP        COMMUNITIES   LP   STATE       SINCE"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that never answers is given up at once."""
    ask_all = wire.ask_all.__defaults__
    monkeypatch.setattr(wire.ask_all, "__defaults__", (0.05,))
    assert ask_all == (5.0,)


def test_each_route_says_what_the_wire_carried() -> None:
    world = World()
    world.says["n3"] = journal("n3", tor_b="waiting")
    result = world.run("routes", "-n", "web")
    assert result.stdout.splitlines()[:2] == [
        HEAD,
        "10.252.252.100/32   web/nginx   n1     tor-a   10.252.252.11   64513:7       -    confirmed   12m",
    ]
    assert result.stdout.splitlines()[6] == (
        "10.252.252.100/32   web/nginx   n3     tor-b   -               64513:7       -    waiting     4m12s"
        "   session down"
    )
    assert result.exit_code == 1
    assert sorted(world.asked) == ["speaker-n1", "speaker-n2", "speaker-n3"]


def test_all_confirmed_is_exit_code_0() -> None:
    assert World().run("routes").exit_code == 0
    assert World().run("routes", "--problems").stdout == "every route is confirmed\n"


def test_a_node_that_never_answers_is_a_row_and_delays_nothing() -> None:
    world = World()
    world.says["n2"] = None
    result = world.run("routes")
    rows = result.stdout.splitlines()
    assert rows[-1].split() == [
        "-",
        "-",
        "n2",
        "-",
        "-",
        "-",
        "-",
        "silent",
        "-",
        *["no", "answer", "within", "0.05", "s"],
    ]
    assert len(rows) == 8, "what it reported last is shown as well"
    assert rows[3].endswith("confirmed   -       reported 2s ago")
    assert result.exit_code == 1


def test_a_node_that_fails_is_a_row_with_its_own_words() -> None:
    world = World()
    world.says["n2"] = Unreachable("no answer from the speaker's parent: [Errno 111] Connection refused")
    row = world.run("routes").stdout.splitlines()[-1]
    assert row.endswith("no answer: no answer from the speaker's parent: [Errno 111] Connection refused")


def test_an_answer_that_cannot_be_read_is_a_row() -> None:
    world = World()
    world.says["n2"] = {"sessions": [], "routes": [["short"]]}
    assert "an answer that cannot be read" in world.run("routes").stdout.splitlines()[-1]


def test_a_speaker_that_does_not_run_is_not_asked() -> None:
    world = World()
    world.objects["pods"][-1]["status"] = {"phase": "Pending"}
    result = world.run("routes", "--node", "n3")
    assert result.stdout.splitlines()[-1].endswith("speaker speaker-n3 is Pending")
    assert world.asked == []


def test_without_the_right_to_exec_there_is_one_line_and_the_reports_are_shown() -> None:
    world = World()
    world.forbidden = {"exec"}
    world.report("n3", session("tor-a"), down(), unconfirmed=(waiting(),))
    result = world.run("routes")
    assert result.stderr.splitlines() == [f"note: {wire.NO_RIGHT}"]
    rows = result.stdout.splitlines()
    assert [row.split()[6:8] for row in rows[1:]] == [["-", "confirmed"]] * 5 + [["-", "waiting"]]


def test_no_wire_asks_nobody() -> None:
    world = World()
    result = world.run("routes", "--no-wire")
    assert world.asked == []
    assert result.exit_code == 0
    assert result.stderr == ""


def test_a_report_that_has_no_room_for_a_route_leaves_it_unknown() -> None:
    world = World()
    world.report("n1", session("tor-a", routes_wanted=900, routes_confirmed=1), session("tor-b"))
    rows = world.run("routes", "--no-wire", "--node", "n1").stdout.splitlines()
    assert [row.split()[7] for row in rows[1:]] == ["unknown", "confirmed"]


def test_a_route_that_the_speaker_lacks_is_missing() -> None:
    world = World()
    world.says["n1"] = {"sessions": [], "routes": []}
    result = world.run("routes", "--node", "n1")
    assert [row.split()[7] for row in result.stdout.splitlines()[1:]] == ["missing", "missing"]
    assert result.exit_code == 1


def test_a_route_that_may_wait_for_its_delay_says_so() -> None:
    world = World()
    world.says["n1"] = {"sessions": [], "routes": []}
    slow = replace(CONFIGURATION.bgp_advertisements[0], announce_delay=2500)
    made = replace(CONFIGURATION, bgp_advertisements=(slow,))
    world.objects["speakerconfigurations"] = [compiled.encode(made, "metallb-system")]
    rows = world.run("routes", "--node", "n1").stdout.splitlines()[1:]
    assert all(row.endswith("the speaker does not have it (yet, announce-delay is 2.5 s)") for row in rows)
    explained = world.run("explain", "web/nginx", "--node", "n1").stdout
    assert (
        "n1 → tor-a   not yet: the speaker does not have it, or it waits for its announce-delay" in explained
    )


def test_a_route_that_nobody_wants_any_more_keeps_its_service() -> None:
    world = World()
    world.objects["nodes"][0] = node("n1", **{EXCLUDE: ""})
    said = journal("n1")
    said["routes"] = [[*row[:2], None, row[3], row[4], "withdrawing", row[6]] for row in said["routes"]]
    world.says["n1"] = said
    rows = world.run("routes", "--node", "n1", "-n", "web").stdout.splitlines()
    assert [row.split()[1] for row in rows[1:]] == ["web/nginx", "web/nginx"]
    assert " withdrawing " in rows[1]


def test_peer_is_the_adj_rib_out_of_that_peer() -> None:
    rows = World().run("routes", "--peer", "tor-b").stdout.splitlines()
    assert [row.split()[3] for row in rows[1:]] == ["tor-b"] * 3


def test_another_namespace_has_no_routes() -> None:
    assert World().run("routes", "-n", "default").stdout.startswith("no route is wanted")


def test_all_namespaces_wins_over_one() -> None:
    assert len(World().run("routes", "-n", "default", "-A").stdout.splitlines()) == 7


def test_both_shapes_of_a_journal_are_read() -> None:
    world = World()
    world.says = {name: {"journal": said} for name, said in world.says.items()}
    assert world.run("routes").exit_code == 0


def test_names_are_node_peer_prefix() -> None:
    said = World().run("routes", "--node", "n1", "-o", "name").stdout.split()
    assert said == ["n1/tor-a/10.252.252.100/32", "n1/tor-b/10.252.252.100/32"]


def test_not_sent_says_why_and_what_to_do() -> None:
    world = World()
    world.objects["nodes"][2] = node("n3", **{EXCLUDE: ""})
    result = world.run("routes", "--not-sent")
    assert result.stdout.splitlines()[1:] == [
        "10.252.252.100   web/nginx   n3     -      bgp        -               "
        f"n3 has label {EXCLUDE} (remedy: kubectl label node n3 {EXCLUDE}-)"
    ]
    assert world.asked == []
    assert result.exit_code == 0


def test_what_holds_on_every_node_is_one_row() -> None:
    world = World()
    world.objects["virtualips"] = [claim("10.252.252.100", "web/nginx", holder={"serving": False})]
    rows = world.run("routes", "--not-sent").stdout.splitlines()
    assert len(rows) == 2
    assert "every node" in rows[1]
    assert "no endpoint serves" in rows[1]


def test_addresses_in_l2_are_pointed_at() -> None:
    world = World()
    world.configure(replace(CONFIGURATION, bgp_advertisements=(), l2_advertisements=(LAYER2,), peers=()))
    world.says = {name: {"sessions": [], "routes": []} for name in world.says}
    world.objects["virtualips"] = [
        claim("10.252.252.100", "web/nginx", holder={"bgp": (), "l2": ("flat",)}, candidates=("n2", "n1"))
    ]
    world.report("n2", session("tor-a"), duties_total=1)
    result = world.run("routes")
    assert result.stdout.splitlines() == [
        "no route: there is no BGPPeer",
        "1 address is answered for in L2 (ARP, NDP); which: metalbgp services",
    ]
