"""Why does a router not let us in? ExaBGP says that a connection failed and not why, so we knock ourselves.

In:  neighbours without a session and without a reason; the loop.
Out: a reason for each: refused, no answer, no route, an address that the node does not have, closed at once.
Elsewhere: the connection is door.py; what a NOTIFICATION says is notifications.py, and comes first.

A TCP connection from the same address, device and with the same MD5 key as the session's, closed as soon as
it stands; a router that knows us logs at most a connection that came to nothing. Only who has been down for
a while is knocked at, ever more rarely.
"""

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from metalbgp.bgp.door import WAIT, approach, failed, silent
from metalbgp.bgp.values import Neighbor
from metalbgp.loop import Loop
from metalbgp.model.reasons import NotBGP, NotReached, UnknownToRouter

LOOK: Final = 1.0  # seconds between two looks at who is down
FIRST: Final = 5.0  # seconds from one knock to the next, doubled up to LAST
LAST: Final = 60.0
LISTEN: Final = 1.0  # seconds in which a router that does not want us closes


class Knocker:
    def __init__(
        self,
        loop: Loop,
        unexplained: Callable[[], Iterable[Neighbor]],
        explain: Callable[[str, NotReached], None],
    ) -> None:
        """`unexplained`: who is down without a reason. `explain(key, why)`: its reason."""
        self._loop, self._unexplained, self._explain = loop, unexplained, explain
        self._doors: dict[str, socket.socket] = {}
        self._due: dict[str, tuple[float, float]] = {}  # peer → not before, pause after it

    def start(self) -> None:
        self._loop.after(LOOK, self._look)

    def _look(self) -> None:
        self._loop.after(LOOK, self._look)
        now = self._loop.now()
        down = {n.key: n for n in self._unexplained()}
        for peer in [peer for peer in self._due if peer not in down]:
            del self._due[peer]
        for peer, n in down.items():
            due, pause = self._due.get(peer, (now, FIRST))
            if peer not in self._doors and now >= due:
                self._due[peer] = now + pause, min(pause * 2, LAST)
                self._knock(n)

    def _knock(self, n: Neighbor) -> None:
        try:
            door = approach(n)
        except OSError as error:
            self._explain(n.key, failed(n, error.errno or 0))
            return
        self._doors[n.key] = door
        self._loop.watch(door, None, lambda: self._answered(n, door))
        self._loop.after(WAIT, lambda: self._end(n, door, silent(n)))

    def _answered(self, n: Neighbor, door: socket.socket) -> None:
        number = door.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._end(n, door, failed(n, number))
            return
        self._loop.watch(door, lambda: self._heard(n, door))
        self._loop.after(LISTEN, lambda: self._end(n, door, NotBGP()))

    def _heard(self, n: Neighbor, door: socket.socket) -> None:
        """An OPEN or a NOTIFICATION is BGP: ExaBGP hears the same, and says more."""
        with suppress(OSError):
            if door.recv(64):
                self._end(n, door, None)
                return
        self._end(n, door, UnknownToRouter())

    def _end(self, n: Neighbor, door: socket.socket, why: NotReached | None) -> None:
        if self._doors.get(n.key) is not door:
            return  # answered before
        del self._doors[n.key]
        self._loop.forget(door)
        door.close()
        if why is not None:
            self._explain(n.key, why)
