"""A connection of the parent's that carries lines: neither reading nor writing ever blocks.

In:  a connected socket, the loop.
Out: on_line for each whole line; on_end once, when the other side ended it, or its line is too long for any.
Elsewhere: what lines mean is the owner's: agents and askers, the reflex, ExaBGP's helper.

A write that fails ends nothing by itself: what is still to be read comes first, and reading sees the end.
"""

import socket
from collections.abc import Callable
from typing import Final

from metalbgp.loop import Loop

PIECE: Final = 262144  # bytes


class Lines:
    def __init__(
        self,
        link: socket.socket,
        loop: Loop,
        on_line: Callable[[bytes], None],
        on_end: Callable[[], None],
        longest: int,  # bytes of a line
    ) -> None:
        self._link, self._loop = link, loop
        self._on_line, self._on_end, self._longest = on_line, on_end, longest
        self._unread = b""
        self._unsent = bytearray()
        self._finishing = False
        self.open = True
        link.setblocking(False)
        loop.watch(link, self._read)

    @property
    def unsent(self) -> int:
        """Bytes that the other side has not taken yet."""
        return len(self._unsent)

    def say(self, text: bytes) -> None:
        """Whole lines."""
        if self.open:
            self._unsent += text
            self._write()

    def finish(self) -> None:
        """Close when everything is said."""
        self._finishing = True
        self._write()

    def close(self) -> None:
        """Without on_end: the owner knows."""
        if self.open:
            self.open = False
            self._unsent.clear()
            self._loop.forget(self._link)
            self._link.close()

    def _read(self) -> None:
        try:
            data = self._link.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            if not self.open:
                return
            self._on_line(line)
        if self.open and (not data or len(self._unread) > self._longest):
            self.close()
            self._on_end()

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
            self._unsent.clear()
        if self._finishing:
            self.close()
        else:
            self._loop.watch(self._link, self._read)
