"""The queue of one port: what came, when the kernel got it, and how far it was read.

In:  the routers whose packets belong here. Out: datagrams; `heard`, the moment up to which all were read.
Elsewhere: socket options in sockets.py; whose datagram it is, edge.py.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from metalbgp.bfd import filters, sockets
from metalbgp.bfd.sockets import Datagram
from metalbgp.clocks import clock

BUDGET: Final = 64  # datagrams in one read(): no flood may keep the others waiting
NOISE: Final = 200  # useless datagrams within a second: somebody uses a router's address to flood us
STRICT: Final = 10.0  # seconds that the kernel is strict then

_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("=9I")  # the last: datagrams that the kernel threw away


class Receiver:
    """One port of one family."""

    def __init__(self, family: socket.AddressFamily, *, multihop: bool, now: float) -> None:
        self.multihop = multihop
        self.socket = sockets.receiver(family, multihop=multihop)
        self.heard = now  # everything that the kernel got before was read
        self._empty = now  # when nothing was queued
        self._sessions: dict[int, bytes] = {}
        self._program = b""
        self._noise, self._noise_since = 0, now
        self._strict_until = 0.0

    @property
    def refused(self) -> int:
        """Datagrams that the filter kept out, or that found no room."""
        info = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(info)[-1]) if len(info) == _MEMINFO.size else 0

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

    def expect(self, sessions: Mapping[int, bytes], now: float) -> None:
        """Our discriminators and the routers whose packets belong here, and no others'."""
        self._sessions = dict(sessions)
        self._filter(now)

    def useless(self, now: float) -> None:
        """Count a datagram that was of no use. Of few the reason is told (a TTL, say); of a flood the kernel
        keeps out what it can see is none of a session's."""
        if now - self._noise_since >= 1.0:
            self._noise, self._noise_since = 0, now
        self._noise += 1
        if self._noise == NOISE:
            self._strict_until = now + STRICT
            self._filter(now)

    def calm(self, now: float) -> None:
        """Listen to everybody again, when it is time."""
        if self._strict_until and now >= self._strict_until:
            self._strict_until = 0.0
            self._filter(now)

    def _filter(self, now: float) -> None:
        size = 4 if self.socket.family == socket.AF_INET else 16
        strict, sources = now < self._strict_until, self._sessions.values()
        program = filters.program(
            size,
            sources,
            near=strict and not self.multihop,
            discriminators=self._sessions if strict else (),
        )
        if program != self._program:
            self._program = program
            sockets.attach(self.socket, program)
