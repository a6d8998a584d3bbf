"""UDP sockets of BFD: one to receive for each family and hop count, one to send for each session.

In:  addresses, interfaces. Out: sockets; a datagram with its TTL, where it arrived and when.
Elsewhere: when they are made and thrown away is edge.py.

Received on the wildcard: interfaces and addresses come and go without a socket to be made again. Without
SO_REUSEADDR: another BFD daemon on the node is to be told of, not to be robbed.
"""

import array
import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from metalbgp.bfd.values import Wanted
from metalbgp.bfd.wire import MULTIHOP, SINGLE_HOP
from metalbgp.clocks import SO_TIMESTAMPNS, age

PORTS: Final = range(49152, 65536)  # source ports, RFC 5881 §4; FRR takes others as well, not everybody does
TTL: Final = 255  # sent always, and on a single hop nothing less is taken: no router was crossed (RFC 5082)
PAYLOAD: Final = 128  # bytes that are looked at; a packet has 24

_IP_RECVTTL: Final = 12  # which Python's socket module does not name
_IP_PKTINFO: Final = 8
_NETWORK_CONTROL: Final = 0xC0  # the class of routing protocols
_TRIES: Final = 32  # for a free source port
_INFO4, _INFO6 = struct.Struct("=i4s4s"), struct.Struct("=16si")
_INT: Final = struct.Struct("=i")
_PROGRAM: Final = struct.Struct("HP")
_SO_ATTACH_FILTER: Final = 26
_ROOM: Final = 256  # bytes of ancillary data


class Datagram(NamedTuple):
    payload: bytes
    source: bytes  # packed address
    destination: bytes
    ifindex: int
    ttl: int
    age: float  # seconds since the kernel got it


def port_of(*, multihop: bool) -> int:
    return MULTIHOP if multihop else SINGLE_HOP


def packed(address: str) -> bytes:
    """Raises OSError for what is no address; nothing for nothing."""
    return socket.inet_pton(family_of(address), address) if address else b""


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def is_link_local(address: bytes) -> bool:
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80


def receiver(family: socket.AddressFamily, *, multihop: bool) -> socket.socket:
    """Raises OSError: EADDRINUSE means another BFD daemon."""
    fresh = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        fresh.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        if family == socket.AF_INET6:
            fresh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            fresh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            fresh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            fresh.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
            fresh.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        fresh.bind(("", port_of(multihop=multihop)))
    except OSError:
        fresh.close()
        raise
    return fresh


def attach(channel: socket.socket, program: bytes) -> None:
    """Put a filter on a socket, in place of the one before."""
    held = array.array("B", program)
    fprog = _PROGRAM.pack(len(program) // 8, held.buffer_info()[0])
    channel.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def received(channel: socket.socket) -> Datagram:
    """The next one; raises OSError when there is none."""
    payload, ancillary, _, sender = channel.recvmsg(PAYLOAD, _ROOM)
    ttl, index, destination = 0, 0, b""
    for level, kind, data in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
            ttl = _INT.unpack(data)[0]
        elif (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            index, _, destination = _INFO4.unpack(data)
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            destination, index = _INFO6.unpack(data)
    source = socket.inet_pton(channel.family, sender[0].partition("%")[0])
    return Datagram(payload, source, destination, index, ttl, age(ancillary))


def sender(wanted: Wanted, port: int) -> socket.socket:
    """Connected, so that the kernel chose our address and tells when nobody listens there. `port`: the source
    port of this session before, or 0."""
    family = family_of(wanted.peer)
    fresh = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if wanted.interface:
            fresh.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, wanted.interface.encode() + b"\0")
        if family == socket.AF_INET:
            fresh.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, TTL)
            fresh.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _NETWORK_CONTROL)
        else:
            fresh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, TTL)
            fresh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _NETWORK_CONTROL)
        scope = socket.if_nametoindex(wanted.interface) if wanted.interface else 0
        _bind(fresh, wanted.local, port, scope)
        fresh.connect(_name(wanted.peer, port_of(multihop=wanted.multihop), scope))
    except OSError:
        fresh.close()
        raise
    return fresh


def _bind(fresh: socket.socket, local: str, port: int, scope: int) -> None:
    """To a port that no other session has: the kernel refuses one in use."""
    any_address = "::" if fresh.family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104  # the kernel chooses among ours
    for tried in _ports(port):
        try:
            fresh.bind(_name(local or any_address, tried, scope))
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                raise
        else:
            return
    raise OSError(errno.EADDRINUSE, "no free source port")


def _ports(first: int) -> Iterator[int]:
    if first:
        yield first
    for _ in range(_TRIES):
        yield PORTS[int.from_bytes(os.urandom(2), "big") % len(PORTS)]


def _name(address: str, port: int, scope: int) -> tuple[str, int] | tuple[str, int, int, int]:
    if family_of(address) == socket.AF_INET:
        return address, port
    return address, port, 0, scope if is_link_local(packed(address)) else 0
