"""Which interfaces may answer: the kernel's link messages (rtnetlink) to Interface values. Pure.

In:  datagrams from a netlink socket: answers to the two dumps, and events of the groups in GROUPS.
Out: the interfaces that are fit, by name, with the MAC and what they can carry.
Elsewhere: the socket in edge.py. Not read from /sys: that may belong to another network namespace.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

GROUPS: Final = 0x1 | 0x100  # RTMGRP_LINK, RTMGRP_IPV6_IFADDR
# Made by container networks and tunnels: nobody outside the node is there. MetalLB's list.
EXCLUDED: Final = (
    "^docker", "^cbr", "^dummy", "^virbr", "^lxcbr", "^veth", "^lo", "^cali", "^tunl", "^flannel",
    "^kube-ipvs", "^cni", "^nodelocaldns", "^lxc",
)  # fmt: skip

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_LINK: Final = struct.Struct("=BxHiII")  # family, hardware type, index, flags, change
_ADDRESS: Final = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR, _DONE, _NEW_LINK, _DEL_LINK, _GET_LINK, _NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = (
    2,
    3,
    16,
    17,
    18,
    20,
    21,
    22,
)
_DUMP: Final = 0x1 | 0x300  # NLM_F_REQUEST, NLM_F_DUMP
_UP, _BROADCAST, _LOOPBACK, _NOARP, _LOWER_UP = 0x1, 0x2, 0x8, 0x80, 0x10000
_ETHERNET: Final = 1
_INET6: Final = 10
_NAME, _MAC, _MASTER, _IFA_ADDRESS = 3, 1, 10, 1

_FLAGS: Final = re.compile(r"^\(\?([ims]+)\)(.*)$", re.DOTALL)


class Interface(NamedTuple):
    """An interface that may answer: for IPv4 if it can broadcast, for IPv6 if it has a link-local address."""

    name: str
    ifindex: int
    mac: bytes
    arp: bool
    ndp: bool


class Link(NamedTuple):
    """What the kernel says of one link."""

    name: str
    ifindex: int
    mac: bytes
    flags: int
    hardware: int
    master: int


def excluded(patterns: tuple[str, ...] = EXCLUDED) -> re.Pattern[str]:
    """One expression for all patterns, to be searched for: each matches where it says itself (^, $).

    Flags at its start, as in (?i)eth, hold for one pattern only, as in Go. What does not compile is left out:
    who sent it was told (reflex/messages.py, speaker/exclude_list.py).
    """
    alone = [_FLAGS.sub(r"(?\1:\2)", pattern, count=1) for pattern in patterns]
    return re.compile("|".join(f"(?:{pattern})" for pattern in alone if _compiles(pattern)) or r"(?!)")


def _compiles(pattern: str) -> bool:
    try:
        return not re.compile(pattern).groupindex  # a name may stand once in all patterns together
    except re.error:
        return False


def dump_requests() -> tuple[bytes, bytes]:
    """Ask for all links, then for all IPv6 addresses; each answer ends with DONE."""
    link = _LINK.pack(0, 0, 0, 0, 0)
    address = _ADDRESS.pack(_INET6, 0, 0, 0, 0)
    return (
        _HEADER.pack(_HEADER.size + len(link), _GET_LINK, _DUMP, 1, 0) + link,
        _HEADER.pack(_HEADER.size + len(address), _GET_ADDRESS, _DUMP, 2, 0) + address,
    )


class Links:
    """The links of one network namespace, kept up to date by the kernel's messages."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._local: dict[int, set[bytes]] = {}  # link-local addresses by interface index

    def apply(self, datagram: bytes) -> bool:
        """Take one datagram; True if a dump ends in it."""
        done = False
        for kind, body in _messages(datagram):
            if kind in (_NEW_LINK, _DEL_LINK):
                self._link(kind, body)
            elif kind in (_NEW_ADDRESS, _DEL_ADDRESS):
                self._address(kind, body)
            elif kind in (_DONE, _ERROR):
                done = True
        return done

    def _link(self, kind: int, body: bytes) -> None:
        if len(body) < _LINK.size:
            return
        family, hardware, index, flags, _ = _LINK.unpack_from(body)
        if (
            family != 0
        ):  # a bridge tells of its ports with the same messages: DELLINK there is not the link's end
            return
        if kind == _DEL_LINK:
            self._links.pop(index, None)
            self._local.pop(index, None)
            return
        attributes = dict(_attributes(body, _LINK.size))
        name = attributes.get(_NAME, b"").rstrip(b"\0").decode(errors="replace")
        master = int.from_bytes(attributes.get(_MASTER, b""), "little" if _LITTLE else "big")
        self._links[index] = Link(name, index, attributes.get(_MAC, b""), flags, hardware, master)

    def _address(self, kind: int, body: bytes) -> None:
        if len(body) < _ADDRESS.size:
            return
        family, _, _, _, index = _ADDRESS.unpack_from(body)
        address = dict(_attributes(body, _ADDRESS.size)).get(_IFA_ADDRESS, b"")
        if family != _INET6 or address[:1] != b"\xfe" or address[1] & 0xC0 != 0x80:
            return
        if kind == _NEW_ADDRESS:
            self._local.setdefault(index, set()).add(address)
        else:
            self._local.get(index, set()).discard(address)

    def fit(self, exclude: re.Pattern[str]) -> dict[str, Interface]:
        """Up with carrier, Ethernet, in no bridge or bond, not NOARP, not excluded by name."""
        return {
            link.name: Interface(
                link.name,
                link.ifindex,
                link.mac,
                arp=bool(link.flags & _BROADCAST),
                ndp=bool(self._local.get(link.ifindex)),
            )
            for link in self._links.values()
            if link.flags & (_UP | _LOWER_UP) == _UP | _LOWER_UP
            and not link.flags & (_NOARP | _LOOPBACK)
            and link.hardware == _ETHERNET
            and len(link.mac) == 6
            and not link.master
            and not exclude.search(link.name)
        }

    def idle(self, exclude: re.Pattern[str]) -> list[str]:
        """Those that would be fit if they had a link. One that is deleted is none of them: that is a person's
        decision, and would else count against the node for as long as the process lives."""
        return [
            link.name
            for link in self._links.values()
            if link.flags & (_UP | _LOWER_UP) != _UP | _LOWER_UP
            and not link.flags & (_NOARP | _LOOPBACK)
            and link.hardware == _ETHERNET
            and not link.master
            and not exclude.search(link.name)
        ]


_LITTLE: Final = struct.pack("=H", 1) == b"\x01\0"


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size or offset + length > len(datagram):
            return
        yield kind, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _attributes(body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size or offset + length > len(body):
            return
        yield kind & 0x3FFF, body[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
