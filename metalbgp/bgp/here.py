"""What this node has for a session: a VRF device, an address of its own, a port to listen on. Reads only.

In:  names and neighbours. Out: what the kernel says of them.
Elsewhere: seek.py asks, and says what follows.
"""

import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from metalbgp.bgp.values import Neighbor
from metalbgp.model.addresses import canonical, family, parse
from metalbgp.model.reasons import VRFMissing

DEVICES: Final = Path("/sys/class/net")
ROUTES: Final = Path("/proc/net")
FIRST_PORT: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def exists(interface: str) -> bool:
    return (DEVICES / interface).exists()


def unprivileged() -> int:
    """The first port on which a process without capabilities may listen here."""
    with suppress(OSError, ValueError):
        return int(FIRST_PORT.read_text())
    return 1024


def own_end(n: Neighbor) -> str:
    """The address that a connection to the router would come from; "" without a route to it."""
    with socket.socket(
        socket.AF_INET if family(n.address) == 4 else socket.AF_INET6, socket.SOCK_DGRAM
    ) as probe:
        try:
            if n.interface:
                probe.setsockopt(socket.SOL_SOCKET, 25, n.interface.encode() + b"\0")  # SO_BINDTODEVICE
            probe.connect((n.address, n.port))  # UDP: nothing is sent
        except OSError:
            return ""
        return canonical(str(probe.getsockname()[0]).partition("%")[0])


def vrf(name: str) -> VRFMissing | None:
    """Why a session cannot be bound to this VRF on this node."""
    try:
        about = (DEVICES / name / "uevent").read_text()
    except OSError:
        return VRFMissing(vrf=name)
    return None if "DEVTYPE=vrf" in about.split() else VRFMissing(vrf=name, other=True)


def near(address: str, net: Path = ROUTES) -> bool:
    """Whether the main table reaches it without a gateway: on a link of this node's own."""
    wanted, best = parse(address), (-1, True)
    if wanted.version == 4:
        for line in _lines(net / "route"):
            words = line.split()
            first, gateway, mask = (_number4(words[field]) for field in (1, 2, 7))
            if int(wanted) & mask == first:
                best = max(best, (mask.bit_count(), not gateway))
    else:
        for line in _lines(net / "ipv6_route"):
            words = line.split()
            length = int(words[1], 16)
            if int(wanted) >> (128 - length) == int(words[0], 16) >> (128 - length) and words[9] != "lo":
                best = max(best, (length, not int(words[4], 16)))
    return best[1]


def _lines(path: Path) -> list[str]:
    """Without the titles that one of the two files has."""
    with suppress(OSError):
        return [line for line in path.read_text().splitlines() if not line.startswith("Iface")]
    return []


def _number4(text: str) -> int:
    """/proc/net/route has addresses as the machine's own words."""
    return int.from_bytes(int(text, 16).to_bytes(4, sys.byteorder), "big")


def mac(interface: str) -> bytes:
    """Empty for a device without one."""
    with suppress(OSError, ValueError):
        return bytes.fromhex((DEVICES / interface / "address").read_text().strip().replace(":", ""))
    return b""
