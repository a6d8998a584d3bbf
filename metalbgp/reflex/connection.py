"""One connection to reflex.sock: lines in, answers out, neither longer than a buffer may be."""

import socket
from collections import deque
from collections.abc import Iterator
from typing import Any

from metalbgp.reflex import messages


class Connection:
    """One agent, or somebody who asks."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.received = b""
        self.waiting = b""
        self.lines: deque[bytes] = deque()  # to be obeyed
        self.answers: deque[Iterator[dict[str, Any]]] = deque()  # to be said, a line at a time
        self.named: set[bytes] | None = set()  # duties, until it said that these are all

    def read(self) -> bool:
        """Take the whole lines that came; False at the end, or when a line is longer than any message."""
        try:
            received = self.channel.recv(1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        *lines, self.received = (self.received + received).split(b"\n")
        self.lines += lines
        return bool(received) and len(self.received) <= messages.LONGEST

    @property
    def busy(self) -> bool:
        """Whether there is something to do for it now."""
        return bool(self.lines) or (bool(self.answers) and len(self.waiting) < messages.LONGEST)

    def send(self, line: bytes) -> bool:
        """Send or keep; False when the other side does not read any more."""
        self.waiting += line
        try:
            self.waiting = self.waiting[self.channel.send(self.waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return len(self.waiting) <= 4 * messages.LONGEST
