"""What /proc/net says of the way to a router."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from metalbgp.bgp.here import near
from tests.wire.left_over import clean

NAME = "mhop"
NAMESPACE = f"{NAME}-{os.getpid()}-n"


def ip(*words: str) -> str:
    return subprocess.run(("ip", *words), check=True, capture_output=True, text=True, timeout=20).stdout


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Path]:
    """The kernel's own words for a link, a gateway and a default route."""
    clean(NAME)
    ip("netns", "add", NAMESPACE)
    try:
        for words in (
            "link add v0 type veth peer name v1",
            "link set v0 up",
            "link set v1 up",
            "address add 10.90.1.2/24 dev v0",
            "address add fd90:1::2/64 dev v0 nodad",
            "route add default via 10.90.1.1",
            "route add 10.90.1.128/25 via 10.90.1.1",
            "route add 10.99.0.0/16 dev v0",
            "-6 route add default via fd90:1::1",
        ):
            ip("-n", NAMESPACE, *words.split())
        for name in ("route", "ipv6_route"):
            text = ip("netns", "exec", NAMESPACE, "cat", f"/proc/net/{name}")
            (tmp_path / name).write_text(text)
        yield tmp_path
    finally:
        clean(NAME)


@pytest.mark.parametrize(
    ("address", "is_near"),
    [
        ("10.90.1.1", True),
        ("10.90.1.129", False),
        ("10.99.3.4", True),
        ("192.0.2.1", False),
        ("fd90:1::1", True),
        ("fd91::1", False),
        ("fe80::1", True),
    ],
)
def test_a_router_is_near_if_no_gateway_stands_between(net: Path, address: str, is_near: bool) -> None:
    assert near(address, net) is is_near


def test_without_routes_nobody_is_said_to_be_far(tmp_path: Path) -> None:
    assert near("192.0.2.1", tmp_path)
