"""parent.sock: newline-delimited JSON with the agent and with those who ask.

In:  connections; lines to say.
Out: the agent's messages as values; answers to queries.
Elsewhere: what they mean is parent.py; the agent's end is link.py, a query's end is ask.py.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from metalbgp import logs
from metalbgp.loop import Loop
from metalbgp.model.routes import Attributes
from metalbgp.speaker.local_orders import Said

LONGEST_UNSENT: Final = 128 * 1024 * 1024  # a client that does not read is let go
LONGEST_LINE: Final = 128 * 1024 * 1024


class Message(Struct, frozen=True):
    """One line from a client; what is absent was not said."""

    hello: str = ""
    ask: str = ""
    order: Said | None = None  # somebody in the pod holds an address, or takes that back
    neighbors: list[msgspec.Raw] | None = None  # each decoded alone: one bad peer must not stop the others
    farewells: dict[str, str] = {}  # with neighbors: peers that are shut, and what to tell them
    want: list[tuple[str, str, Attributes | None]] | None = None
    drain: bool = False
    synced: bool = False


_DECODER: Final = msgspec.json.Decoder(Message)


class Client:
    """One connection. Reading and writing never block."""

    def __init__(
        self, link: socket.socket, loop: Loop, on_message: Callable[["Client", Message], None]
    ) -> None:
        self._link = link
        self._loop = loop
        self._on_message = on_message
        self._unread = b""
        self._unsent = bytearray()
        self._closing = False
        self.open = True
        loop.watch(link, self._read)

    def say(self, message: Any) -> None:
        if not self.open:
            return
        self._unsent += msgspec.json.encode(message) + b"\n"
        if len(self._unsent) > LONGEST_UNSENT:
            logs.warn("client-does-not-read")
            self.close()
        else:
            self._write()

    def finish(self) -> None:
        """Close when everything is said."""
        self._closing = True
        self._write()

    def close(self) -> None:
        if self.open:
            self.open = False
            self._loop.forget(self._link)
            self._link.close()

    def _read(self) -> None:
        try:
            data = self._link.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self._unread = (self._unread + data).split(b"\n")
        if len(self._unread) > LONGEST_LINE:
            self.close()
        for line in lines:
            try:
                message = _DECODER.decode(line)
            except (msgspec.DecodeError, RecursionError) as error:
                logs.error("client-line", error=str(error))
                continue
            self._on_message(self, message)

    def _write(self) -> None:
        if not self.open:
            return
        try:
            while self._unsent:
                del self._unsent[: self._link.send(self._unsent)]
        except BlockingIOError:
            self._loop.watch(self._link, self._read, self._write)
            return
        except OSError:
            self.close()
            return
        if self._closing:
            self.close()
        else:
            self._loop.watch(self._link, self._read)


def listen(path: Path, loop: Loop, on_message: Callable[[Client, Message], None]) -> socket.socket:
    """Serve the socket; 0600: only our own uid may speak."""
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(16)
    listener.setblocking(False)

    def accept() -> None:
        with suppress(BlockingIOError):
            link, _ = listener.accept()
            link.setblocking(False)
            Client(link, loop, on_message)

    loop.watch(listener, accept)
    return listener
