"""What this node has for a session: a VRF device, an address of its own, a port to listen on. Reads only.

In:  names and neighbours. Out: what the kernel says of them.
Elsewhere: seek.py asks, and says what follows.
"""

import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from metalbgp.bgp.values import Neighbor
from metalbgp.kernel_routes import ipv4, ipv6
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
    wanted = parse(address)
    routes, file = (ipv4, "route") if wanted.version == 4 else (ipv6, "ipv6_route")
    table = ""
    with suppress(OSError):
        table = (net / file).read_text()
    found = (one for one in routes(table) if one.covers(int(wanted), wanted.max_prefixlen))
    return max(((one.length, not one.gateway) for one in found), default=(0, True))[1]


def mac(interface: str) -> bytes:
    """Empty for a device without one."""
    with suppress(OSError, ValueError):
        return bytes.fromhex((DEVICES / interface / "address").read_text().strip().replace(":", ""))
    return b""
