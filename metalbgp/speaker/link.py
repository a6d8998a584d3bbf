"""The agent's end of parent.sock: newline-delimited JSON, reconnected for ever.

In:  want(), neighbors(), drain() from the agent.
Out: calls of `on_message` with each message of the parent; the first after every connect is the journal.
Elsewhere: what the parent does with it is parent.py; the meaning of states is bgp/machine.py.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from metalbgp import logs

RECONNECT = 0.1  # seconds; the parent is pid 1 next door, it is back at once or we are dead as well
LONGEST_LINE = 64 * 1024 * 1024  # a journal of 100,000 routes is about 20 MB

Want = tuple[str, str, Mapping[str, Any] | None]  # (peer address, prefix, attributes; None: withdraw)


class ParentLink:
    def __init__(self, path: Path, on_message: Callable[[dict[str, Any]], None]) -> None:
        self._path = path
        self._on_message = on_message
        self._writer: asyncio.StreamWriter | None = None

    @property
    def connected(self) -> bool:
        return self._writer is not None

    def neighbors(
        self, neighbors: Iterable[Mapping[str, Any]], farewells: Mapping[str, str] | None = None
    ) -> None:
        """The full list of sessions to run. `farewells`: by session that is shut, what its router is told."""
        said = {"farewells": dict(farewells)} if farewells else {}
        self._send({"neighbors": list(neighbors), **said})

    def want(self, wants: Iterable[Want]) -> None:
        """Levels, not commands: the last one said for a (peer, prefix) is what the parent works towards."""
        batch = [list(want) for want in wants]
        if batch:
            self._send({"want": batch})

    def synced(self) -> None:
        """Everything that is wanted has been said: End-of-RIB may go to routers that wait for it."""
        self._send({"synced": True})

    def drain(self) -> None:
        """Routes must go when the parent stops, also where graceful restart was negotiated."""
        self._send({"drain": True})

    def _send(self, message: dict[str, Any]) -> None:
        # What cannot be sent now is not queued: the journal that opens the next connection is compared with
        # everything that is wanted then.
        if self._writer is not None:
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._session()
            if self._writer is not None:
                logs.warn("parent-lost")
                self._writer.close()
                self._writer = None
            await asyncio.sleep(RECONNECT)

    async def _session(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=LONGEST_LINE)
        writer.write(b'{"hello":"agent"}\n')
        self._writer = writer
        while line := await reader.readline():
            self._on_message(json.loads(line))
