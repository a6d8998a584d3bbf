"""The agent's side: full state on connecting, differences after, and again by itself after a break."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from metalbgp.reflex.client import May, Owned, ReflexClient

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
        state = {"realtime": "fifo", "interfaces": [], "conflicts": conflicts}
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


KEY = b"k" * 32
HERE = {"identity": {"node": "n1", "keys": [base64.b64encode(KEY).decode()]}}


def may(*interfaces: str) -> May:
    return May(interfaces or None, ("n1", "n2"))


async def told(client: ReflexClient, duties: dict[str, May]) -> None:
    await client.set_identity("n1", [KEY])
    await client.set_duties(duties)


async def test_first_everything_then_only_differences(server: Server) -> None:
    client = ReflexClient(server.path)
    await told(client, {"192.0.2.1": may(), "192.0.2.2": May(("eth0",), ("n2", "n1"), revertive=False)})
    assert await server.next() == HERE
    second = ["192.0.2.2", ["eth0"], ["n2", "n1"], {"revertive": False}]
    assert await server.next() == {"add": [["192.0.2.1", None, ["n1", "n2"]], second]}
    assert await server.next() == {"full": True}
    await client.set_duties({"192.0.2.1": may(), "192.0.2.2": May(("eth0",), ("n2", "n1"), revertive=False)})
    await client.set_duties({"192.0.2.1": may("eth0"), "192.0.2.3": may()})
    assert await server.next() == {"remove": ["192.0.2.2"]}
    third = ["192.0.2.3", None, ["n1", "n2"]]
    assert await server.next() == {"add": [["192.0.2.1", ["eth0"], ["n1", "n2"]], third]}
    await client.set_identity("n1", [])
    assert await server.next() == {"identity": {"node": "n1", "keys": []}}
    await client.close()


async def test_very_many_duties_travel_in_lines_that_hold_nobody_up(server: Server) -> None:
    client = ReflexClient(server.path)
    many = {f"10.0.{number // 250}.{number % 250 + 1}": may() for number in range(1200)}
    await told(client, many)
    assert await server.next() == HERE
    sizes = [len((await server.next())["add"]) for _ in range(3)]
    assert sizes == [500, 500, 200]
    assert await server.next() == {"full": True}
    await client.close()


async def test_no_duties_are_said_before_the_agent_knows_them(server: Server) -> None:
    client = ReflexClient(server.path)
    client.start()
    assert await server.next() == {"ask": "state"}
    await client.set_identity("n1", [KEY])
    await client.set_duties({})
    assert await server.next() == HERE
    assert await server.next() == {"full": True}
    await client.close()


async def test_excluded_interfaces_are_said_before_any_duty_and_when_they_change(server: Server) -> None:
    client = ReflexClient(server.path)
    await client.set_exclude(("^wan",))
    await told(client, {"192.0.2.1": May(None, ("n1",))})
    lines = [await server.next() for _ in range(3)]
    assert [next(iter(line)) for line in lines] == ["identity", "exclude", "add"]
    assert lines[1] == {"exclude": ["^wan"]}
    await server.next()
    await client.set_exclude(("^lan",))
    assert await server.next() == {"exclude": ["^lan"]}
    await client.close()


async def test_a_reflex_that_returns_gets_everything_again(server: Server) -> None:
    client = ReflexClient(server.path)
    await told(client, {"192.0.2.1": may()})
    for _ in range(3):
        await server.next()
    await server.stop()
    await client.set_duties({"192.0.2.2": may()})
    await server.start()
    assert await server.next() == HERE
    assert await server.next() == {"add": [["192.0.2.2", None, ["n1", "n2"]]]}
    await client.close()


async def test_what_this_node_owns_is_kept_up_and_forgotten_with_the_connection(server: Server) -> None:
    heard = asyncio.Event()
    client = ReflexClient(server.path, on_owned=heard.set)
    await told(client, {"192.0.2.1": may(), "192.0.2.2": may()})
    for _ in range(3):
        await server.next()

    async def say(message: dict[str, Any]) -> dict[str, Owned]:
        heard.clear()
        server.writers[-1].write(json.dumps(message).encode() + b"\n")
        await asyncio.wait_for(heard.wait(), 5)
        return dict(client.owned)

    first, second = ["192.0.2.1", 7.0, 0.25, "n2 is silent"], ["192.0.2.2", 8.0, None, ""]
    assert await say({"gained": [first, second]}) == {
        "192.0.2.1": Owned(7.0, 0.25, "n2 is silent"),
        "192.0.2.2": Owned(8.0, None, ""),
    }
    assert (await say({"lost": [["192.0.2.1", "n2 is back"]]})).keys() == {"192.0.2.2"}
    await client.close()
    assert not client.owned


async def test_each_conflict_is_told_once(server: Server) -> None:
    conflicts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    states: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    client = ReflexClient(server.path, on_conflict=conflicts.put_nowait, on_state=states.put_nowait)
    await told(client, {"192.0.2.1": may()})
    for _ in range(3):
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
    await told(client, {})
    for _ in range(2):
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
