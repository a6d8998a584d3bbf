"""`metalbgp status`: each part on its line, each problem on the line of its part, and what to type next."""

from metalbgp.cli.errors import Unreachable
from metalbgp.model.report import DutyReport, RouteReport
from tests.unit.cli.world import World, before, down, service, session, waiting


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_a_healthy_cluster_is_six_lines_and_exit_code_0() -> None:
    result = World().run("status")
    assert lines(result.stdout) == [
        "controller   2 of 2 ready, controller-7d9c-x2k leads since 3d02h   view 0.0 s old",
        "speakers     3 of 3 ready",
        "sessions     6 of 6 established",
        "pools        lab-v6 0 of 65,536 used · production 1 of 4 used",
        "services     1 of 1 have an address",
        "announced    1 address, 6 routes wanted, 6 confirmed",
    ]
    assert result.exit_code == 0
    assert result.stderr == ""


def test_problems_stand_on_the_line_of_their_part_with_the_verbs_that_say_more() -> None:
    world = World()
    world.report("n3", session("tor-a"), down(), unconfirmed=(waiting(),))
    world.objects["services"].append(
        service("web/shop", annotations={"metallb.io/address-pool": "prodution"})
    )
    result = world.run("status")
    assert lines(result.stdout)[2:] == [
        "sessions     5 of 6 established             n3 → tor-b: down 4m12s, "
        "connection refused (nobody listens on port 179), 17 tries",
        "pools        lab-v6 0 of 65,536 used · production 1 of 4 used",
        'services     1 of 2 have an address         web/shop: pool "prodution" does not exist; '
        'pools: lab-v6, production. Did you mean "production"?',
        "announced    1 address, 6 routes wanted, 5 confirmed, 1 waiting for n3 → tor-b",
        "2 problems. More: metalbgp sessions --problems · metalbgp explain web/shop",
    ]
    assert result.exit_code == 1


def test_only_problems_when_asked() -> None:
    world = World()
    world.report("n3", session("tor-a"), down())
    result = world.run("status", "--problems")
    assert [line.split()[0] for line in lines(result.stdout)] == ["sessions", "1"]


def test_many_problems_of_one_line_are_counted_not_listed() -> None:
    world = World()
    world.objects["services"] += [
        service(f"web/shop{i}", annotations={"metallb.io/address-pool": "x"}) for i in range(9)
    ]
    result = world.run("status")
    assert "and 6 more" in result.stdout
    assert "9 problems. More: " in result.stdout


def test_a_lease_that_nobody_renews_is_a_problem_and_says_what_still_works() -> None:
    world = World()
    world.objects["leases"][0]["spec"]["renewTime"] = before(minutes=5)
    result = world.run("status")
    first = lines(result.stdout)[0]
    assert "nobody leads: controller-7d9c-x2k was last heard 5m00s ago; what is announced stays" in first
    assert result.exit_code == 1


def test_speakers_that_are_not_ready_are_named() -> None:
    world = World()
    world.objects["pods"][-1]["status"]["conditions"] = []
    result = world.run("status")
    assert "speakers     2 of 3 ready                   none ready on n3" in lines(result.stdout)
    assert "n3 → tor-a: was Established 2s ago, its speaker is not ready" in result.stdout


def test_a_controller_that_misses_a_replica_is_a_problem() -> None:
    world = World()
    del world.objects["pods"][1]
    assert "1 of 2 ready" in lines(world.run("status").stdout)[0]
    assert world.run("status").exit_code == 1


def test_configuration_that_is_not_in_force_has_a_line_of_its_own() -> None:
    world = World()
    summary = "configuration error: BGPPeer tor-c: spec.peerAddress: 10.0.0 is not an IP address"
    world.objects["configurationstates"] = [
        {"metadata": {"name": "controller"}, "status": {"errorSummary": summary}}
    ]
    result = world.run("status")
    assert (
        "config       not all in force               "
        "BGPPeer tor-c: spec.peerAddress: 10.0.0 is not an IP address" in lines(result.stdout)
    )
    assert result.exit_code == 1


def test_a_refused_route_is_a_problem_and_one_that_waits_for_its_session_is_not_another() -> None:
    world = World()
    refused = RouteReport(prefix="10.252.252.100/32", peer="tor-a", state="refused", why="no next hop")
    world.report("n1", session("tor-a"), session("tor-b"), unconfirmed=(refused,))
    world.report("n3", session("tor-a"), down(), unconfirmed=(waiting(),))
    result = world.run("status")
    assert "n1 → tor-a: 10.252.252.100/32 refused: no next hop" in result.stdout
    assert "2 problems" in result.stdout


def test_a_node_that_may_own_nothing_in_l2_is_a_problem_where_addresses_are_its_to_own() -> None:
    world = World()
    world.report("n3", session("tor-a"), layer2="no-key", layer2_why="no heartbeat key", candidate_for=2)
    result = world.run("status")
    assert "n3: no-key in L2: no heartbeat key" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("More: metalbgp l2 --problems")
    assert result.exit_code == 1
    world.report("n3", session("tor-a"), layer2="no-key", layer2_why="no heartbeat key")
    assert world.run("status").exit_code == 0


def test_addresses_in_l2_are_counted() -> None:
    world = World()
    for name in ("n1", "n2", "n3"):
        world.report(name, session("tor-a"), duties=(DutyReport(address="10.252.252.100"),), duties_total=1)
    assert "3 answered for in L2" in world.run("status").stdout


def test_without_rights_the_screen_says_less_and_one_line_says_why() -> None:
    world = World()
    world.forbidden = {"pods", "nodes", "leases", "deployments", "daemonsets", "services", "namespaces"}
    result = world.run("status")
    assert lines(result.stdout) == [
        "controller   not allowed to know   view 0.0 s old",
        "speakers     not allowed to know",
        "sessions     6 of 6 established",
        "pools        lab-v6 0 of 65,536 used · production 1 of 4 used",
        "services     not allowed to know",
        "announced    1 address, 6 routes wanted, 6 confirmed",
    ]
    assert lines(result.stderr) == [
        "note: not allowed to read daemonsets, deployments, leases, namespaces, nodes, pods, services; "
        "ask for ClusterRole metalbgp-viewer"
    ]
    assert result.exit_code == 0


def test_without_our_kinds_it_says_that_metalbgp_is_not_installed() -> None:
    world = World()
    world.absent = {"nodestates", "virtualips", "speakerconfigurations"}
    result = world.run("status")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(lines(result.stderr)) == 1
    assert result.stderr.startswith("metalbgp: metalbgp is not installed: there is no kind ")


def test_another_namespace_than_that_of_the_installation_is_named() -> None:
    world = World()
    world.objects |= {"pods": [], "deployments": [], "daemonsets": [], "nodestates": []}
    result = world.run("status", "--install-namespace", "lb")
    assert "namespace lb has neither controller nor speakers" in result.stderr
    assert world.connection.installation == "lb"


def test_an_api_server_that_is_away_is_one_line() -> None:
    world = World()
    world.unreachable = True
    result = world.run("status")
    assert result.exit_code == 1
    assert lines(result.stderr) == [
        f"metalbgp: {Unreachable(f'{world.server} does not answer: connection refused')}"
    ]


def test_an_object_that_cannot_be_read_costs_itself_and_a_line() -> None:
    world = World()
    world.objects["virtualips"].append({"metadata": {"name": "10.0.0.1"}, "spec": {"pool": 7}})
    result = world.run("status")
    assert "sessions     6 of 6 established" in lines(result.stdout)
    assert result.stderr.startswith("note: VirtualIP 10.0.0.1 cannot be read and is left out: ")


def test_a_speaker_that_announces_what_it_knew_and_one_that_nobody_hears_of_are_named() -> None:
    world = World()
    world.report("n1", heard=before(minutes=7), from_snapshot=True)
    world.report("n2", heard=before(minutes=20), updated=before(minutes=20))
    world.report("n3", updated=before(minutes=20))  # v0.1.0, which reports on changes alone
    result = world.run("status")
    assert lines(result.stdout)[1:3] == [
        "speakers     3 of 3 ready                   n1 announces what it knew 7m00s ago: "
        "it does not hear the API server",
        "                                            n2 was last heard of 20m ago, "
        "and goes on with what it knew then",
    ]
    assert result.exit_code == 1
    shown = world.run("sessions", "--node", "n1").stdout
    assert "announces what it knew 7m00s ago" in shown
    assert "as of 20m ago: not heard of since" in world.run("sessions", "--node", "n2").stdout
    assert "as of" not in world.run("sessions", "--node", "n3").stdout
