"""`metalbgp doctor` goes through its checks whatever is missing, and exits with 1 when one is bad."""

from metalbgp.cli.checks import KINDS
from tests.unit.cli.world import World, down, node, session


def well() -> World:
    world = World()
    world.objects["customresourcedefinitions"] = [{"metadata": {"name": name}} for name in KINDS]
    world.objects["configmaps"] = [
        {
            "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
            "data": {"config.conf": "kind: KubeProxyConfiguration\nmode: nftables\n"},
        }
    ]
    return world


def test_a_healthy_cluster() -> None:
    result = well().run("doctor")
    assert result.stdout.splitlines() == [
        "ok    kube-proxy  mode nftables: strictARP is not needed",
        "ok    kinds       all 15 are there",
        "ok    controller  2 of 2 ready, controller-7d9c-x2k leads",
        "ok    speakers    ready on all 3 nodes",
        "ok    sessions    all 6 established",
        "ok    config      every object is in force",
        "ok    view        3 speakers hold configuration 3",
        "ok    realtime    the reflex has class fifo on every node",
        "ok    l2          there is no L2Advertisement, so nothing is answered for",
        "ok    others      no other load balancer was seen",
    ]
    assert result.exit_code == 0


def test_what_is_bad_says_what_to_do() -> None:
    world = well()
    conf = "kind: KubeProxyConfiguration\nmode: ipvs\nipvs:\n  strictARP: false\n"
    world.objects["configmaps"][0]["data"] = {"config.conf": conf}
    world.report("n3", session("tor-a"), down())
    lines = world.run("doctor").stdout.splitlines()
    assert lines[0].startswith("bad   kube-proxy  mode ipvs without strictARP")
    assert lines[1].startswith("                  remedy: kubectl get configmap kube-proxy -n kube-system")
    assert lines[-1] == "2 problems, 0 warnings"
    assert world.run("doctor").exit_code == 1


def test_problems_only() -> None:
    assert well().run("doctor", "--problems").stdout == "everything is as it should be\n"


def test_without_our_kinds_the_other_checks_are_made_all_the_same() -> None:
    world = well()
    world.objects["customresourcedefinitions"] = []
    world.absent = {"nodestates", "virtualips", "speakerconfigurations", "configurationstates"}
    result = world.run("doctor")
    verdicts = [line.split()[:2] for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert verdicts[:4] == [["ok", "kube-proxy"], ["bad", "kinds"], ["bad", "installed"], ["ok", "others"]]
    assert result.exit_code == 1


def test_a_node_where_no_speaker_is_meant_to_run_is_a_warning() -> None:
    world = well()
    world.objects["nodes"].append(node("n4"))
    result = world.run("doctor")
    assert "warn  speakers    ready on 3 nodes; none is meant to run on n4" in result.stdout.splitlines()
    assert result.exit_code == 0


def test_what_a_speaker_complains_about_is_a_warning() -> None:
    world = well()
    world.report("n1", problems=("peer tor-c: vrf is not in force yet",))
    assert "warn  speaker     n1: peer tor-c: vrf is not in force yet" in world.run("doctor").stdout


def test_missing_rights_are_warnings() -> None:
    world = well()
    world.forbidden = {"configmaps", "customresourcedefinitions", "pods", "deployments", "daemonsets"}
    result = world.run("doctor")
    assert result.stdout.splitlines()[0] == (
        "warn  kube-proxy  not allowed to read ConfigMap kube-system/kube-proxy; strictARP is unknown"
    )
    assert result.exit_code == 0
