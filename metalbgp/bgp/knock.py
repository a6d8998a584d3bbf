"""Why does a router not let us in? ExaBGP says that a connection failed and not why, so we knock ourselves.

In:  neighbours without a session and without a reason; the loop.
Out: words for each: refused, no answer, no route, an address that the node does not have, closed at once.
Elsewhere: what a NOTIFICATION says is notifications.py, and comes first; the sessions are ExaBGP's own.

A TCP connection from the same address, device and with the same MD5 key as the session's, closed as soon as
it stands; a router that knows us logs at most a connection that came to nothing. Only who has been down for
a while is knocked at, ever more rarely.
"""

import errno
import os
import socket
import struct
from base64 import b64decode
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from metalbgp.bgp.values import Neighbor
from metalbgp.loop import Loop
from metalbgp.model.addresses import family

LOOK: Final = 1.0  # seconds between two looks at who is down
FIRST: Final = 5.0  # seconds from one knock to the next, doubled up to LAST
LAST: Final = 60.0
WAIT: Final = 4.0  # seconds for an answer: by then two SYNs went out, and ARP has given up
LISTEN: Final = 1.0  # seconds in which a router that does not want us closes
_MD5: Final = 14  # TCP_MD5SIG
_KEY: Final = struct.Struct("=128sBBHi80s")  # address, flags, prefix length, key length, device, key
_BIND_TO_DEVICE: Final = 25


def words(n: Neighbor, outcome: int | str) -> str:
    """`outcome`: an errno; or "silent", "closed", "open"."""
    match outcome:
        case errno.ECONNREFUSED:
            return f"connection refused: nothing listens on port {n.port} there, or not for this node"
        case errno.ENETUNREACH:
            return f"no route to {n.address} on this node"
        case errno.EHOSTUNREACH:
            return f"no route to {n.address}, or nobody answers for it on its segment"
        case errno.EADDRNOTAVAIL:
            return f"this node does not have the address {n.local_address or 'to connect from'}"
        case errno.ENODEV:
            return f"this node has no device {n.interface}"
        case "silent" if n.password_base64 is not None:
            return f"no answer from {n.address} within {WAIT:g} s: do both ends have the same password?"
        case "silent":
            return f"no answer from {n.address} within {WAIT:g} s: it is down, filtered, or wants a password"
        case "closed":
            return "the router closes the connection at once: does it know this node as a neighbor?"
        case "open":
            return "TCP connects, and BGP does not follow: is it a BGP speaker that knows this node?"
        case int():
            return f"cannot connect: {os.strerror(outcome)}"
        case _:
            return f"cannot connect: {outcome}"


class Knocker:
    def __init__(
        self, loop: Loop, silent: Callable[[], Iterable[Neighbor]], explain: Callable[[str, str], None]
    ) -> None:
        """`silent`: who is down without a reason. `explain(peer, words)`: why."""
        self._loop, self._silent, self._explain = loop, silent, explain
        self._doors: dict[str, socket.socket] = {}
        self._due: dict[str, tuple[float, float]] = {}  # peer → not before, pause after it

    def start(self) -> None:
        self._loop.after(LOOK, self._look)

    def _look(self) -> None:
        self._loop.after(LOOK, self._look)
        now = self._loop.now()
        silent = {n.address: n for n in self._silent()}
        for peer in [peer for peer in self._due if peer not in silent]:
            del self._due[peer]
        for peer, n in silent.items():
            due, pause = self._due.get(peer, (now, FIRST))
            if peer not in self._doors and now >= due:
                self._due[peer] = now + pause, min(pause * 2, LAST)
                self._knock(n)

    def _knock(self, n: Neighbor) -> None:
        door = socket.socket(socket.AF_INET if family(n.address) == 4 else socket.AF_INET6)
        door.setblocking(False)
        try:
            if n.interface:
                door.setsockopt(socket.SOL_SOCKET, _BIND_TO_DEVICE, n.interface.encode() + b"\0")
            if n.password_base64 is not None:
                door.setsockopt(socket.IPPROTO_TCP, _MD5, _key(n))
            if n.local_address:
                door.bind((n.local_address, 0))
            door.connect((n.address, n.port))
        except BlockingIOError:
            self._doors[n.address] = door
            self._loop.watch(door, None, lambda: self._answered(n, door))
            self._loop.after(WAIT, lambda: self._end(n, door, "silent"))
        except OSError as error:
            door.close()
            self._explain(n.address, words(n, error.errno or 0))
        else:  # pragma: no cover  # a local address may connect at once
            door.close()

    def _answered(self, n: Neighbor, door: socket.socket) -> None:
        failed = door.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            self._end(n, door, failed)
            return
        self._loop.watch(door, lambda: self._heard(n, door))
        self._loop.after(LISTEN, lambda: self._end(n, door, "open"))

    def _heard(self, n: Neighbor, door: socket.socket) -> None:
        """An OPEN or a NOTIFICATION is BGP: ExaBGP hears the same, and says more."""
        with suppress(OSError):
            if door.recv(64):
                self._end(n, door, "")
                return
        self._end(n, door, "closed")

    def _end(self, n: Neighbor, door: socket.socket, outcome: int | str) -> None:
        if self._doors.get(n.address) is not door:
            return  # answered before
        del self._doors[n.address]
        self._loop.forget(door)
        door.close()
        if outcome:
            self._explain(n.address, words(n, outcome))


def _key(n: Neighbor) -> bytes:
    """struct tcp_md5sig (linux/tcp.h). The kernel compares the address alone."""
    secret = b64decode(n.password_base64 or "")
    packed = socket.inet_pton(socket.AF_INET if family(n.address) == 4 else socket.AF_INET6, n.address)
    if len(packed) == 4:
        address = struct.pack("=HH4s", socket.AF_INET, 0, packed)
    else:
        address = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, packed, 0)
    return _KEY.pack(address, 0, 0, len(secret), 0, secret)
