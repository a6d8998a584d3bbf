"""The kernel's main routing tables, as /proc/net shows them. Pure; nothing but the standard library.

In:  the text of /proc/net/route (IPv4), of /proc/net/ipv6_route.
Out: Route, one a line; what is no route is left out.
Elsewhere: is a router on a link of this node: bgp/here.py; where the default route goes: reflex/host.py.
"""

import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

_UP: Final = 0x1  # RTF_UP


class Route(NamedTuple):
    interface: str
    network: int  # its first address
    length: int  # of the prefix
    gateway: bool  # packets go to another router, not to their destination itself
    metric: int
    up: bool

    def covers(self, address: int, bits: int) -> bool:
        """`bits`: of an address, 32 or 128."""
        return address >> (bits - self.length) == self.network >> (bits - self.length)


def ipv4(table: str) -> Iterator[Route]:
    for line in table.splitlines():
        words = line.split()
        if len(words) > 7 and words[0] != "Iface":  # the title
            network, gateway, mask = (_own_order(words[field]) for field in (1, 2, 7))
            up = bool(int(words[3], 16) & _UP)
            yield Route(words[0], network, mask.bit_count(), bool(gateway), int(words[6]), up)


def ipv6(table: str) -> Iterator[Route]:
    """Without the kernel's own on lo: each address of ours, and what it rejects."""
    for line in table.splitlines():
        words = line.split()
        if len(words) > 9 and words[9] != "lo":
            network, length, gateway, metric, flags = (int(words[field], 16) for field in (0, 1, 4, 5, 8))
            yield Route(words[9], network, length, bool(gateway), metric, bool(flags & _UP))


def _own_order(text: str) -> int:
    """/proc/net/route has addresses as the machine's own words."""
    return int.from_bytes(int(text, 16).to_bytes(4, sys.byteorder), "big")
