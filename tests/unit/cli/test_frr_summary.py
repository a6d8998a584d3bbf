"""`metalbgp sessions --as-frr`: FRR's columns and FRR's times; what is not known is a dash."""

import pytest

from metalbgp.cli.frr_summary import up_down
from tests.unit.cli.world import NOW, World, before, down, node, pod, session

# As FRR 8.4.4 prints it, letter by letter.
HEAD = (
    "Neighbor        V         AS   MsgRcvd   MsgSent   TblVer  InQ OutQ  Up/Down State/PfxRcd   PfxSnt Desc"
)
DASHES = "         -         -        -    -    -"


def test_a_node_is_a_block_in_the_columns_of_frr() -> None:
    world = World()
    world.report("n3", session("tor-a", routes_confirmed=7), down(flaps=1))
    result = world.run("sessions", "--as-frr", "--node", "n3")
    assert result.stdout.splitlines() == [
        "n3: BGP router identifier -, local AS number 64513",
        "",
        HEAD,
        "10.252.252.1    4      64512" + DASHES + " 3d02h00m            0        7 tor-a",
        "10.252.252.2    4      64512" + DASHES + " 00:04:12      Connect        0 tor-b",
        "",
        "Total number of neighbors 2",
    ]
    assert result.exit_code == 1


def test_blocks_stand_apart_and_every_node_has_one() -> None:
    lines = World().run("sessions", "--as-frr").stdout.splitlines()
    assert [line.partition(":")[0] for line in lines if "router identifier" in line] == ["n1", "n2", "n3"]
    assert lines.count(HEAD) == 3


def test_a_long_neighbor_moves_its_block_and_cuts_nothing() -> None:
    world = World()
    address = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
    world.report("n1", session("tor-a", address=address), session("tor-b"))
    lines = world.run("sessions", "--as-frr", "--node", "n1").stdout.splitlines()
    assert lines[3].startswith(f"{address} 4 ")
    assert [line.index(" 4  ") for line in lines[3:5]] == [len(address)] * 2
    assert lines[2].index(" V ") == len(address)


def test_a_node_that_does_not_answer_says_so_in_place_of_its_block() -> None:
    world = World()
    world.objects["nodes"].append(node("n4"))
    world.objects["pods"].append(pod("speaker-n4", "speaker", "n4", ready=False))
    said = world.run("sessions", "--as-frr", "--node", "n4").stdout
    assert said == "n4: no session  (speaker speaker-n4 is not ready and has never reported)\n"


def test_what_a_speaker_said_before_it_went_away_has_its_age() -> None:
    world = World()
    world.objects["pods"][-1] = pod("speaker-n3", "speaker", "n3", ready=False)
    first = world.run("sessions", "--as-frr", "--node", "n3").stdout.splitlines()[0]
    assert first.endswith("local AS number 64513  (as of 2s ago: the speaker is not ready)")


def test_a_refused_peer_has_no_time_and_no_number_that_is_not_known() -> None:
    world = World()
    refused = session("tor-a", state="Refused", since="", peer_asn=0, routes_confirmed=0)
    world.report("n1", refused)
    row = world.run("sessions", "--as-frr", "--node", "n1").stdout.splitlines()[3]
    assert row.split() == ["10.252.252.1", "4", *"------", "never", "Refused", "0", "tor-a"]


def test_a_session_that_was_never_up_says_never_as_in_frr() -> None:
    world = World()
    world.report("n1", down(flaps=0))
    row = world.run("sessions", "--as-frr", "--node", "n1").stdout.splitlines()[3]
    assert row.split()[8:10] == ["never", "Connect"]


def test_an_unnumbered_session_has_the_name_of_its_interface() -> None:
    world = World()
    world.report("n1", session("tor-a", address="%eth1", learned="fe80::1"))
    row = world.run("sessions", "--as-frr", "--node", "n1").stdout.splitlines()[3]
    assert row.split()[0] == "eth1"


def test_problems_only_and_json_are_what_they_are_without() -> None:
    world = World()
    world.report("n3", session("tor-a"), down())
    lines = world.run("sessions", "--as-frr", "--problems").stdout.splitlines()
    assert [line.split()[-1] for line in lines[3:-2]] == ["tor-b"]
    assert World().run("sessions", "--as-frr", "--problems").stdout == "every session is established\n"
    plain = world.run("sessions", "-o", "json").stdout
    assert world.run("sessions", "--as-frr", "-o", "json").stdout == plain


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        ({"seconds": 0}, "00:00:00"),
        ({"minutes": 1, "seconds": 23}, "00:01:23"),
        ({"hours": 23, "minutes": 59, "seconds": 59}, "23:59:59"),
        ({"days": 1}, "1d00h00m"),
        ({"days": 1, "hours": 2, "minutes": 3, "seconds": 59}, "1d02h03m"),
        ({"days": 6, "hours": 23, "minutes": 59}, "6d23h59m"),
        ({"weeks": 1}, "01w0d00h"),
        ({"weeks": 2, "days": 3, "hours": 4, "minutes": 59}, "02w3d04h"),
        ({"days": 365}, "01y00w0d"),
        ({"days": 365 + 7 * 2 + 3}, "01y02w3d"),
    ],
)
def test_times_are_written_as_frr_writes_them(passed: dict[str, float], said: str) -> None:
    assert up_down(before(**passed), NOW) == said


def test_no_time_is_never() -> None:
    assert up_down("", NOW) == "never"
