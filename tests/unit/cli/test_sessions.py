"""`metalbgp sessions`: a row a session; what is wrong says why; a silent node is a row as well."""

from msgspec import json
from msgspec.structs import replace

from tests.unit.cli.world import World, before, down, node, pod, session

HEAD = (
    "NODE   PEER    ADDRESS        AS      STATE         SINCE   FAMILIES   ROUTES   BFD   GR    LAST ERROR"
)


def test_each_session_is_a_row_with_what_it_carries() -> None:
    world = World()
    world.report("n3", session("tor-a"), down())
    result = world.run("sessions")
    rows = result.stdout.splitlines()
    assert rows[0] == HEAD
    assert rows[1] == (
        "n1     tor-a   10.252.252.1   64512   Established   3d02h   v4 v6      1/1      -     yes"
    )
    assert rows[6] == (
        "n3     tor-b   10.252.252.2   64512   Connect       4m12s   -          0/1      -     -     "
        "connection refused (nobody listens on port 179), 17 tries"
    )
    assert len(rows) == 7
    assert result.exit_code == 1


def test_every_session_up_is_exit_code_0() -> None:
    assert World().run("sessions").exit_code == 0


def test_problems_only() -> None:
    world = World()
    world.report("n3", session("tor-a"), down())
    rows = world.run("sessions", "--problems").stdout.splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [["n3", "tor-b"]]
    assert World().run("sessions", "--problems").stdout == "every session is established\n"


def test_node_and_peer_narrow_the_answer_and_the_exit_code() -> None:
    world = World()
    world.report("n3", session("tor-a"), down())
    result = world.run("sessions", "--node", "n3", "--peer", "tor-a")
    assert len(result.stdout.splitlines()) == 2
    assert result.exit_code == 0
    by_address = world.run("sessions", "--peer", "10.252.252.2")
    assert len(by_address.stdout.splitlines()) == 4


def test_a_name_that_nothing_answers_to_is_usage_and_near_misses_are_suggested() -> None:
    result = World().run("sessions", "--peer", "torb")
    assert result.exit_code == 2
    assert result.stderr == 'metalbgp: there is no peer "torb"; did you mean "tor-b"?\n'
    result = World().run("sessions", "--node", "worker")
    assert result.exit_code == 2
    assert result.stderr == 'metalbgp: there is no node "worker"; there are: n1, n2, n3\n'


def test_what_a_speaker_said_before_it_went_is_marked_with_its_age() -> None:
    world = World()
    world.objects["pods"][-1]["status"]["conditions"] = []
    world.report("n3", session("tor-a"))
    result = world.run("sessions", "--node", "n3")
    assert result.stdout.splitlines()[1].endswith("as of 2s ago: the speaker is not ready")
    assert result.exit_code == 1


def test_a_node_without_any_report_is_a_row() -> None:
    world = World()
    world.objects["nodes"].append(node("n4"))
    world.objects["pods"].append(pod("speaker-n4", "speaker", "n4", ready=False))
    result = world.run("sessions", "--node", "n4")
    row = result.stdout.splitlines()[1]
    assert row.split()[:5] == ["n4", "-", "-", "-", "silent"]
    assert row.endswith("speaker speaker-n4 is not ready and has never reported")
    assert result.exit_code == 1


def test_a_node_whose_speaker_is_gone_is_a_row_with_the_age_of_its_last_word() -> None:
    world = World()
    del world.objects["pods"][-1]
    row = world.run("sessions", "--node", "n3").stdout.splitlines()[1]
    assert row.endswith("no speaker runs here, last heard 2s ago")


def test_a_peer_that_cannot_run_on_a_node_is_a_row_with_its_reason() -> None:
    world = World()
    why = "spec.vrf blue: VRFs are not in force yet"
    world.report("n1", session("tor-a", state="Refused", since="", families=(), last_error=why))
    row = world.run("sessions", "--node", "n1").stdout.splitlines()[1]
    assert " Refused " in row
    assert row.endswith(why)


def test_nothing_is_cut_in_a_pipe() -> None:
    world = World()
    why = "a very long story " * 40
    world.report("n3", down(last_error=why))
    assert why in world.run("sessions").stdout


def test_json_has_the_shape_of_the_reports_in_camel_case() -> None:
    world = World()
    world.report("n3", session("tor-a"), down())
    result = world.run("sessions", "-o", "json", "--problems")
    document = json.decode(result.stdout)
    assert document["kind"] == "SessionList"
    assert document["problems"] == 1
    assert document["notes"] == []
    (item,) = document["items"]
    assert item["node"] == "n3"
    assert item["session"] == {
        "peer": "tor-b",
        "address": "10.252.252.2",
        "port": 179,
        "myAsn": 64513,
        "peerAsn": 64512,
        "state": "Connect",
        "since": before(minutes=4, seconds=12),
        "families": [],
        "routesWanted": 1,
        "routesConfirmed": 0,
        "gracefulRestart": False,
        "lastError": "connection refused (nobody listens on port 179)",
        "tries": 17,
        "reason": "",
        "remedy": "",
        "holdTime": 0,
        "capabilities": [],
        "flaps": 0,
        "ended": "",
        "endedWhy": "",
        "learned": "",
        "held": 0,
        "beyond": 0,
        "bfd": "",
        "bfdWhy": "",
        "bfdDetection": 0,
        "bfdFlaps": 0,
    }
    assert result.exit_code == 1


def test_yaml_and_names_say_the_same() -> None:
    world = World()
    assert world.run("sessions", "-o", "yaml").stdout.startswith("kind: SessionList\nitems:\n- node: n1\n")
    assert world.run("sessions", "-o", "name").stdout.split() == [
        f"{name}/{peer}" for name in ("n1", "n2", "n3") for peer in ("tor-a", "tor-b")
    ]


def test_a_session_that_is_up_again_says_when_and_why_it_ended_and_one_that_is_down_what_to_do() -> None:
    world = World()
    why = {"flaps": 2, "ended": before(minutes=7), "ended_why": "Hold Timer Expired (from us)"}
    remedy = {"last_error": "this node has no VRF device red", "remedy": "ip link add red type vrf table N"}
    world.report("n3", session("tor-a", hold_time=90, capabilities=("4-octet-as",), **why), down(**remedy))
    rows = world.run("sessions", "--node", "n3", "-o", "wide").stdout.splitlines()
    up, lost = rows[1], rows[2]
    assert "90 s" in up and " 2 " in up and "4-octet-as" in up
    assert up.endswith("ended 7m00s ago: Hold Timer Expired (from us)")
    assert lost.endswith("no VRF device red, 17 tries; remedy: ip link add red type vrf table N")


def test_wide_shows_more_columns() -> None:
    assert "MY AS" in World().run("sessions", "-o", "wide").stdout.splitlines()[0]


def test_a_session_that_runs_an_older_version_of_its_peer_is_a_problem_with_its_reason() -> None:
    world = World()
    said = "ExaBGP refuses this peer: hold-time 1: too short; its last good version runs on"
    old = replace(session("tor-a"), reason="RefusedByExaBGP", last_error=said, remedy="change the BGPPeer")
    world.report("n3", old, session("tor-b"))
    result = world.run("sessions", "--problems")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1].endswith(f"{said}; remedy: change the BGPPeer")
    assert len(result.stdout.splitlines()) == 2
