"""What the node's kernel does with ARP and with packets of clients, beside us. Read in the speaker's pod.

In:  /proc/sys and /proc/net of the network namespace (the host's), the addresses by rtnetlink.
Out: facts(), plain values for JSON: settings by interface, addresses, where the default route goes.
Elsewhere: what is wrong with them is judged by cli/layer2_checks.py.
"""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from metalbgp.kernel_routes import ipv4

SETTINGS: Final = ("arp_ignore", "arp_announce", "rp_filter", "proxy_arp")
LOCAL: Final = 2000  # addresses that are told at most: kube-ipvs0 has one for every Service
PROC: Final = Path("/proc")

_HEADER: Final = struct.Struct("=IHHII")
_ADDRESS: Final = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_ATTRIBUTE: Final = struct.Struct("=HH")
_NEW_ADDRESS, _GET_ADDRESS, _DONE, _ERROR = 20, 22, 3, 2
_DUMP: Final = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2


def facts(proc: Path = PROC) -> dict[str, Any]:
    """Everything; what cannot be read is left out."""
    conf = proc / "sys/net/ipv4/conf"
    found = list(addresses())
    return {
        "ipv4": {one.name: settings(one) for one in sorted(conf.iterdir())} if conf.is_dir() else {},
        "forward": number(proc / "sys/net/ipv4/ip_forward"),
        "forward6": number(proc / "sys/net/ipv6/conf/all/forwarding"),
        "default": default_routes(text(proc / "net/route")),
        "addresses": found[:LOCAL],
        "more": max(0, len(found) - LOCAL),
        "links": links(text(proc / "net/dev")),
        "capabilities": capabilities(text(proc / "self/status")),
    }


def settings(directory: Path) -> dict[str, int]:
    return {name: value for name in SETTINGS if (value := number(directory / name)) is not None}


def number(path: Path) -> int | None:
    try:
        return int(text(path))
    except ValueError:
        return None


def text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def default_routes(table: str) -> list[str]:
    """Interfaces over which IPv4's default route goes (/proc/net/route: the main table). Of several only that
    with the lowest metric counts: the kernel looks no further, when it checks where a packet came from."""
    found = [one for one in ipv4(table) if one.length == 0 and one.up]
    best = min((one.metric for one in found), default=0)
    return sorted({one.interface for one in found if one.metric == best})


def links(table: str) -> list[str]:
    """Every interface that there is, up or not."""
    return sorted(line.partition(":")[0].strip() for line in table.splitlines() if ":" in line)


def capabilities(status: str) -> str:
    """The effective ones, in hexadecimal as the kernel writes them."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return line.partition(":")[2].strip()
    return ""


def addresses() -> Iterator[list[str]]:
    """[address, interface] of every address that the kernel takes for its own."""
    names = dict(socket.if_nameindex())
    request = _ADDRESS.pack(0, 0, 0, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(1.0)
        try:
            asking.send(_HEADER.pack(_HEADER.size + len(request), _GET_ADDRESS, _DUMP, 1, 0) + request)
            while True:
                datagram = asking.recv(1 << 17)
                yield from _of(datagram, names)
                if _ended(datagram):
                    return
        except OSError:
            return


def _of(datagram: bytes, names: dict[int, str]) -> Iterator[list[str]]:
    for kind, body in _messages(datagram):
        if kind != _NEW_ADDRESS or len(body) < _ADDRESS.size:
            continue
        family, *_, index = _ADDRESS.unpack_from(body)
        said = dict(_attributes(body))
        packed = (
            said.get(_IFA_LOCAL) or said.get(_IFA_ADDRESS) or b""
        )  # local: where the other end has its own
        if (family, len(packed)) in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
            yield [socket.inet_ntop(family, packed), names.get(index, str(index))]


def _ended(datagram: bytes) -> bool:
    return any(kind in (_DONE, _ERROR) for kind, _ in _messages(datagram))


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size:
            return
        yield kind, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    offset = _ADDRESS.size
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, body[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
