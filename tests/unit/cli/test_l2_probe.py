"""`metalbgp l2 probe`: several nodes ask the wire; one answer by the owner is fine, all else is not."""

import json
from typing import Any

import pytest

from tests.unit.cli.test_l2 import ADDRESS, OTHER, flat
from tests.unit.cli.world import World
from tests.unit.cli.world_l2 import NODES, mac_of


def heard(*macs: str, **fields: Any) -> dict[str, Any]:
    answers = [{"interface": "eth0", "mac": mac, "ms": 0.4, "times": 3} for mac in macs]
    return {"address": ADDRESS, "asked": ["eth0"], "answers": answers, "failed": {}, **fields}


def probing(**wire: Any) -> World:
    """n1 owns it; what each node hears may be given, else n2 and n3 hear n1."""
    world = flat()
    world.wire = {"n1": heard(), "n2": heard(mac_of("n1")), "n3": heard(mac_of("n1")), **wire}
    return world


def verdict(world: World, *words: str) -> tuple[str, str, int]:
    result = world.run("l2", "probe", ADDRESS, *words, "-o", "json")
    (item,) = json.loads(result.stdout)["items"]
    return item["verdict"], item["message"], result.exit_code


def test_one_answer_by_the_owner_is_fine() -> None:
    result = probing().run("l2", "probe", ADDRESS)
    assert result.stdout.splitlines() == [
        "ASKED BY   INTERFACE   ANSWERED BY   MAC                 TIMES   AFTER",
        "n1         eth0        nobody        -                   -       -",
        "n2         eth0        n1            02:00:00:00:00:01   3       0.4 ms",
        "n3         eth0        n1            02:00:00:00:00:01   3       0.4 ms",
        "answered by n1, which owns it",
    ]
    assert result.exit_code == 0


def test_it_asks_on_the_interfaces_that_the_reflex_uses() -> None:
    world = probing()
    world.reflexes["n2"]["state"]["interfaces"] = ["bond0", "eth0"]
    world.run("l2", "probe", ADDRESS)
    assert ("python3", "-S", "-m", "metalbgp.l2.ask", ADDRESS, "bond0", "eth0") in world.commands


@pytest.mark.parametrize(
    ("wire", "said", "message"),
    [
        ({"n3": heard(mac_of("n1"), mac_of("n2"))}, "two-answer", f"two answer for {ADDRESS}: n1 and n2"),
        (
            {"n1": heard(OTHER)},
            "two-answer",
            f"two answer for {ADDRESS}: n1 and {OTHER}, no node of ours",
        ),
        (
            {"n2": heard(), "n3": heard()},
            "nobody-answers",
            f"nobody answers for {ADDRESS}; n1 says it does; asked by n1, n2, n3",
        ),
        (
            {"n2": heard(OTHER), "n3": heard(OTHER)},
            "foreign-answers",
            f"answered by {OTHER}, which is no node of ours",
        ),
        (
            {"n2": heard(), "n3": heard(mac_of("n2"))},
            "wrong-answers",
            "answered by n2, but n1 owns it (its kernel? metalbgp doctor)",
        ),
    ],
)
def test_what_is_heard_means_one_thing(wire: dict[str, Any], said: str, message: str) -> None:
    assert verdict(probing(**wire)) == (said, message, int(said != "answered"))


def test_the_owner_alone_cannot_tell() -> None:
    said, message, code = verdict(probing(), "--node", "n1")
    assert (said, code) == ("not-asked", 1)
    assert message.endswith("does not hear itself: let another node ask as well")
    assert verdict(probing(), "--node", "n2")[0] == "answered"


def test_a_node_that_cannot_ask_is_a_row_and_the_others_tell() -> None:
    from metalbgp.cli.errors import Unreachable

    world = probing(
        n2=Unreachable("not allowed to open a packet socket: the speaker lacks capability NET_RAW")
    )
    world.wire["n3"] = heard(mac_of("n1"), failed={"eth1": "there is none"})
    lines = world.run("l2", "probe", ADDRESS).stdout.splitlines()
    assert any(line.startswith("n2 ") and line.endswith("lacks capability NET_RAW") for line in lines)
    assert any(line.startswith("n3         eth1 ") and line.endswith("there is none") for line in lines)
    assert lines[-1] == "answered by n1, which owns it"


def test_an_address_of_nobody_is_asked_for_by_every_speaker() -> None:
    world = probing()
    world.objects["virtualips"] = []
    for name in NODES:
        world.reflexes[name]["addresses"] = {}
        world.wire[name] = heard()
    assert verdict(world)[:2] == ("nobody-answers", f"nobody answers for {ADDRESS}; asked by n1, n2, n3")


def test_without_the_right_there_is_no_answer() -> None:
    world = probing()
    world.forbidden = {"exec"}
    result = world.run("l2", "probe", ADDRESS)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "create pods/exec" in result.stderr
