"""The agent's side: full state on connecting, differences after, and again by itself after a break."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from metalbgp.reflex.client import ReflexClient

CONFLICT = {"address": "192.0.2.1", "interface": "eth0", "mac": "02:00:00:00:00:66", "seen": 1, "ago": 0.0}


class Server:
    """A reflex that only listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None

    async def start(self) -> None:
        self.server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while line := await reader.readline():
            self.lines.put_nowait(json.loads(line))

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.lines.get(), 5)

    def tell(self, conflicts: list[dict[str, Any]], **more: object) -> None:
        state = {"realtime": "fifo", "interfaces": [], "conflicts": conflicts, "counters": {}}
        self.writers[-1].write(json.dumps({"state": state} | more).encode() + b"\n")

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path / "reflex.sock")
    await server.start()
    yield server
    await server.stop()


async def test_first_everything_then_only_differences(server: Server) -> None:
    client = ReflexClient(server.path)
    await client.set_duties({"192.0.2.1": None, "192.0.2.2": ["eth1", "eth0"]})
    assert await server.next() == {"duties": [["192.0.2.1", None], ["192.0.2.2", ["eth0", "eth1"]]]}
    await client.set_duties({"192.0.2.1": None, "192.0.2.2": ["eth0", "eth1"]})
    await client.set_duties({"192.0.2.1": ["eth0"], "192.0.2.3": None})
    change = await server.next()
    assert change == {"add": [["192.0.2.1", ["eth0"]], ["192.0.2.3", None]], "remove": ["192.0.2.2"]}
    await client.close()


async def test_no_duties_are_said_before_the_agent_knows_them(server: Server) -> None:
    client = ReflexClient(server.path)
    client.start()
    assert await server.next() == {"ask": "state"}
    await client.set_duties({})
    assert await server.next() == {"duties": []}
    await client.close()


async def test_a_reflex_that_returns_gets_everything_again(server: Server) -> None:
    client = ReflexClient(server.path)
    await client.set_duties({"192.0.2.1": None})
    await server.next()
    await server.stop()
    await client.set_duties({"192.0.2.2": None})
    await server.start()
    assert await server.next() == {"duties": [["192.0.2.2", None]]}
    await client.close()


async def test_each_conflict_is_told_once(server: Server) -> None:
    conflicts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    states: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    client = ReflexClient(server.path, on_conflict=conflicts.put_nowait, on_state=states.put_nowait)
    await client.set_duties({"192.0.2.1": None})
    await server.next()
    for seen in (1, 2):
        server.tell([CONFLICT | {"seen": seen}])
        await asyncio.wait_for(states.get(), 5)
    assert conflicts.qsize() == 1
    assert client.state is not None
    assert client.state["conflicts"][0]["seen"] == 2
    await client.close()
    assert client.state is None


async def test_asking_waits_for_the_answer_and_says_when_there_is_none(server: Server) -> None:
    client = ReflexClient(server.path)
    with pytest.raises(ConnectionError):
        await client.ask()
    await client.set_duties({})
    await server.next()
    asking = asyncio.create_task(client.ask())
    assert await server.next() == {"ask": "state"}
    server.tell([CONFLICT])
    server.tell([], asked=True)
    assert not (await asking)["conflicts"]
    asking = asyncio.create_task(client.ask())
    await server.next()
    await server.stop()
    with pytest.raises(ConnectionError):
        await asking
    await client.close()
