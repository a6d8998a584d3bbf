"""The reflex on the links that nodes really have: bridge, bond, VLAN, no address, a new name, a second life.

Each answers ARP and NDP on the one interface that stands on the wire, with that interface's MAC.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from l2_segment import (
    NEIGHBOUR,
    NODE,
    NODE_MAC,
    PEER_MAC,
    Reflex,
    Station,
    arp,
    is_advertisement,
    is_arp_reply,
    is_gratuitous,
    link,
    mac_bytes,
    segment,
    solicitation,
)

from tests.wire.doing import if_the_kernel_can, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs network namespaces")

OWNED, OWNED6 = "192.0.2.100", "2001:db8::100"
MASTER_MAC = "02:00:00:00:00:70"


@pytest.fixture(scope="module")
def lab() -> Iterator[None]:
    with segment():
        yield


@pytest.fixture
def reflex(lab: None, tmp_path: Path) -> Iterator[Reflex]:
    process = Reflex(tmp_path)
    process.duties([OWNED, None], [OWNED6, None])
    yield process
    process.stop()


@pytest.fixture
def far(lab: None) -> Iterator[Station]:
    station = Station("p1")
    yield station
    station.close()


@contextmanager
def made(kind: str, name: str, *options: str, below: str = "") -> Iterator[None]:
    """A link of that kind on top of eth1; skipped where the kernel has no such links."""
    with if_the_kernel_can():
        link("add", *(("link", below) if below else ()), name, "address", MASTER_MAC, "type", kind, *options)
    try:
        yield
    finally:
        link("delete", name)


@contextmanager
def port_of(master: str) -> Iterator[None]:
    """eth1 below it; a bond takes no port that is up."""
    link("set", "eth1", "down")
    link("set", "eth1", "master", master)
    link("set", "eth1", "up")
    link("set", master, "up")
    try:
        yield
    finally:
        link("set", "eth1", "nomaster")
        link("set", "eth1", "address", NODE_MAC["eth1"], "up")


def answers(reflex: Reflex, far: Station, name: str, mac: str) -> None:
    """Both families, on this interface, with this MAC and no other."""
    reflex.wait_for(lambda: name in reflex.state()["interfaces"])
    for question, answered in (
        (arp(OWNED, mac=PEER_MAC["p1"]), is_arp_reply(OWNED)),
        (solicitation(OWNED6), is_solicited(OWNED6)),
    ):
        far.ask(question, answered)
        far.drain()
        far.send(question)
        assert far.until(answered)[-1][6:12] == mac_bytes(mac)
        others = [frame for frame in far.frames(0.2) if answered(frame)]
        assert not others


def is_solicited(address: str) -> Callable[[bytes], bool]:
    advertised = is_advertisement(address)
    return lambda frame: advertised(frame) and frame[58] == 0x60


def test_a_bridge_answers_and_its_port_does_not(reflex: Reflex, far: Station) -> None:
    with made("bridge", "br7"), port_of("br7"):
        answers(reflex, far, "br7", MASTER_MAC)
        assert "eth1" not in reflex.state()["interfaces"]
    answers(reflex, far, "eth1", NODE_MAC["eth1"])


def test_a_bond_answers_and_its_port_does_not(reflex: Reflex, far: Station) -> None:
    with made("bond", "bond7", "mode", "active-backup", "miimon", "50"), port_of("bond7"):
        answers(reflex, far, "bond7", MASTER_MAC)
        assert "eth1" not in reflex.state()["interfaces"]


def test_a_vlan_answers_in_its_vlan_only(reflex: Reflex, far: Station) -> None:
    with made("vlan", "eth1.7", "id", "7", below="eth1"):
        link("set", "eth1.7", "up")
        far.ask(
            arp(OWNED, mac=PEER_MAC["p1"], tag=7), is_arp_reply(OWNED)
        )  # the tag is stripped on the way up
        answers(reflex, far, "eth1", NODE_MAC["eth1"])


def test_a_macvlan_answers_beside_its_parent_each_with_its_own_mac(reflex: Reflex, far: Station) -> None:
    with made("macvlan", "wan7", "mode", "bridge", below="eth1"):
        link("set", "wan7", "up")
        reflex.wait_for(lambda: "wan7" in reflex.state()["interfaces"])
        for mac in (MASTER_MAC, NODE_MAC["eth1"]):
            unicast = arp(OWNED, mac=PEER_MAC["p1"], to=mac)
            far.ask(
                unicast, lambda frame, mac=mac: is_arp_reply(OWNED)(frame) and frame[6:12] == mac_bytes(mac)
            )
        reflex.duties([OWNED, ["wan7"]])
        far.ask(arp(OWNED, mac=PEER_MAC["p1"]), is_arp_reply(OWNED))
        far.drain()
        far.send(arp(OWNED, mac=PEER_MAC["p1"]))
        assert far.until(is_arp_reply(OWNED))[-1][6:12] == mac_bytes(MASTER_MAC)
        assert not [frame for frame in far.frames(0.2) if is_arp_reply(OWNED)(frame)]


def test_an_interface_without_any_address_answers_arp_and_no_ndp(reflex: Reflex, far: Station) -> None:
    link("set", "eth1", "down")
    link("set", "eth1", "addrgenmode", "none")
    link("set", "eth1", "up")
    try:
        far.ask(arp(OWNED, mac=PEER_MAC["p1"]), is_arp_reply(OWNED))
        assert "inet" not in run("ip", "-n", NODE, "address", "show", "dev", "eth1")
        far.drain()
        far.send(solicitation(OWNED6))
        far.send(arp(OWNED, mac=PEER_MAC["p1"]))
        assert not [frame for frame in far.until(is_arp_reply(OWNED)) if is_advertisement(OWNED6)(frame)]
    finally:
        link("set", "eth1", "down")
        link("set", "eth1", "addrgenmode", "eui64")
        link("set", "eth1", "up")


def test_a_renamed_interface_goes_on_answering_and_is_not_told_again(reflex: Reflex, far: Station) -> None:
    answers(reflex, far, "eth1", NODE_MAC["eth1"])
    while [frame for frame in far.frames(1.3) if is_gratuitous(OWNED)(frame)]:
        pass  # until the first five seconds are over
    far.drain()
    link("set", "eth1", "name", "lan1")
    try:
        answers(reflex, far, "lan1", NODE_MAC["eth1"])
        assert reflex.state()["interfaces"] == ["eth0", "lan1"]
        far.drain()
        assert not [frame for frame in far.frames(1.3) if is_gratuitous(OWNED)(frame)]
        assert not [line for line in reflex.log().splitlines() if '"lost"' in line]
    finally:
        link("set", "lan1", "name", "eth1")
    answers(reflex, far, "eth1", NODE_MAC["eth1"])


def test_an_interface_that_is_deleted_and_made_again_answers_and_is_told_again(reflex: Reflex) -> None:
    for _ in range(2):
        link("add", "eth7", "type", "veth", "peer", "p7", "netns", NEIGHBOUR)
        PEER_MAC["p7"] = "02:00:00:00:00:27"
        link("set", "p7", "address", PEER_MAC["p7"], "up", of=NEIGHBOUR)
        station = Station("p7")
        try:
            link("set", "eth7", "up")
            station.until(is_gratuitous(OWNED))
            station.ask(arp(OWNED, mac=PEER_MAC["p7"]), is_arp_reply(OWNED))
            station.ask(solicitation(OWNED6), is_solicited(OWNED6))
        finally:
            station.close()
            del PEER_MAC["p7"]
            link("delete", "eth7")
        reflex.wait_for(lambda: "eth7" not in reflex.state()["interfaces"])


def test_a_link_that_goes_down_and_comes_back_answers_and_is_told_again(reflex: Reflex, far: Station) -> None:
    answers(reflex, far, "eth1", NODE_MAC["eth1"])
    link("set", "eth1", "down")
    reflex.wait_for(lambda: "eth1" not in reflex.state()["interfaces"])
    far.drain()
    link("set", "eth1", "up")
    far.until(is_gratuitous(OWNED))
    answers(reflex, far, "eth1", NODE_MAC["eth1"])


def test_an_interface_that_is_excluded_while_it_answers_stops_and_one_that_is_let_in_begins(
    reflex: Reflex, far: Station
) -> None:
    answers(reflex, far, "eth1", NODE_MAC["eth1"])
    reflex.say({"exclude": ["^eth1$", "("]}, reflex.agent)
    reflex.wait_for(lambda: reflex.state()["interfaces"] == ["eth0", "veth9"])
    assert any("not a pattern of interface names: '('" in problem for problem in reflex.state()["problems"])
    far.drain()
    far.send(arp(OWNED, mac=PEER_MAC["p1"]))
    inside = Station("p9")
    try:
        inside.ask(arp(OWNED, mac=PEER_MAC["p9"]), is_arp_reply(OWNED))
    finally:
        inside.close()
    assert not [frame for frame in far.frames(0.3) if is_arp_reply(OWNED)(frame)]
    reflex.say({"exclude": ["^veth"]}, reflex.agent)
    answers(reflex, far, "eth1", NODE_MAC["eth1"])
