"""What of a node's settings breaks L2 and what is harmless: each line of the doctor has its case here."""

from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.cli.errors import Unreachable
from metalbgp.model.selectors import Selector
from tests.unit.cli.test_doctor import well
from tests.unit.cli.test_l2 import ADDRESS
from tests.unit.cli.world import CONFIGURATION, LAYER2, World, claim
from tests.unit.cli.world_l2 import NODES, held, kernel, reflex

ADDRESS6 = "fd00:10:252::100"
PLAIN = {"arp_ignore": 0, "arp_announce": 0, "rp_filter": 0, "proxy_arp": 0}


def flat(**advertisement: Any) -> World:
    world = well()
    world.configure(replace(CONFIGURATION, l2_advertisements=(replace(LAYER2, **advertisement),)))
    world.objects["virtualips"] = [
        claim(one, "web/nginx", holder={"l2": ("flat",)}, candidates=NODES) for one in (ADDRESS, ADDRESS6)
    ]
    both = (ADDRESS, ADDRESS6)
    for name in NODES:
        world.reflexes[name] = reflex(name, {one: held("n1", name == "n1") for one in both})
    return world


def conf(**interfaces: dict[str, int]) -> dict[str, dict[str, int]]:
    return {name: {**PLAIN, **interfaces.get(name, {})} for name in ("all", "eth0", "eth1", "lo")}


def findings(world: World) -> list[str]:
    """What is not ok of L2, each with its first remedy."""
    lines = world.run("doctor").stdout.splitlines()
    return [
        line
        for line in lines
        if line[:4] in ("bad ", "warn") and line.split()[1] in ("l2", "kernel", "interfaces")
    ]


def on(world: World, node: str, **fields: Any) -> World:
    world.reflexes[node]["host"] = kernel(**fields)
    return world


def two_links(world: World, node: str, **fields: Any) -> World:
    """eth1 is a second segment of the node, with an address of its own."""
    addresses = [["10.252.252.11", "eth0"], ["192.0.2.11", "eth1"]]
    world.reflexes[node]["state"]["interfaces"] = ["eth0", "eth1"]
    return on(world, node, **{"links": ["eth0", "eth1", "lo"], "addresses": addresses, **fields})


def test_all_is_well_in_one_line() -> None:
    result = flat().run("doctor")
    assert (
        "ok    l2          2 addresses in L2, 3 nodes asked: nothing is in the way"
        in result.stdout.splitlines()
    )
    assert result.exit_code == 0


def test_no_node_is_asked_where_nothing_is_answered_for() -> None:
    world = well()
    world.run("doctor")
    assert world.asked == []


# ------------------------------------------------------------------ the kernel answers as well


def test_under_ipvs_every_kernel_answers_unless_arp_ignore_is_set() -> None:
    world = flat()
    for node in NODES:
        on(world, node, links=["eth0", "kube-ipvs0", "lo"], ipv4=conf(all={"arp_announce": 2}))
    (line,) = findings(world)
    assert line.startswith("bad   kernel      n1, n2, n3: kube-ipvs0 is there and arp_ignore is 0 on eth0")
    assert "net.ipv4.conf.all.arp_ignore=1" in world.run("doctor").stdout
    assert world.run("doctor").exit_code == 1


@pytest.mark.parametrize("where", ["all", "eth0"])
@pytest.mark.parametrize("value", [1, 2, 8])
def test_the_greater_of_all_and_the_interface_counts(where: str, value: int) -> None:
    strict = {"arp_ignore": value, "arp_announce": 2}
    assert findings(on(flat(), "n1", links=["eth0", "kube-ipvs0", "lo"], ipv4=conf(**{where: strict}))) == []


def test_arp_announce_matters_under_ipvs_alone() -> None:
    settings = conf(all={"arp_ignore": 1})
    (line,) = findings(on(flat(), "n1", links=["eth0", "kube-ipvs0", "lo"], ipv4=settings))
    assert line.startswith("warn  kernel      n1: kube-ipvs0 is there and arp_announce is below 2 on eth0")
    assert findings(on(flat(), "n1", ipv4=settings)) == []


@pytest.mark.parametrize(
    ("address", "interface", "ignore", "answers"),
    [
        (ADDRESS, "lo", 0, True),
        (ADDRESS, "lo", 1, False),
        (ADDRESS, "lo", 3, True),
        (ADDRESS, "eth0", 1, True),
        (ADDRESS, "eth0", 8, False),
        (ADDRESS6, "lo", 0, False),  # NDP answers for what stands on the interface that was asked
        (ADDRESS6, "eth0", 8, True),
        ("192.0.2.7", "lo", 0, False),  # none of ours
        (ADDRESS, "kube-ipvs0", 0, False),  # has its own line
    ],
)
def test_an_address_that_stands_on_an_interface_is_answered_by_the_kernel(
    address: str, interface: str, ignore: int, answers: bool
) -> None:
    world = on(flat(), "n2", addresses=[[address, interface]], ipv4=conf(all={"arp_ignore": ignore}))
    found = [line for line in findings(world) if " stands on " in line]
    assert bool(found) == answers
    if found:
        assert found[0].startswith(
            f"bad   kernel      n2: {address} stands on {interface}, so the kernel answers"
        )


def test_proxy_arp_is_a_warning() -> None:
    (line,) = findings(on(flat(), "n1", ipv4=conf(eth0={"proxy_arp": 1})))
    assert line.startswith("warn  kernel      n1: proxy_arp is on for eth0")
    assert findings(on(flat(), "n1", ipv4=conf(lo={"proxy_arp": 1}))) == []


# ------------------------------------------------------------------ packets that are dropped


@pytest.mark.parametrize(("mode", "told"), [(0, False), (1, True), (2, False)])
def test_strict_reverse_path_matters_where_the_default_route_does_not_go(mode: int, told: bool) -> None:
    world = two_links(flat(), "n2", ipv4=conf(all={"rp_filter": mode}))
    found = findings(world)
    assert bool(found) == told
    if told:
        assert found[0].startswith(
            "warn  kernel      n2: rp_filter is 1 on eth1, and the default route goes over eth0: packets"
        )
        assert "sysctl -w net.ipv4.conf.eth1.rp_filter=2" in world.run("doctor").stdout


def test_strict_reverse_path_is_harmless_over_the_default_route_and_where_nothing_is_answered() -> None:
    strict = conf(all={"rp_filter": 1})
    assert findings(on(flat(), "n1", ipv4=strict)) == []
    assert findings(two_links(flat(interfaces=("eth0",)), "n1", ipv4=strict)) == []


@pytest.mark.parametrize("mode", [1, 2])
def test_an_interface_without_an_address_passes_no_reverse_path(mode: int) -> None:
    addresses = [["10.252.252.11", "eth0"], ["fe80::1", "eth1"]]
    world = two_links(flat(), "n1", addresses=addresses, ipv4=conf(eth1={"rp_filter": mode}))
    (line,) = findings(world)
    assert line.startswith(f"warn  kernel      n1: eth1 has no IPv4 address and rp_filter is {mode}")


def test_a_node_that_forwards_nothing_is_a_warning_for_the_family_that_is_used() -> None:
    (line,) = findings(on(flat(), "n1", forward=0))
    assert line.startswith("warn  kernel      n1: net.ipv4.ip_forward is 0")
    world = on(flat(), "n1", forward6=0)
    assert len(findings(world)) == 1
    world.objects["virtualips"] = world.objects["virtualips"][:1]
    for name in NODES:
        world.reflexes[name]["addresses"].pop(ADDRESS6)
    assert findings(world) == []


# ------------------------------------------------------------------ interfaces, rights, keys


def test_an_interface_that_a_node_does_not_have_is_named() -> None:
    world = flat(interfaces=("eth7",))
    (line,) = findings(world)
    said = "eth7, which L2Advertisement flat names, is not there"
    assert line == f"bad   interfaces  n1, n2, n3: {said}"
    (line,) = findings(flat(interfaces=("eth0", "eth7")))
    assert line == f"warn  interfaces  n1, n2, n3: {said}"


def test_an_interface_that_is_there_and_unfit_is_told_apart() -> None:
    world = flat(interfaces=("eth1",), node_selectors=(Selector(labels={"rack": "a"}),))
    world.objects["nodes"][1]["metadata"]["labels"]["rack"] = "a"
    on(world, "n2", links=["eth0", "eth1", "lo"])
    (line,) = findings(world)
    assert line.startswith("bad   interfaces  n2: eth1, which L2Advertisement flat names, cannot be used")


def test_a_speaker_without_net_raw_says_how_to_add_it() -> None:
    world = on(flat(), "n3", capabilities="0000000000800000")
    (line,) = findings(world)
    assert line == "bad   l2          n3: the speaker lacks capability NET_RAW: it cannot answer ARP or NDP"
    assert "kubectl edit daemonset -n metallb-system speaker" in world.run("doctor").stdout


def test_what_l2_says_is_a_finding_as_well() -> None:
    world = flat()
    world.reflexes["n2"]["state"]["self"] |= {"state": "no-key", "why": "no heartbeat key"}
    world.reflexes["n3"]["state"]["segments"]["eth0"]["transport"] = "udp"
    conflict = {"address": ADDRESS, "interface": "eth0", "mac": "02:66:66:66:66:66", "seen": 5, "ago": 3.0}
    world.reflexes["n1"]["state"]["conflicts"] = [conflict]
    found = findings(world)
    assert [line[:22] for line in found] == [
        "bad   l2          n2: ",
        "warn  l2          n3: ",
        "bad   l2          10.2",
    ]
    assert "kubectl get secret -n metallb-system metalbgp-speaker" in world.run("doctor").stdout


def test_different_keys_are_told_with_their_nodes() -> None:
    world = flat()
    world.reflexes["n3"]["state"]["self"]["key"] = "deadbeef"
    (line,) = findings(world)
    assert line.endswith("do not hear each other: 0badcafe on n1, n2; deadbeef on n3")


def test_without_the_right_to_exec_nothing_is_claimed() -> None:
    world = flat()
    world.forbidden = {"exec"}
    (line,) = findings(world)
    assert line.startswith("warn  l2          not looked at on the nodes: not allowed")


def test_a_node_that_does_not_answer_hides_no_other() -> None:
    world = on(flat(), "n2", forward=0)
    world.reflexes["n3"] = Unreachable("its kubelet is away")
    assert len(findings(world)) == 2
