"""The queue of one port: what came, when the kernel got it, and how far it was read."""

import socket
from collections.abc import Iterator
from typing import Final

from metalbgp.bfd import sockets
from metalbgp.bfd.sockets import Datagram
from metalbgp.clocks import clock

BUDGET: Final = 64  # datagrams of one socket in one run(): no flood may keep the others waiting


class Receiver:
    """One port of one family, and how far its queue was read."""

    def __init__(self, family: socket.AddressFamily, *, multihop: bool, now: float) -> None:
        self.multihop = multihop
        self.socket = sockets.receiver(family, multihop=multihop)
        self.heard = now  # everything that the kernel got before was read
        self._empty = now  # when nothing was queued

    def nothing(self, now: float) -> None:
        """Nothing was queued then."""
        self.heard = self._empty = now

    def read(self) -> Iterator[tuple[Datagram, float]]:
        """Datagrams, each with the moment at which the kernel got it. A wall clock that was set meanwhile
        makes none older than the emptiness of the queue before it."""
        for _ in range(BUDGET):
            asked = clock()
            try:
                datagram = sockets.received(self.socket)
            except BlockingIOError:
                self.nothing(asked)
                return
            except OSError:
                return
            self.heard = max(self.heard, self._empty, asked - datagram.age)
            yield datagram, self.heard
