"""One session as the edge keeps it: what is wanted of it, its machine, its socket, what went wrong last."""

import socket
import time
from typing import Any

from metalbgp.bfd import sockets
from metalbgp.bfd.machine import Session
from metalbgp.bfd.sockets import Datagram, packed
from metalbgp.bfd.values import Wanted
from metalbgp.bfd.wire import Drop


class Live:
    """One session with its socket."""

    def __init__(self, wanted: Wanted, offered: Wanted, session: Session) -> None:
        self.wanted, self.offered, self.session = wanted, offered, session
        self.peer, self.local = packed(wanted.peer), packed(wanted.local)
        self.sender: socket.socket | None = None
        self.port = 0
        self.address = wanted.local  # ours, as far as known
        self.problem: OSError | None = None  # of sending
        self.refused: Drop | None = None  # why the last of its router's packets counted for nothing
        self.ttl = 0  # which that one had
        self.due = 0.0
        self.since = time.time()  # in its state
        self.failed = False  # and nobody was told yet
        self.stirred = True  # something happened to it since its row was told
        self.told: dict[str, Any] = {}

    @property
    def port_of(self) -> tuple[socket.AddressFamily, bool]:
        """Where it is heard: the family, and whether on the port of multihop."""
        return sockets.family_of(self.wanted.peer), self.wanted.multihop

    def takes(self, datagram: Datagram) -> bool:
        """Whether it came from there to here."""
        if self.peer != datagram.source or (self.local and self.local != datagram.destination):
            return False
        return not self.wanted.interface or self.wanted.interface == _named(datagram.ifindex)

    def near(self, ttl: int) -> bool:
        """Whether it crossed no more routers than allowed."""
        return ttl >= (self.wanted.minimum_ttl if self.wanted.multihop else sockets.TTL)


def _named(ifindex: int) -> str:
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return ""
