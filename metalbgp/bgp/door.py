"""A TCP connection to a router as ExaBGP would make it: same address, same device, same MD5 key.

In:  a neighbour. Out: a socket on its way to it, or OSError; and what an errno means, as a reason.
Elsewhere: who is knocked at, and what is heard behind the door, is knock.py and seek.py.
"""

import errno
import os
import socket
import struct
from base64 import b64decode
from typing import Final

from metalbgp.bgp.values import Neighbor
from metalbgp.model.addresses import family
from metalbgp.model.reasons import (
    AuthenticationSuspected,
    CannotConnect,
    ConnectionRefused,
    HostUnreachable,
    InterfaceMissing,
    NoAnswer,
    NoRoute,
    NotReached,
    SourceAddressMissing,
)

WAIT: Final = 4.0  # seconds for an answer: by then two SYNs went out, and ARP has given up
_MD5: Final = 14  # TCP_MD5SIG
_KEY: Final = struct.Struct("=128sBBHi80s")  # address, flags, prefix length, key length, device, key
_BIND_TO_DEVICE: Final = 25


def approach(n: Neighbor) -> socket.socket:
    """Non-blocking, and connecting. Raises OSError when it is over before it began."""
    door = socket.socket(socket.AF_INET if family(n.address) == 4 else socket.AF_INET6)
    door.setblocking(False)
    try:
        if n.interface:
            door.setsockopt(socket.SOL_SOCKET, _BIND_TO_DEVICE, n.interface.encode() + b"\0")
        if n.password_base64 is not None:
            door.setsockopt(socket.IPPROTO_TCP, _MD5, _key(n))
        if n.ttl_security:
            level, option = (
                (socket.IPPROTO_IP, socket.IP_TTL)
                if family(n.address) == 4
                else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
            )
            door.setsockopt(level, option, 255)
        if n.local_address:
            door.bind((n.local_address, 0))
        door.connect((n.address, n.port))
    except BlockingIOError:
        pass
    except OSError:
        door.close()
        raise
    return door


def failed(n: Neighbor, number: int) -> NotReached:
    """What the errno of an attempt means."""
    match number:
        case errno.ECONNREFUSED:
            return ConnectionRefused(port=n.port)
        case errno.ENETUNREACH:
            return NoRoute(address=n.address)
        case errno.EHOSTUNREACH:
            return HostUnreachable(address=n.address)
        case errno.EADDRNOTAVAIL:
            return SourceAddressMissing(address=n.local_address)
        case errno.ENODEV:
            return InterfaceMissing(interface=n.interface)
        case _:
            return CannotConnect(why=os.strerror(number))


def silent(n: Neighbor) -> NotReached:
    """Nobody answered within WAIT."""
    kind = NoAnswer if n.password_base64 is None else AuthenticationSuspected
    return kind(address=n.address, seconds=round(WAIT))


def _key(n: Neighbor) -> bytes:
    """struct tcp_md5sig (linux/tcp.h). The kernel compares the address alone."""
    secret = b64decode(n.password_base64 or "")
    packed = socket.inet_pton(socket.AF_INET if family(n.address) == 4 else socket.AF_INET6, n.address)
    if len(packed) == 4:
        address = struct.pack("=HH4s", socket.AF_INET, 0, packed)
    else:
        address = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, packed, 0)
    return _KEY.pack(address, 0, 0, len(secret), 0, secret)
