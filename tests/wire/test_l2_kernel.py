"""What the doctor says of a node's kernel is what Linux does: when it answers as well, when it drops clients.

No reflex runs here: whoever answers is the kernel. The doctor's side of it is metalbgp/cli/layer2_checks.py.
"""

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from l2_segment import (
    NEIGHBOUR,
    NODE,
    NODE_MAC,
    ROOT,
    Station,
    inside,
    ip_bytes,
    mac_bytes,
    segment,
    socket_in,
)

from tests.wire.doing import run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs network namespaces")

ADDRESS, ADDRESS6 = "192.0.2.201", "2001:db8::201"
OWN0, OWN1, FAR = "192.0.2.10", "198.51.100.10", "203.0.113.9"
PORT = 4242


@pytest.fixture(scope="module")
def lab() -> Iterator[None]:
    with segment():
        deadline = time.monotonic() + 10
        while not all(_sure(where, name) for where, name in ((NEIGHBOUR, "p0"), (NODE, "eth0"))):
            assert time.monotonic() < deadline
        yield


def _sure(where: str, name: str) -> bool:
    found = run("ip", "-n", where, "-6", "address", "show", "dev", name, "scope", "link")
    return "fe80" in found and "tentative" not in found


def setting(**values: int) -> None:
    """On all and on every link of the node: the greater of the two counts."""
    for name, value in values.items():
        for where in ("all", "eth0", "eth1"):
            run(*inside(NODE, "sysctl", "-q", f"net.ipv4.conf.{where}.{name}={value}"))


def answered(address: str) -> bool:
    command = inside(NEIGHBOUR, sys.executable, "-S", "-m", "metalbgp.l2.ask", address, "p0")
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=20)
    said = json.loads(found.stdout)
    assert said["asked"] == ["p0"], said
    return [one["mac"] for one in said["answers"]] == [NODE_MAC["eth0"]]


@pytest.mark.parametrize(
    ("interface", "ignore", "answers"),
    [
        *(("lo", 0, True), ("lo", 1, False), ("lo", 2, False), ("lo", 3, True), ("lo", 8, False)),
        *(("eth0", 0, True), ("eth0", 1, True), ("eth0", 8, False)),
    ],
)
def test_arp_ignore_decides_whether_the_kernel_answers(
    lab: None, interface: str, ignore: int, answers: bool
) -> None:
    setting(arp_ignore=ignore)
    run("ip", "-n", NODE, "link", "set", "lo", "up")
    run("ip", "-n", NODE, "address", "add", f"{ADDRESS}/32", "dev", interface)
    try:
        assert answered(ADDRESS) == answers
    finally:
        run("ip", "-n", NODE, "address", "del", f"{ADDRESS}/32", "dev", interface)
        setting(arp_ignore=0)


@pytest.mark.parametrize(("interface", "answers"), [("lo", False), ("eth0", True)])
def test_ndp_answers_only_for_what_stands_on_the_interface(lab: None, interface: str, answers: bool) -> None:
    run("ip", "-n", NODE, "link", "set", "lo", "up")
    run("ip", "-n", NODE, "address", "add", f"{ADDRESS6}/128", "dev", interface, "nodad")
    try:
        assert answered(ADDRESS6) == answers
    finally:
        run("ip", "-n", NODE, "address", "del", f"{ADDRESS6}/128", "dev", interface)


@pytest.fixture
def routed(lab: None) -> Iterator[None]:
    """The default route goes over eth0; eth1 has a network of its own."""
    run("ip", "-n", NODE, "address", "add", f"{OWN0}/24", "dev", "eth0")
    run("ip", "-n", NODE, "address", "add", f"{OWN1}/24", "dev", "eth1")
    run("ip", "-n", NODE, "route", "add", "default", "via", "192.0.2.2")
    yield
    setting(rp_filter=0, proxy_arp=0)
    for name in ("eth0", "eth1"):
        run("ip", "-n", NODE, "-4", "address", "flush", "dev", name)


def test_proxy_arp_answers_for_what_is_routed_elsewhere(routed: None) -> None:
    run(*inside(NODE, "sysctl", "-q", "net.ipv4.ip_forward=1"))
    elsewhere = "198.51.100.77"  # by eth1
    assert not answered(elsewhere)
    setting(proxy_arp=1)
    run(*inside(NODE, "sysctl", "-q", "net.ipv4.neigh.eth0.proxy_delay=0"))
    assert not answered(ADDRESS)  # on the segment that asks: nobody's business
    assert not answered(elsewhere)  # a probe comes from 0.0.0.0, and is not answered by proxy …
    run("ip", "-n", NEIGHBOUR, "route", "replace", f"{elsewhere}/32", "dev", "p0")
    try:
        deadline = time.monotonic() + 10
        while NODE_MAC["eth0"] not in run("ip", "-n", NEIGHBOUR, "neigh", "show", elsewhere):
            assert time.monotonic() < deadline
            with socket_in(NEIGHBOUR, socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"x", (elsewhere, PORT))  # … but a client's own question is
                select.select([], [], [], 0.1)
    finally:
        run("ip", "-n", NEIGHBOUR, "route", "del", f"{elsewhere}/32", "dev", "p0")


def received(source: str, to: str) -> bool:
    """Whether a packet of `source` that comes in on eth1 reaches a socket of the node."""
    with socket_in(NODE, socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((to, PORT))
        listener.settimeout(0.5)
        station = Station("p1")
        for _ in range(3):
            station.send(_datagram(source, to))
        station.close()
        try:
            return listener.recv(16) == b"x"
        except TimeoutError:
            return False


def _datagram(source: str, to: str) -> bytes:
    udp = struct.pack("!HHHH", 5353, PORT, 9, 0) + b"x"  # no checksum: IPv4 allows that
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ip_bytes(source) + ip_bytes(to)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:]
    return mac_bytes(NODE_MAC["eth1"]) + mac_bytes("02:00:00:00:00:21") + b"\x08\x00" + head + udp


@pytest.mark.parametrize(("mode", "far"), [(0, True), (1, False), (2, True)])
def test_strict_reverse_path_drops_clients_beyond_the_network_of_a_second_interface(
    routed: None, mode: int, far: bool
) -> None:
    setting(rp_filter=mode)
    assert received(FAR, OWN1) == far
    assert received("198.51.100.77", OWN1)  # of its own network: always


@pytest.mark.parametrize(("mode", "passes"), [(0, True), (1, False), (2, False)])
def test_an_interface_without_an_address_passes_no_reverse_path_at_all(
    routed: None, mode: int, passes: bool
) -> None:
    run("ip", "-n", NODE, "-4", "address", "flush", "dev", "eth1")
    setting(rp_filter=mode)
    assert received(FAR, OWN0) == passes
