"""`metalbgp l2`: every node is asked, one answers for each address, all else is a problem."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.cli import l2
from metalbgp.cli.errors import Unreachable
from metalbgp.model.configuration import Preference
from metalbgp.model.report import DutyReport
from metalbgp.model.selectors import Selector
from tests.unit.cli.world import CONFIGURATION, LAYER2, World, claim
from tests.unit.cli.world_l2 import NODES, held, reflex

ADDRESS = "10.252.252.100"
OTHER = "02:66:66:66:66:66"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l2, "AGAIN", 0.0)


def flat(owner: str = "n1", **fields: Any) -> World:
    """One address of L2 with three candidates; every node sees the same owner."""
    world = World()
    world.configure(replace(CONFIGURATION, bgp_advertisements=(), l2_advertisements=(LAYER2,)))
    holder = {"bgp": (), "l2": ("flat",)}
    world.objects["virtualips"] = [claim(ADDRESS, "web/nginx", holder=holder, candidates=NODES, **fields)]
    for name in NODES:
        world.reflexes[name] = reflex(name, {ADDRESS: held(owner, name == owner)})
    return world


def node_lines(world: World, *words: str) -> list[str]:
    return [line for line in world.run("l2", *words).stdout.splitlines() if line[:4] in ("bad ", "warn")]


def row(world: World, *words: str) -> dict[str, Any]:
    (item,) = json.loads(world.run("l2", *words, "-o", "json").stdout)["items"]
    (found,) = item["addresses"]
    assert isinstance(found, dict)
    return found


def test_each_address_has_a_row_with_owner_candidates_and_the_last_takeover() -> None:
    result = flat().run("l2")
    head, line = result.stdout.splitlines()
    assert head.split() == [
        "ADDRESS",
        "SERVICE",
        "OWNER",
        "CANDIDATES",
        "SINCE",
        "TOOK",
        "ANSWERS",
        "CAUSE",
        "PROBLEM",
    ]
    assert [cell.strip() for cell in line.split("   ") if cell.strip()] == [
        *(ADDRESS, "web/nginx", "n1", "n1 answers, n2 stands-by, n3 stands-by"),
        *("12m", "0.31 s", "12", "n3 is silent"),
    ]
    assert (result.exit_code, result.stderr) == (0, "")


def test_every_speaker_is_asked_and_once_when_all_is_well() -> None:
    world = flat()
    world.run("l2")
    assert sorted(world.asked) == ["speaker-n1", "speaker-n2", "speaker-n3"]


def test_two_that_answer_are_a_problem() -> None:
    world = flat()
    world.reflexes["n2"] = reflex("n2", {ADDRESS: held("n2", True)})
    result = world.run("l2")
    assert "two answer for it: n1, n2" in result.stdout
    assert result.exit_code == 1
    assert row(world)["owners"] == ["n1", "n2"]


def test_a_takeover_in_the_middle_of_the_first_look_is_no_problem() -> None:
    world = flat()
    world.reflexes["n2"] = reflex("n2", {ADDRESS: held("n2", True)})
    execute = world.execute

    async def moving(*words: Any) -> str:
        if len(world.asked) == 3:
            world.reflexes["n1"] = reflex("n1", {ADDRESS: held("n2")})
        return await execute(*words)

    world.execute = moving  # type: ignore[method-assign]  # the world's own, but for one node
    result = world.run("l2")
    assert (result.exit_code, len(world.asked)) == (0, 6)
    assert row(world)["owner"] == "n2"


def test_an_address_that_nobody_owns_says_what_each_candidate_is() -> None:
    world = flat("")
    for name in NODES:
        world.reflexes[name] = reflex(name, {ADDRESS: held("")}, state="no-key", why="no heartbeat key")
    result = world.run("l2")
    assert "nobody answers: n1 no-key, n2 no-key, n3 no-key" in result.stdout
    assert "bad   n1: no-key: no heartbeat key" in result.stdout.splitlines()
    assert "n1: remedy: kubectl get secret -n metallb-system metalbgp-speaker" in result.stdout
    assert result.exit_code == 1


@pytest.mark.parametrize("state", ["no-key", "duplicate", "isolated", "cut-off"])
def test_a_node_that_cannot_own_what_it_should_is_a_problem(state: str) -> None:
    world = flat()
    world.reflexes["n3"] = reflex("n3", {ADDRESS: held("n1")}, state=state, why="because")
    assert node_lines(world) == [f"bad   n3: {state}: because"]
    assert world.run("l2").exit_code == 1
    assert row(world)["candidates"][2]["state"] == state


def test_a_node_that_listens_is_none() -> None:
    world = flat()
    world.reflexes["n3"] = reflex("n3", {ADDRESS: held("n1")}, state="listening")
    assert world.run("l2").exit_code == 0
    assert row(world)["candidates"][2]["state"] == "listening"


def test_heartbeats_by_udp_are_a_warning() -> None:
    world = flat()
    world.reflexes["n2"]["state"]["segments"]["eth0"]["transport"] = "udp"
    (line,) = node_lines(world)
    assert line.startswith("warn  n2: eth0: heartbeats go by UDP")
    assert world.run("l2").exit_code == 0


@pytest.mark.parametrize(
    ("mac", "ago", "code"), [(OTHER, 3.0, 1), ("02:00:00:00:00:02", 3.0, 0), (OTHER, 900.0, 0)]
)
def test_a_mac_that_no_node_has_is_a_problem_while_it_is_fresh(mac: str, ago: float, code: int) -> None:
    world = flat()
    conflict = {"address": ADDRESS, "interface": "eth0", "mac": mac, "seen": 5, "ago": ago}
    world.reflexes["n1"]["state"]["conflicts"] = [conflict]
    result = world.run("l2")
    assert result.exit_code == code
    said = f"{OTHER}, which is no node of ours, says it has it: seen by n1 on eth0 3s ago"
    assert (said in result.stdout) == bool(code)


def test_a_dead_node_delays_nothing_and_is_told_with_what_the_others_hear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = flat("n1")
    world.reflexes["n1"] = Unreachable("the API server does not reach its kubelet (502)")
    result = world.run("l2")
    assert (
        "bad   n1: no answer: the API server does not reach its kubelet (502); the others hear it: live"
        in (result.stdout.splitlines())
    )
    found = row(world)
    assert (found["owner"], found["owners"], found["problems"]) == ("n1", [], [])
    assert found["candidates"][0]["why"].startswith("heard by the others; no answer")


def test_a_silent_node_ends_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    from metalbgp.cli import reflexes

    async def hurried(*words: Any, **how: Any) -> Any:
        return await reflexes.ask_reflexes(*words, **how, limit=0.05)

    monkeypatch.setattr(l2, "ask_reflexes", hurried)
    world = flat("n1")
    world.reflexes["n3"] = None
    begun = asyncio.new_event_loop().time()
    (line,) = node_lines(world)
    assert line == "bad   n3: no answer within 0.05 s; the others hear it: live"
    assert asyncio.new_event_loop().time() - begun < 3


def test_without_the_right_to_exec_the_reports_are_shown_and_only_the_order_is_known() -> None:
    world = flat()
    world.forbidden = {"exec"}
    result = world.run("l2")
    assert "n1 is first" in result.stdout
    assert result.stderr.startswith("note: not allowed to ask the nodes who answers in L2")
    assert result.exit_code == 0
    world.report("n2", duties=(DutyReport(ADDRESS, ("web/nginx",), ("eth0",)),), layer2="active")
    found = row(world)
    assert (found["owner"], found["asked"], found["interfaces"]) == ("n2", False, ["eth0"])
    world.report("n1", layer2="no-key", layer2_why="no heartbeat key")
    assert node_lines(world) == ["bad   n1: no-key: no heartbeat key"]
    assert world.run("l2").exit_code == 1


def test_an_address_without_a_candidate_says_why() -> None:
    world = flat()
    holder = {"bgp": (), "l2": ("flat",), "serving": False}
    world.objects["virtualips"] = [claim(ADDRESS, "web/nginx", holder=holder)]
    for name in NODES:
        world.reflexes[name] = reflex(name)
    assert row(world)["problems"] == ["nobody answers: no endpoint serves"]


def test_an_address_that_nobody_asks_for_any_more_and_is_still_answered_is_a_problem() -> None:
    world = flat()
    world.objects["virtualips"] = []
    assert row(world)["problems"] == ["no VirtualIP asks for it, and n1 still answers"]


def test_addresses_stand_in_their_order_as_numbers_and_ipv6_comes_last() -> None:
    world = flat()
    addresses = ["10.252.252.9", "10.252.252.10", "10.252.252.100", "fd00::9", "fd00::10"]
    holder = {"bgp": (), "l2": ("flat",)}
    world.objects["virtualips"] = [
        claim(one, "web/nginx", holder=holder, candidates=NODES) for one in reversed(addresses)
    ]
    for name in NODES:
        world.reflexes[name] = reflex(name, {one: held("n1", name == "n1") for one in addresses})
    assert world.run("l2", "-o", "name").stdout.split() == addresses


def test_a_preference_is_told_also_while_that_node_has_no_live_speaker() -> None:
    """The place was given by the controller; that the node is away is its state."""
    world = flat()
    world.objects["pods"] = [one for one in world.objects["pods"] if one["metadata"]["name"] != "speaker-n3"]
    assert row(world)["candidates"][2]["place"] == "by the hash of node and address"


def test_node_namespace_and_problems_narrow_it() -> None:
    world = flat()
    assert ADDRESS in world.run("l2", "--node", "n2").stdout
    assert ADDRESS not in world.run("l2", "-n", "default").stdout
    assert world.run("l2", "--problems").stdout == "every address is answered for by one node\n"
    assert world.run("l2", "--node", "n9").exit_code == 2
    assert world.run("l2", "-o", "name").stdout == f"{ADDRESS}\n"
    assert "QUESTIONS" in world.run("l2", "-o", "wide").stdout


def test_no_address_in_l2_says_what_is_missing() -> None:
    said = World().run("l2").stdout
    assert said == "no address is answered for in L2: there is no L2Advertisement\n"


# ------------------------------------------------------------------ one in detail


@pytest.mark.parametrize("what", [ADDRESS, "web/nginx", "nginx"])
def test_one_address_shows_the_reason_for_each_place_and_its_segments(what: str) -> None:
    world = flat()
    chosen = Selector(labels={"rack": "a"})
    prefers = replace(LAYER2, preferences=(Preference(weight=10, selector=chosen),))
    world.configure(replace(CONFIGURATION, bgp_advertisements=(), l2_advertisements=(prefers,)))
    world.objects["nodes"][0]["metadata"]["labels"]["rack"] = "a"
    world.reflexes["n2"]["state"]["members"][0]["loss"] = 0.2
    result = world.run("l2", what)
    lines = result.stdout.splitlines()
    assert lines[:9] == [
        "10.252.252.100 is of web/nginx",
        "  pool        production",
        "  owner       n1 answers on eth0 since 12m: n3 is silent; it took 0.310 s",
        "  candidates  n1   answers     preferred, weight 10",
        "              n2   stands by   by the hash of node and address",
        "              n3   stands by   by the hash of node and address",
        "  sent        12 answers to 14 questions, 6 announcements",
        "  more        metalbgp l2 probe 10.252.252.100",
        "n1 active, owns 1 of 1",
    ]
    assert "  eth0        02:00:00:00:00:02, hears 2 nodes by ethernet" in lines
    assert "  hears       n1 live on eth0, 0.0 s ago, 20% lost" in lines
    assert result.exit_code == 0
    assert all(command[-1] == ADDRESS for command in world.commands)


def test_of_addresses_that_are_spread_the_first_place_is_not_the_hashes() -> None:
    world = flat()
    spread = replace(LAYER2, even=True)
    world.configure(replace(CONFIGURATION, bgp_advertisements=(), l2_advertisements=(spread,)))
    assert world.run("l2", ADDRESS).stdout.splitlines()[3:5] == [
        "  candidates  n1   answers     by spread: even",
        "              n2   stands by   by the hash of node and address",
    ]


def test_without_the_right_the_order_is_told_in_words() -> None:
    world = flat()
    world.forbidden = {"exec"}
    assert "  owner       n1 is first; n2, n3 stand by" in world.run("l2", ADDRESS).stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("10.252.252.103",), 'there is no address in L2 "10.252.252.103"; did you mean "10.252.252.100"?'),
        (("web/ngnix",), 'there is no Service with an address "web/ngnix"; did you mean "web/nginx"?'),
        (("a", "b"), "one address or one Service at a time, not 2"),
        (("probe",), "probe which address?"),
        (("probe", "web"), '"web" is no address: metalbgp l2 probe ADDRESS'),
    ],
)
def test_what_is_not_there_is_wrong_usage(words: tuple[str, ...], said: str) -> None:
    result = flat().run("l2", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"metalbgp: {said}")


def test_an_address_in_bgp_alone_points_to_explain() -> None:
    result = World().run("l2", ADDRESS)
    assert (result.exit_code, result.stderr) == (
        2,
        f"metalbgp: nobody is asked to answer for {ADDRESS} in L2; why: metalbgp explain web/nginx\n",
    )
