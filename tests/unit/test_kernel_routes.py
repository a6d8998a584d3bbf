"""The kernel's routes from its own words."""

import sys
from ipaddress import IPv4Address, IPv6Address

import pytest

from metalbgp.kernel_routes import Route, ipv4, ipv6

TITLE = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
LO6 = f"{1:032x} 80 {0:032x} 00 {0:032x} 00000000 00000003 00000000 80200001 lo\n"


def line4(network: str, gateway: str, mask: str, *, flags: str = "0003", metric: int = 7) -> str:
    words = (
        f"{int.from_bytes(IPv4Address(one).packed, sys.byteorder):08X}" for one in (network, gateway, mask)
    )
    first, second, third = words
    return f"eth0\t{first}\t{second}\t{flags}\t0\t0\t{metric}\t{third}\t0\t0\t0\n"


def test_an_ipv4_route_has_its_addresses_in_the_machines_own_order() -> None:
    (one,) = ipv4(TITLE + line4("10.90.1.128", "10.90.1.1", "255.255.255.128"))
    assert one == Route("eth0", int(IPv4Address("10.90.1.128")), 25, gateway=True, metric=7, up=True)
    assert one.covers(int(IPv4Address("10.90.1.200")), 32)
    assert not one.covers(int(IPv4Address("10.90.1.127")), 32)
    (down,) = ipv4(line4("0.0.0.0", "0.0.0.0", "0.0.0.0", flags="0002"))
    assert (down.length, down.gateway, down.up) == (0, False, False)
    assert down.covers(int(IPv4Address("192.0.2.1")), 32)


def test_an_ipv6_route_is_read_and_those_of_the_loopback_are_left_out() -> None:
    network, gateway = (IPv6Address(one).packed.hex() for one in ("fd90:1::", "fe80::1"))
    line = f"{network} 40 {'0' * 32} 00 {gateway} 00000400 00000001 00000000 00000003 eth1\n"
    (one,) = ipv6(LO6 + line)
    assert one == Route("eth1", int(IPv6Address("fd90:1::")), 64, gateway=True, metric=1024, up=True)
    assert one.covers(int(IPv6Address("fd90:1::9")), 128)
    assert not one.covers(int(IPv6Address("fd90:2::9")), 128)


@pytest.mark.parametrize("table", ["", "\n", "eth0\t00000000\n"])
def test_what_is_no_route_is_left_out(table: str) -> None:
    assert list(ipv4(table)) == list(ipv6(table)) == list(ipv4(TITLE)) == []
