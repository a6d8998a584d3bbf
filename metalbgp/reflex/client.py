"""The agent's side of reflex.sock: tells the reflex what this node answers for, and hears how it goes.

In:  set_duties() with the full mapping, as often as it likes; only differences travel. set_probes() likewise.
Out: `state`, the reflex's last word (words in reflex/messages.py); on_conflict for each new conflict in it.
Elsewhere: the other end in process.py. A connection that breaks is made again, and begins with the full set.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from metalbgp import logs

Interfaces = tuple[str, ...] | None  # None: every fit one
Told = dict[str, Interfaces]
Asked = dict[str, tuple[Interfaces, str]]  # address → where, and the token of the question

AGAIN_AFTER: Final = 0.05  # a reflex that died answers nobody until we are back
AGAIN_AT_MOST: Final = 1.0
LONGEST: Final = 1 << 24  # a state line of very many addresses


class ReflexClient:
    """One connection to the reflex, kept up by a task of its own."""

    def __init__(
        self,
        path: str | Path,
        on_conflict: Callable[[dict[str, Any]], None] | None = None,
        on_state: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._path = str(path)
        self._on_conflict = on_conflict
        self._on_state = on_state
        self._duties: Told | None = (
            None  # None: nothing said yet, so nothing is sent and the reflex keeps what it has
        )
        self._told: Told | None = None  # on this connection; None: not even the full set
        self._probes: Asked = {}
        self._told_probes: Asked = {}  # on this connection
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._state: dict[str, Any] | None = None
        self._conflicts: set[tuple[str, str, str]] = set()
        self._answers: deque[asyncio.Future[dict[str, Any]] | None] = deque()  # None: nobody waits

    @property
    def state(self) -> dict[str, Any] | None:
        """The last state heard; None before the first, and while there is no connection."""
        return self._state

    @property
    def connected(self) -> bool:
        """Whether the reflex is there."""
        return self._writer is not None

    def start(self) -> None:
        """Connect, and keep connected, in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="reflex-client")

    async def close(self) -> None:
        """Let go of the connection; the reflex keeps answering."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def set_duties(self, duties: Mapping[str, Sequence[str] | None]) -> None:
        """The full mapping from address to interfaces. Without a connection it is sent when there is one."""
        self.start()
        self._duties = {
            address: None if names is None else tuple(sorted(names)) for address, names in duties.items()
        }
        if self._writer is not None:
            await self._tell(self._writer)

    async def set_probes(self, probes: Mapping[str, tuple[Sequence[str] | None, str]]) -> None:
        """The full mapping of what to ask the segment for. Its answers stand in `state`."""
        self._probes = {
            address: (None if names is None else tuple(sorted(names)), token)
            for address, (names, token) in probes.items()
        }
        if self._writer is not None and self._told is not None:
            await self._tell_probes(self._writer)

    async def ask(self, timeout: float = 1.0) -> dict[str, Any]:
        """A fresh state with its counters; TimeoutError or ConnectionError if there is none."""
        if self._writer is None:
            raise ConnectionError(f"no reflex at {self._path}")
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        async with asyncio.timeout(timeout):
            self._writer.write(b'{"ask":"state"}\n')
            return await answer

    async def _keep(self) -> None:
        pause = AGAIN_AFTER
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path, limit=LONGEST)
            except OSError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, AGAIN_AT_MOST)
                continue
            pause = AGAIN_AFTER
            logs.log("reflex-connected")
            try:
                await self._talk(reader, writer)
            finally:
                self._writer = self._state = None
                writer.close()
            logs.warn("reflex-lost")
            await asyncio.sleep(pause)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self._told, self._told_probes, self._writer = None, {}, writer
            if self._duties is not None:
                await self._tell(writer)
            else:
                self._answers.append(None)
                writer.write(b'{"ask":"state"}\n')
            while line := await reader.readline():
                self._heard(json.loads(line))
        except (OSError, ValueError) as problem:
            logs.warn("reflex-connection", error=str(problem))
        finally:
            for answer in self._answers:
                if answer is not None and not answer.done():
                    answer.set_exception(ConnectionError("the reflex went away"))
            self._answers.clear()

    def _heard(self, message: Any) -> None:
        if "problem" in message:
            logs.warn("reflex-problem", problem=message["problem"])
        if "state" not in message:
            return
        state: dict[str, Any] = message["state"]
        self._state = state
        if "asked" in message and self._answers:  # in order; what came unasked may be older than the question
            answer = self._answers.popleft()
            if answer is not None and not answer.done():
                answer.set_result(state)
        before = self._conflicts
        self._conflicts = {(each["address"], each["interface"], each["mac"]) for each in state["conflicts"]}
        for each in state["conflicts"]:
            if self._on_conflict and (each["address"], each["interface"], each["mac"]) not in before:
                self._on_conflict(each)
        if self._on_state:
            self._on_state(state)

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        wanted, told = self._duties or {}, self._told
        message: dict[str, Any]
        if told is None:
            message = {"duties": list(wanted.items())}
        else:
            add = [[address, names] for address, names in wanted.items() if told.get(address, ()) != names]
            message = {"add": add, "remove": list(told.keys() - wanted.keys())}
            if not add and not message["remove"]:
                return
        self._told = dict(wanted)
        await self._write(writer, message)
        if told is None:
            await self._tell_probes(writer)

    async def _tell_probes(self, writer: asyncio.StreamWriter) -> None:
        if self._probes != self._told_probes:
            self._told_probes = dict(self._probes)
            entries = [[address, *question] for address, question in self._probes.items()]
            await self._write(writer, {"probes": entries})

    async def _write(self, writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        try:
            await writer.drain()
        except OSError:
            return  # the reading side sees it too, and connects again
