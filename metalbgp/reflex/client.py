"""The agent's side of reflex.sock: tells the reflex what this node may answer for, and hears what it owns.

In:  set_identity(), set_duties() with the full mapping, as often as it likes; only differences travel.
     set_probes() and fence() likewise.
Out: `owned`, what this node answers for now; `state`, the reflex's last word (reflex/report.py); `counters`
     after ask(); on_conflict for each new conflict; on_state, on_owned and on_wants when they change.
Elsewhere: the other end in process.py. A connection that breaks is made again, and begins with the full set.
"""

import asyncio
import base64
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from metalbgp import logs

Interfaces = tuple[str, ...] | None  # None: every fit one
Asked = dict[str, tuple[Interfaces, str]]  # address → where, and the token of the question


class May(NamedTuple):
    """What this node may answer for an address, if its candidates before it are dead."""

    interfaces: Interfaces
    candidates: tuple[str, ...]
    revertive: bool = True
    fenced: bool = False
    declined: bool = False  # it will not: the candidates after it are told

    def entry(self, address: str) -> list[Any]:
        """As it travels."""
        said: dict[str, bool] = {}
        if not self.revertive:
            said["revertive"] = False
        if self.fenced:
            said["fenced"] = True
        if self.declined:
            said["declined"] = True
        return [address, self.interfaces, self.candidates, *([said] if said else [])]


class Owned(NamedTuple):
    """One address that this node answers for."""

    since: float  # seconds since 1970
    took: float | None  # seconds without an owner, as far as the reflex knows
    cause: str


CHUNK: Final = 500  # duties in a line
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
        on_owned: Callable[[], None] | None = None,
        on_wants: Callable[[frozenset[str]], None] | None = None,
    ) -> None:
        self._path = str(path)
        self._on_conflict = on_conflict
        self._on_state = on_state
        self._on_owned, self._on_wants = on_owned, on_wants
        self.owned: dict[str, Owned] = {}
        self.fenced = 0
        self.counters: dict[str, dict[str, Any]] = {}  # by address, when it was asked last
        self._telling = asyncio.Lock()
        self._counting: dict[str, dict[str, Any]] = {}
        self._identity: tuple[str, tuple[bytes, ...]] | None = None
        # None: nothing said yet, so nothing is sent and the reflex keeps what it has
        self._duties: dict[str, May] | None = None
        self._told: dict[str, May] | None = None  # on this connection; None: not even the full set
        self._told_identity: tuple[str, tuple[bytes, ...]] | None = None
        self._exclude: tuple[str, ...] | None = None
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

    async def set_identity(self, node: str, keys: Iterable[bytes]) -> None:
        """Who this node is, and the keys of heartbeats: the first signs. Without one it owns nothing."""
        self.start()
        self._identity = node, tuple(keys)
        if self._writer is not None:
            await self._tell(self._writer)

    async def set_duties(self, duties: Mapping[str, May]) -> None:
        """The full mapping by address. Without a connection it is sent when there is one."""
        self.start()
        self._duties = dict(duties)
        if self._writer is not None:
            await self._tell(self._writer)

    async def set_exclude(self, patterns: tuple[str, ...]) -> None:
        """Names of interfaces that are none of ours: said before any duty, and when they change."""
        self._exclude = patterns
        if self._writer is not None and self._told is not None:
            await self._write(self._writer, {"exclude": list(patterns)})

    async def fence(self, until: Mapping[str, float]) -> None:
        """Fenced addresses whose Leases are held, and until when (CLOCK_BOOTTIME). It expires by itself. The
        reflex answers each; `fenced` counts the answers."""
        if self._writer is not None and self._told is not None:
            await self._write(self._writer, {"fence": [list(each) for each in until.items()]})

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
                self.owned.clear()
                writer.close()
            logs.warn("reflex-lost")
            await asyncio.sleep(pause)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self._told, self._told_probes, self._writer = None, {}, writer
            self._told_identity = None
            self._counting.clear()
            if self._duties is not None and self._identity is not None:
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
        for address, since, took, cause in message.get("gained", ()):
            self.owned[address] = Owned(since, took, cause)
        for address, _ in message.get("lost", ()):
            self.owned.pop(address, None)
        if message.keys() & {"gained", "lost"} and self._on_owned:
            self._on_owned()
        self.fenced += "fenced" in message
        if "wants" in message and self._on_wants:
            self._on_wants(frozenset(message["wants"]))
        self._counting |= message.get("addresses", {})
        if "state" not in message:
            return
        if "asked" in message:
            self.counters, self._counting = self._counting, {}
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
        if self._identity is None or self._duties is None:
            return
        async with self._telling:
            await self._tell_all(writer, self._identity, self._duties)

    async def _tell_all(
        self, writer: asyncio.StreamWriter, identity: tuple[str, tuple[bytes, ...]], wanted: dict[str, May]
    ) -> None:
        if identity != self._told_identity:
            self._told_identity = node, keys = identity
            said = {"node": node, "keys": [base64.b64encode(key).decode() for key in keys]}
            await self._write(writer, {"identity": said})
        told, self._told = self._told, wanted
        if told is None and self._exclude is not None:
            await self._write(writer, {"exclude": list(self._exclude)})
        known = told or {}
        gone = list(known.keys() - wanted.keys())
        add = [may.entry(address) for address, may in wanted.items() if known.get(address) != may]
        for start in range(0, len(gone), CHUNK):
            await self._write(writer, {"remove": gone[start : start + CHUNK]})
        for start in range(0, len(add), CHUNK):
            await self._write(writer, {"add": add[start : start + CHUNK]})
        if told is None:
            self.owned.clear()
            await self._write(writer, {"full": True})
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
