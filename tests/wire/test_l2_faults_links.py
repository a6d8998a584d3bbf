"""What happens to interfaces under a running reflex, and one owner per address over two segments."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from l2_cluster import SWITCH, Cluster, Duty, Node, cluster, run, wait_for

from tests.wire.doing import figures, if_the_kernel_can, nothing_for

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft") is None, reason="needs network namespaces and nftables"
)

V4, V6 = "192.0.2.100", "2001:db8::100"
BOTH = V4, V6
ORDER = "n1", "n2", "n3"
DUTIES = Duty(V4, ORDER), Duty(V6, ORDER)
TAKEOVER = 5 * 0.5
HEAL = 5 * 0.1


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    with cluster(nodes=3, segments=2) as it:
        yield it


@pytest.fixture
def it(made: Cluster) -> Cluster:
    """Whole, and n1 answers on both segments."""
    made.calm(*DUTIES)
    return made


def taken_over(it: Cluster, by: str, since: float, what: str) -> None:
    """Until that one answers for both addresses on both segments."""
    macs = {watch: it[by].mac(watch.segment) for watch in it.watches}
    took = max(watch.first(address, macs[watch], since) for address in BOTH for watch in it.watches) - since
    figures(f"{what}: {by} answers on both segments after {took * 1000:.0f} ms")
    assert took < TAKEOVER, it.report()


def one_owner(it: Cluster, since: float, limit: float = 0.0) -> float:
    """On no segment two at once, or for so long at most."""
    longest = 0.0
    for watch in it.watches:
        now = watch.settled()
        longest = max(longest, *(watch.overlap(address, since, now) for address in BOTH))
    assert longest <= limit, it.report()
    return longest


def owners(it: Cluster) -> set[str]:
    """Whoever answered lately, for whatever, wherever."""
    for watch in it.watches:
        watch.settled()
    return {name for address in BOTH for name in it.owner(address)}


# Two segments


def test_an_owner_that_lost_one_of_two_segments_gives_way_to_a_whole_one(it: Cluster) -> None:
    cut = it.cut("n1", "switch", segment=1)
    taken_over(it, "n2", cut, "one of two links cut")
    nothing_for(0.5)
    assert owners(it) == {"n2"}
    assert ["n1", "degraded"] in it["n2"].addresses()[V4]["candidates"]
    assert it["n2"].member("n1")["lost"] == ["eth1"]
    mended = it.mend("n1", "switch", segment=1)
    it.wait_owned("n1", BOTH)
    one_owner(it, cut - 0.1)
    assert not it["n3"].there.changes("gained", mended)


def test_where_every_candidate_lost_a_segment_the_first_one_answers_on_the_other(it: Cluster) -> None:
    for name in ORDER:
        it.cut(name, "switch", segment=1)
    it.wait_owned("n1", BOTH, [0])
    nothing_for(0.5)
    assert owners(it) == {"n1"}
    for name in ORDER:
        it.mend(name, "switch", segment=1)
    it.wait_owned("n1", BOTH)


def test_a_segment_that_is_parted_inside_of_the_switch_makes_no_second_owner(it: Cluster) -> None:
    """Its own link is up and the others hear it on the other segment: there is nothing to take over."""
    parted = it.part("n1", segment=1)
    nothing_for(1.5)
    assert owners(it) == {"n1"}
    it.join("n1", segment=1)
    it.wait_owned("n1", BOTH)
    one_owner(it, parted)


def test_an_address_of_one_segment_does_not_move_when_the_other_one_fails(made: Cluster) -> None:
    made.calm(*DUTIES)
    made.heal()
    duties = tuple(Duty(address, ORDER, ["eth0"]) for address in BOTH)
    for node in made.nodes.values():
        node.retell(duties)
    wait_for(lambda: not made.watches[1].answers(V4, time.time() - 0.2), "silence on the other segment")
    begin = time.time()
    made.cut("n1", "switch", segment=1)
    nothing_for(1.0)
    now = made.watch.settled()
    for address in BOTH:
        assert made.watch.owners(address, begin, now) == [made["n1"].mac()]
        assert made.watch.silence(address, begin, now) < HEAL
    made.mend("n1", "switch", segment=1)


def test_a_killed_owner_is_replaced_on_both_segments(it: Cluster) -> None:
    killed = it["n1"].kill()
    taken_over(it, "n2", killed, "killed")
    one_owner(it, killed - 0.1)


# Interfaces


def test_a_renamed_interface_goes_on_answering(it: Cluster) -> None:
    node = it["n1"]
    begin = time.time()
    try:
        node.ip("link", "set", "eth1", "down")
        node.ip("link", "set", "eth1", "name", "lan1")
        node.ip("link", "set", "lan1", "up")
        wait_for(lambda: node.state()["interfaces"] == ["eth0", "lan1"], "the new name", report=it.report)
        it.wait_owned("n1", BOTH)
        assert {*it["n2"].member("n1")["interfaces"]} == {"eth0", "eth1"}  # its own names
        assert node.addresses()[V4]["interfaces"] == ["eth0", "lan1"]
    finally:
        node.ip("link", "set", "lan1", "down")
        node.ip("link", "set", "lan1", "name", "eth1")
        node.ip("link", "set", "eth1", "up")
    it.wait_owned("n1", BOTH)
    one_owner(it, begin)


def test_an_interface_that_is_deleted_and_made_again_answers_again(it: Cluster) -> None:
    node = it["n1"]
    deleted = time.time()
    node.ip("link", "delete", "eth0")
    try:
        wait_for(lambda: node.state()["interfaces"] == ["eth1"], "the interface to be gone")
        nothing_for(1.0)
        assert len(owners(it)) == 1, it.report()
    finally:
        node.wire(0)
    it.wait_owned("n1", BOTH)
    one_owner(it, deleted)


def test_a_node_one_of_whose_interfaces_was_deleted_keeps_the_other(it: Cluster) -> None:
    deleted = time.time()
    it["n1"].ip("link", "delete", "eth0")
    try:
        wait_for(lambda: it["n1"].state()["interfaces"] == ["eth1"], "the interface to be gone")
        nothing_for(2.0)
        end = it.watch.settled()
        # On the segment that it left nobody answers: one owner over all, and a person decided so.
        assert it["n1"].addresses()[V4]["interfaces"] == ["eth1"], (deleted, end)
        assert len(owners(it)) == 1
    finally:
        it["n1"].wire(0)


@contextmanager
def stacked(node: Node, kind: str) -> Iterator[str]:
    """An interface of that kind above eth0, or in place of it."""
    name = "top0"
    above = {
        "bridge": ("add", name, "type", "bridge"),
        "bond": ("add", name, "type", "bond", "mode", "active-backup", "miimon", "20"),
        "vlan": ("add", "link", "eth0", "name", name, "type", "vlan", "id", "7"),
    }[kind]
    with if_the_kernel_can():
        node.ip("link", *above)
    try:
        if kind in ("bridge", "bond"):
            if kind == "bond":
                node.ip("link", "set", "eth0", "down")
            node.ip("link", "set", "eth0", "master", name)
            node.ip("link", "set", "eth0", "up")
        else:  # the switch's port is in that VLAN, where everybody else is without a tag
            run("ip", "-n", SWITCH, "link", "set", node.port(), "nomaster")
            run("ip", "-n", SWITCH, "link", "add", "link", node.port(), "name", "tagged", *above[5:])
            run("ip", "-n", SWITCH, "link", "set", "tagged", "master", "br0", "up")
        node.ip("link", "set", name, "address", f"02:00:00:00:00:{node.number:02x}")
        node.ip("link", "set", name, "up")
        yield name
    finally:
        node.ip("link", "delete", name)
        if kind == "vlan":
            run("ip", "-n", SWITCH, "link", "delete", "tagged")
        node.ip("link", "set", "eth0", "up")


@pytest.mark.parametrize("kind", ["bridge", "bond", "vlan"])
def test_an_address_moves_from_and_to_an_interface_above_another(it: Cluster, kind: str) -> None:
    begin = time.time()
    with stacked(it["n1"], kind) as name:
        wait_for(lambda: name in it["n1"].state()["interfaces"], f"{name} to be fit", report=it.report)
        it.wait_owned("n1", BOTH)
        assert name in it["n1"].addresses()[V4]["interfaces"]
        killed = it["n1"].kill()
        taken_over(it, "n2", killed, f"killed, with a {kind}")
        it["n1"].start()
        it.wait_owned("n1", BOTH)
        one_owner(it, begin)
    it.wait_owned("n1", BOTH)


def test_a_macvlan_answers_with_its_own_mac(it: Cluster) -> None:
    """Two interfaces on one segment: the advertisement names the one that answers."""
    node = it["n1"]
    mac = "02:00:00:00:aa:01"
    node.ip("link", "add", "link", "eth0", "name", "top0", "type", "macvlan", "mode", "bridge")
    try:
        node.ip("link", "set", "top0", "address", mac, "up")
        wait_for(lambda: "top0" in node.state()["interfaces"], "top0 to be fit")
        begin = time.time()
        for each in it.nodes.values():
            names = ["top0"] if each is node else ["eth0"]
            each.retell(Duty(address, ORDER, names) for address in BOTH)
        for address in BOTH:
            it.watch.first(address, mac, begin)
        killed = node.kill()
        took = max(it.watch.first(address, it["n2"].mac(), killed) for address in BOTH) - killed
        assert took < TAKEOVER
    finally:
        node.ip("link", "delete", "top0")


def test_a_port_of_the_switch_that_flaps_ends_with_one_owner(it: Cluster) -> None:
    begin = time.time()
    for _ in range(10):
        it.cut("n1", "switch")
        nothing_for(0.07)
        it.mend("n1", "switch")
        nothing_for(0.07)
    it.wait_owned("n1", BOTH)
    longest = one_owner(it, begin, HEAL)
    figures(f"a link that flapped ten times in 1.4 s: two owners for {longest * 1000:.0f} ms")
