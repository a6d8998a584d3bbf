"""What the agent last knew, on the pod's in-memory disk: announced when it starts without an API server.

In:  the Announcer, and how long ago the API server was heard. Out: one file, 0600, replaced whole (written
     beside, synced, renamed): after a change at most once a second, and once a minute to say that it holds.
     look() at the start: what may be announced from, or the reason why not.
Elsewhere: it outlives a restart of the container, not of the pod (emptyDir); graceful restart covers that.

The file is one JSON object whose first member is the SHA-256 of all bytes behind it. So v0.1.0, whose file is
the same object without a head, reads ours; and we read its, of which only damage that is no JSON is seen.
Members may be added (with a default); FORMAT is raised when a reader that knows less would be misled.
The age counts from the moment at which the API server was last heard, on the clock of the machine's boot
where it is still the same one: a wall clock that jumps makes nothing older.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from metalbgp import logs
from metalbgp.clocks import clock
from metalbgp.config import compiled, virtualip
from metalbgp.model.orders import Order
from metalbgp.model.reasons import (
    NoSnapshot,
    SnapshotDamaged,
    SnapshotForeign,
    SnapshotNewer,
    SnapshotNotWritten,
    SnapshotTooOld,
)
from metalbgp.model.services import Node
from metalbgp.speaker.announcer import Announcer
from metalbgp.speaker.own_pods import Memory

FORMAT: Final = 2  # 1: v0.1.0, which did not say so
LIMIT: Final = 72 * 3600.0  # seconds that a snapshot counts: a long weekend
PACE: Final = 1.0  # seconds between two writes, at least
SHARE: Final = 20  # times as long as a write takes, at least (10,000 VirtualIPs: 0.2 s)
REFRESH: Final = 60.0  # seconds after which an unchanged view is written again, if it still holds
RETRY: Final = 10.0  # seconds after a write that failed

UNREADABLE: Final = (ValueError, RecursionError)  # msgspec's errors are of the first kind

_HEAD: Final = b'{"checksum":"'
_DIGITS: Final = 64
_BODY: Final = len(_HEAD) + _DIGITS  # where the bytes begin that the checksum is of


class _Label(Struct):
    """Enough to know whether the rest may be read."""

    checksum: str = ""
    format: int = 1
    node_name: str = ""
    installation: str = ""
    heard: float = 0.0  # the API server, seconds since 1970; format 1 does not know
    boot: str = ""  # which boot of the machine ...
    uptime: float = 0.0  # ... and `heard` in seconds of it


class _File(_Label):
    time: float = 0.0  # when it was written, seconds since 1970
    node: Node | None = None
    passwords: dict[str, str] = {}
    heartbeat_key: bytes = b""
    configuration: Raw = Raw(b"{}")
    vips: list[Raw] = []
    ended: list[Memory] = []
    held: list[tuple[str, str]] = []  # session and prefix of withdrawals that a limit holds back
    orders: list[Order] = []  # of the API server; those of the node's own socket are on its disk already


_label = msgspec.json.Decoder(_Label).decode
_file = msgspec.json.Decoder(_File).decode


def which_boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Clocks(Struct, frozen=True):
    wall: Callable[[], float] = time.time
    boot: Callable[[], float] = clock
    which: Callable[[], str] = which_boot


class Snapshots:
    """`age`: seconds since the API server was heard, of the snapshot that look() found."""

    def __init__(
        self, path: Path, node: str, installation: str, limit: float = LIMIT, clocks: Clocks | None = None
    ) -> None:
        self.refused: NoSnapshot | None = None  # why the one found at the start is not announced from
        self.unwritten: SnapshotNotWritten | None = None  # why there is no newer one
        self.age = 0.0
        self.holding: Callable[[], Iterable[tuple[str, str]]] = tuple  # what a limit holds back now
        self._path = path
        self._node, self._installation, self._limit = node, installation, limit
        self._clocks = clocks or Clocks()
        self._due = asyncio.Event()
        self._heard = float("-inf")  # by the clock of the boot, as last written
        self._found: _File | None = None

    def due(self) -> None:
        """Something changed."""
        self._due.set()

    def problems(self) -> tuple[str, ...]:
        """For the NodeState. What was refused at the start matters until there is a good one."""
        refused = self.refused if self._heard == float("-inf") else None
        return tuple(
            f"{why.explain()}; {why.remedy()}" for why in (refused, self.unwritten) if why is not None
        )

    # ------------------------------------------------------------------ writing

    async def keep(
        self, announcer: Announcer, age: Callable[[], float], failed: Callable[[], None] = lambda: None
    ) -> None:
        """Write until cancelled. `age`: seconds since the API server was heard; `failed`: say so, or that it
        works again."""
        while True:
            changed, pause = False, PACE
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY if self.unwritten else REFRESH):
                    changed = await self._due.wait()
            self._due.clear()
            heard = self._clocks.boot() - age()
            if self._worth(announcer, heard, changed):
                before, began = self.unwritten, time.monotonic()
                self.unwritten = await asyncio.to_thread(self.write, self._content(announcer, heard))
                if before != self.unwritten:
                    failed()
                if before is None and self.unwritten is not None:
                    logs.warn("snapshot-not-written", why=self.unwritten.explain())
                pause = max(PACE, SHARE * (time.monotonic() - began))
            await asyncio.sleep(RETRY if self.unwritten else pause)

    def _worth(self, announcer: Announcer, heard: float, changed: bool) -> bool:
        """What was never heard from the API server must not look as if it was."""
        if announcer.configuration is None or announcer.node is None or heard == float("-inf"):
            return False
        return changed or self.unwritten is not None or heard > self._heard + REFRESH / 2

    def _content(self, announcer: Announcer, heard: float) -> Callable[[], _File]:
        """Values are frozen, so that the work of writing them down can be done beside the loop."""
        configuration, vips = announcer.configuration, tuple(announcer.vips.values())
        assert configuration is not None  # noqa: S101  # _worth() looked
        now = self._clocks.wall()
        make = partial(
            _File,
            format=FORMAT,
            node_name=self._node,
            installation=self._installation,
            heard=now - (self._clocks.boot() - heard),
            boot=self._clocks.which(),
            uptime=heard,
            time=now,
            node=announcer.node,
            passwords=dict(announcer.passwords),
            heartbeat_key=announcer.heartbeat_key,
            ended=announcer.pods.memory(),
            held=list(self.holding()),
            orders=[one for one in announcer.known_orders if not one.local],
        )
        return lambda: make(
            configuration=_raw(compiled.encode(configuration, "")),
            vips=[_raw(virtualip.encode(vip)) for vip in vips],
        )

    def save(self, announcer: Announcer, age: float = 0.0) -> SnapshotNotWritten | None:
        """Once, now."""
        return self.write(self._content(announcer, self._clocks.boot() - age))

    def write(self, content: Callable[[], _File]) -> SnapshotNotWritten | None:
        """A crash at any moment leaves the old file or the new one."""
        made = content()
        body = msgspec.json.encode(made)[len(_HEAD) :]  # from the end of the empty checksum on
        digest = hashlib.sha256(body).hexdigest().encode()
        fresh = self._path.with_suffix(".new")
        try:
            _put(fresh, (_HEAD, digest, body))
            fresh.replace(self._path)
            _sync(self._path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()  # it may be what the disk is full of
            return SnapshotNotWritten(file=str(self._path), why=error.strerror or str(error))
        self._heard = made.uptime
        return None

    # ------------------------------------------------------------------ reading

    def look(self) -> None:
        """Once, at the start, whether or not it will be needed: what is wrong with it is known before."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            self._refuse(self._damaged(error.strerror or str(error)))
            return
        found = self._judged(data)
        if isinstance(found, _File):
            self._found = found
        else:
            self._refuse(found)

    def _refuse(self, why: NoSnapshot) -> None:
        self.refused = why
        logs.warn("snapshot-refused", reason=why.name, why=why.explain(), remedy=why.remedy())

    def _damaged(self, why: str) -> SnapshotDamaged:
        return SnapshotDamaged(file=str(self._path), why=why)

    def _judged(self, data: bytes) -> _File | NoSnapshot:
        try:
            label = _label(data)
            if label.format > FORMAT:  # before the rest is read: it may mean something else
                return SnapshotNewer(file=str(self._path), format=label.format, known=FORMAT)
            if (label.checksum or label.format != 1) and not _whole(data):
                return self._damaged("its checksum is of other bytes")
            found = _file(data)
            self.age = self._age(found)
            if found.node is None:
                return self._damaged("it knows no Node")
            installation = found.installation or compiled.decode(found.configuration).installation
        except UNREADABLE as error:
            return self._damaged(str(error))
        for field, said, here in (
            ("node", found.node_name or found.node.name, self._node),
            ("installation", installation, self._installation),
        ):
            if said != here:
                return SnapshotForeign(file=str(self._path), field=field, found=said, here=here)
        # Format 1 was written on changes alone: of a quiet week it says no more than of a week without news.
        if found.format > 1 and self.age > self._limit:
            return SnapshotTooOld(file=str(self._path), age=int(self.age), limit=int(self._limit))
        return found

    def _age(self, found: _File) -> float:
        if found.boot and found.boot == self._clocks.which():
            return max(0.0, self._clocks.boot() - found.uptime)
        return max(0.0, self._clocks.wall() - (found.heard or found.time))

    def orders(self) -> list[Order]:
        """Those that the last run knew; none where there is nothing to believe."""
        return self._found.orders if self._found is not None else []

    def ended(self) -> list[Memory]:
        return self._found.ended if self._found is not None else []

    def held(self) -> list[tuple[str, str]]:
        return self._found.held if self._found is not None else []

    def restore(self, announcer: Announcer, *, vips: bool = True) -> bool:
        """Give the announcer what the last run knew, where it knows nothing newer. False: there is nothing
        to announce from. `vips`: False when the view of them is complete, and only others are missing."""
        found = self._found
        if found is None or found.node is None:
            return False
        try:
            configuration = compiled.decode(found.configuration)
            claims = [virtualip.decode(raw) for raw in found.vips]
        except UNREADABLE as error:  # one that cannot be read would be one to withdraw: rather none at all
            self._refuse(self._damaged(str(error)))
            return False
        announcer.heartbeat_key = announcer.heartbeat_key or found.heartbeat_key
        if not announcer.passwords:
            announcer.set_passwords(found.passwords)
        for vip in claims if vips else ():
            if vip.address not in announcer.vips:
                announcer.set_vip(vip.address, vip)
        if announcer.node is None:
            announcer.set_node(found.node)
        if announcer.configuration is None:
            announcer.set_configuration(configuration)
        return True

    def forget(self) -> None:
        """The API server has answered: what the last run knew is of no more use."""
        self._found = None


def _whole(data: bytes) -> bool:
    digest = hashlib.sha256(data[_BODY:]).hexdigest().encode()
    return data.startswith(_HEAD) and data[len(_HEAD) : _BODY] == digest


def _raw(tree: Any) -> Raw:
    return Raw(msgspec.json.encode(tree))


def _put(path: Path, parts: Iterable[bytes]) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """The renaming itself, where the disk is one that outlives the machine."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
