"""The paths of sessions with BFD: the parent has the reflex watch them, and hears what it finds.

In:  the sessions' neighbours; the reflex at reflex.sock, {"bfd": {key: state}} on every change.
Out: {"bfd": [...]}, the full list, when it changed and on every new connection; on_change(keys).
Elsewhere: packets and timers are bfd/, in the reflex; what a path that is Down means is parent.py.

The parent asks and not the agent: a session must end when its path is dead, whether an agent lives or not. A
reflex that is gone has found nothing: its sessions are of no state, and BGP's hold time is what remains.
"""

import json
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from metalbgp import logs
from metalbgp.bgp.here import near
from metalbgp.bgp.values import Neighbor
from metalbgp.lines import Lines
from metalbgp.loop import Loop

RECONNECT: Final = 0.1  # seconds
LONGEST_LINE: Final = 1 << 20


def watched(neighbor: Neighbor) -> dict[str, Any] | None:
    """A neighbour's BFD session as the reflex is told of it; None: it has none."""
    bfd = neighbor.bfd
    if bfd is None:
        return None
    return {
        "key": neighbor.key,
        "peer": neighbor.address,
        "local": neighbor.local_address,
        "interface": neighbor.interface,
        # As FRR does: a peer of our own AS need not be on the link, and nothing in its BGPPeer says so.
        "multihop": neighbor.multihop or (neighbor.ibgp and not near(neighbor.address)),
        "receive": bfd.receive,
        "transmit": bfd.transmit,
        "multiplier": bfd.multiplier,
        "passive": bfd.passive,
        "minimum_ttl": bfd.minimum_ttl,
    }


class Paths:
    def __init__(self, loop: Loop, path: Path, on_change: Callable[[list[str]], None]) -> None:
        self._loop = loop
        self._path = path
        self._on_change = on_change
        self._wanted: list[dict[str, Any]] = []
        self._link: Lines | None = None
        self._retrying = False
        self.states: dict[str, dict[str, Any]] = {}  # by the neighbour's key, of the reflex that lives

    def want(self, neighbors: Iterable[Neighbor]) -> None:
        """The full list."""
        wanted = sorted(filter(None, map(watched, neighbors)), key=lambda one: str(one["key"]))
        if wanted == self._wanted:
            return
        self._wanted = wanted
        for key in self.states.keys() - {one["key"] for one in wanted}:
            del self.states[key]
        if self._link is not None:
            self._say()
        elif wanted:
            self._connect()

    def _connect(self) -> None:
        if self._link is not None or self._retrying:
            return
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(str(self._path))
        except OSError:  # the reflex is not there yet, or no more
            link.close()
            self._retry()
            return
        self._link = Lines(link, self._loop, self._heard, self._lost, LONGEST_LINE)
        self._say()

    def _retry(self) -> None:
        def again() -> None:
            self._retrying = False
            if self._wanted:
                self._connect()

        if not self._retrying:
            self._retrying = True
            self._loop.after(RECONNECT, again)

    def _say(self) -> None:
        if self._link is not None:
            self._link.say(json.dumps({"bfd": self._wanted}, separators=(",", ":")).encode() + b"\n")

    def _heard(self, line: bytes) -> None:
        try:
            said = json.loads(line)
            states = said.get("bfd", {})
            told = {key: dict(state) for key, state in states.items()}
        except (ValueError, AttributeError, TypeError) as error:
            logs.error("reflex-line", error=str(error))
            return
        if "problem" in said:
            logs.warn("bfd-refused", problem=said["problem"])
        known = {one["key"] for one in self._wanted}
        self.states.update({key: state for key, state in told.items() if key in known})
        if changed := [key for key in told if key in known]:
            self._on_change(changed)

    def _lost(self) -> None:
        self._link = None
        gone, self.states = list(self.states), {}
        logs.warn("reflex-lost", paths=len(gone))
        self._on_change(gone)
        self._retry()
