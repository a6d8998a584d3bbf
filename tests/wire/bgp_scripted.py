"""A router of our own that says what FRR never would: any NOTIFICATION, broken messages, nothing at all.

In:  the script: what its OPEN says, bytes to send, whether it reads.
Out: `Scripted`: its table by family, and every prefix of every UPDATE in the order in which they came, so
     that a withdrawal that lasted for a moment is seen as well.
Elsewhere: UPDATEs are decoded by bench/wire.py; real routers are bgp_lab.py and gobgp_lab.py.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, NamedTuple

from bench.wire import prefixes
from tests.wire.bgp_lab import Lab, Linked
from tests.wire.doing import wait_for
from tests.wire.l2_segment import socket_in

MARKER: Final = b"\xff" * 16
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, REFRESH = 1, 2, 3, 4, 5
AS4, GRACEFUL = 65, 64


class Heard(NamedTuple):
    """One prefix of one UPDATE."""

    prefix: str
    announced: bool
    attributes: bytes


def message(kind: int, body: bytes = b"", *, length: int | None = None, marker: bytes = MARKER) -> bytes:
    """`length`: what the header says, if it is to lie."""
    return marker + struct.pack("!HB", 19 + len(body) if length is None else length, kind) + body


def capability(code: int, value: bytes = b"") -> bytes:
    return struct.pack("!BBBB", 2, 2 + len(value), code, len(value)) + value


def opening(asn: int, router_id: str, hold_time: int, *more: bytes, version: int = 4) -> bytes:
    """The body of an OPEN for both families, and what else it offers."""
    families = b"".join(capability(1, struct.pack("!HBB", afi, 0, 1)) for afi in (1, 2))
    options = families + capability(AS4, struct.pack("!I", asn)) + b"".join(more)
    fixed = struct.pack("!BHH4s", version, min(asn, 23456), hold_time, ip_address(router_id).packed)
    return fixed + bytes([len(options)]) + options


class Scripted(Linked):
    """It listens on both addresses of its link; every connection has a thread that reads."""

    def __init__(self, lab: Lab, number: int) -> None:
        super().__init__(number, lab.folder)
        lab.others.append(self)
        self.open = opening(self.asn, self.v4, 9)
        self.first: list[bytes] = []  # what the next connections get instead of it, each one
        self.reads = threading.Event()
        self.reads.set()
        self.speaks = threading.Event()  # keepalives, and its OPEN
        self.speaks.set()
        self.sessions = 0  # that were established
        self.notifications: list[tuple[int, int]] = []  # that we were sent
        self.heard: list[Heard] = []
        self.broken: list[str] = []  # what was sent to us and is no BGP
        self._tables: dict[socket.socket, dict[str, bytes]] = {}
        self._live: list[socket.socket] = []
        self._listeners: list[socket.socket] = []
        self._over = False
        self._pause = threading.Event()

    def start(self, receive: int = 0) -> None:
        """`receive`: bytes that its kernel takes while it reads nothing."""
        for family, address in ((socket.AF_INET, self.v4), (socket.AF_INET6, self.v6)):
            listener = socket_in(self.namespace, family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if receive:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
            listener.bind((address, 179))
            listener.listen(8)
            self._listeners.append(listener)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def kill(self) -> None:
        self._over = True
        self._pause.set()
        self.reads.set()
        for end in (*self._listeners, *self._live):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    # What it does

    def say(self, data: bytes) -> None:
        """On every session that is up."""
        for end in list(self._live):
            with suppress(OSError):
                end.sendall(data)

    def beats(self) -> None:
        """Keepalives without end, whether it hears any or not."""

        def beat() -> None:
            while not self._over:
                self.say(message(KEEPALIVE))
                self._pause.wait(0.5)

        threading.Thread(target=beat, daemon=True).start()

    # What it knows

    @property
    def up(self) -> int:
        return len(self._live)

    def table(self) -> dict[str, bytes]:
        """prefix → attributes, over all sessions."""
        return {p: a for table in list(self._tables.values()) for p, a in list(table.items())}

    def holds(self, wanted: set[str], limit: float = 20) -> None:
        wait_for(lambda: set(self.table()) == wanted, f"{sorted(wanted)} in r{self.number}", limit)

    def withdrawn(self) -> list[str]:
        return [one.prefix for one in list(self.heard) if not one.announced]

    # Its connections

    def _accept(self, listener: socket.socket) -> None:
        while not self._over:
            try:
                end, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(end,), daemon=True).start()

    def _serve(self, end: socket.socket) -> None:
        try:
            if self.speaks.is_set():
                end.sendall(message(OPEN, self.first.pop(0) if self.first else self.open))
            for kind, body in self._messages(end):
                self._take(end, kind, body)
        except OSError:
            pass  # it was reset
        finally:
            if end in self._live:
                self._live.remove(end)
            self._tables.pop(end, None)
            end.close()

    def _messages(self, end: socket.socket) -> Iterator[tuple[int, bytes]]:
        data = b""
        while True:
            while len(data) >= 19 and len(data) >= (length := struct.unpack_from("!H", data, 16)[0]):
                if not data.startswith(MARKER) or not 19 <= length <= 4096 or not OPEN <= data[18] <= REFRESH:
                    self.broken.append(data[:19].hex())
                    return
                yield data[18], data[19:length]
                data = data[length:]
            self.reads.wait()
            more = end.recv(65536)
            if not more:
                return
            data += more

    def _take(self, end: socket.socket, kind: int, body: bytes) -> None:
        if kind == OPEN or (kind == KEEPALIVE and end in self._live):
            if self.speaks.is_set():
                end.sendall(message(KEEPALIVE))  # as often as it hears one
        elif kind == KEEPALIVE:
            self._live.append(end)
            self._tables[end] = {}
            self.sessions += 1
        elif kind == NOTIFICATION:
            self.notifications.append((body[0], body[1]))
        elif kind == UPDATE:
            table = self._tables.get(end, {})
            for prefix, announced in prefixes(body):
                self.heard.append(Heard(prefix, announced, body))
                if announced:
                    table[prefix] = body
                else:
                    table.pop(prefix, None)
