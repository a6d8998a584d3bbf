"""What the agent last knew, on the pod's in-memory disk: announced when it starts without an API server.

In:  the Announcer. Out: one file, 0600, written at most every few seconds and replaced whole.
Elsewhere: it outlives a restart of the container, not of the pod (emptyDir); graceful restart covers that.
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from metalbgp import logs
from metalbgp.config import compiled, virtualip
from metalbgp.model.orders import Order
from metalbgp.model.services import Node
from metalbgp.speaker.announcer import Announcer

PACE = 5.0  # seconds between two writes


class _File(Struct):
    time: float  # when it was written, seconds since 1970
    node: Node | None
    passwords: dict[str, str]
    heartbeat_key: bytes
    configuration: msgspec.Raw
    vips: list[msgspec.Raw]
    orders: list[Order] = []  # of the API server; those of the node's own socket are on its disk already


class _Orders(Struct):
    orders: list[Order] = []


class Snapshots:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = asyncio.Event()
        self.age = 0.0  # seconds, of the one that was restored

    def due(self) -> None:
        """Something changed."""
        self._due.set()

    async def keep(self, announcer: Announcer) -> None:
        """Write until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            if announcer.configuration is not None:
                with contextlib.suppress(OSError):
                    self._write(announcer)
            await asyncio.sleep(PACE)

    def _write(self, announcer: Announcer) -> None:
        assert announcer.configuration is not None  # noqa: S101  # keep() looked
        content = _File(
            time=time.time(),
            node=announcer.node,
            passwords=dict(announcer.passwords),
            heartbeat_key=announcer.heartbeat_key,
            configuration=msgspec.Raw(msgspec.json.encode(compiled.encode(announcer.configuration, ""))),
            vips=[msgspec.Raw(msgspec.json.encode(virtualip.encode(vip))) for vip in announcer.vips.values()],
            orders=[one for one in announcer.known_orders if not one.local],
        )
        fresh = self._path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(content))
        fresh.replace(self._path)

    def orders(self) -> list[Order]:
        """Those that the last run knew; none where nothing is readable."""
        with contextlib.suppress(OSError, ValueError):
            return msgspec.json.decode(self._path.read_bytes(), type=_Orders).orders
        return []

    def restore(self, announcer: Announcer, *, vips: bool = True) -> bool:
        """Give the announcer what the last run knew, where it knows nothing newer. False: there is nothing
        readable. `vips`: False when the view of them is complete, and only others are missing."""
        try:
            content = msgspec.json.decode(self._path.read_bytes(), type=_File)
            configuration = compiled.decode(content.configuration)
            claims = [virtualip.decode(raw) for raw in content.vips]
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            logs.warn("snapshot-unreadable", error=str(error))
            return False
        if content.node is None:
            return False
        self.age = max(0.0, time.time() - content.time)
        announcer.heartbeat_key = announcer.heartbeat_key or content.heartbeat_key
        if not announcer.passwords:
            announcer.set_passwords(content.passwords)
        for vip in claims if vips else ():
            if vip.address not in announcer.vips:
                announcer.set_vip(vip.address, vip)
        if announcer.node is None:
            announcer.set_node(content.node)
        if announcer.configuration is None:
            announcer.set_configuration(configuration)
        return True
