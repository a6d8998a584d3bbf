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
from metalbgp.lines import Lines
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
    """One connection."""

    def __init__(
        self, link: socket.socket, loop: Loop, on_message: Callable[["Client", Message], None]
    ) -> None:
        self._on_message = on_message
        self._lines = Lines(link, loop, self._heard, lambda: None, LONGEST_LINE)

    def say(self, message: Any) -> None:
        self._lines.say(msgspec.json.encode(message) + b"\n")
        if self._lines.unsent > LONGEST_UNSENT:
            logs.warn("client-does-not-read")
            self.close()

    def finish(self) -> None:
        """Close when everything is said."""
        self._lines.finish()

    def close(self) -> None:
        self._lines.close()

    def _heard(self, line: bytes) -> None:
        try:
            message = _DECODER.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            logs.error("client-line", error=str(error))
            return
        self._on_message(self, message)


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
            Client(link, loop, on_message)

    loop.watch(listener, accept)
    return listener
