"""Speakers are asked AT_ONCE at a time, and none can hold up the others."""

import asyncio
from collections.abc import Sequence
from typing import Any

from metalbgp.cli import wire
from metalbgp.cli.api import refusal
from metalbgp.cli.pods import Pod


def pods(count: int) -> list[Pod]:
    return [
        Pod(namespace="x", name=f"speaker-{i}", node=f"n{i:03}", phase="Running", container="speaker")
        for i in range(count)
    ]


class Speakers:
    """Counts who is asked at the same time."""

    server, namespace = "", ""

    def __init__(self, *dead: str) -> None:
        self.dead = dead
        self.now = self.most = self.asked = 0

    async def request(self, *_: Any) -> bytes:
        raise AssertionError("only exec is used here")

    async def close(self) -> None: ...

    async def execute(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> str:
        assert command == ("python3", "-m", "metalbgp.speaker.ask", "journal")
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if pod in self.dead:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
        finally:
            self.now -= 1
        return '{"sessions": [], "routes": []}'


async def test_sixteen_are_asked_at_once() -> None:
    api = Speakers()
    heard = (await wire.ask_all(api, pods(100))).heard
    assert (api.asked, api.most) == (100, 16)
    assert [one.node for one in heard] == sorted(f"n{i:03}" for i in range(100))
    assert not any(one.silent for one in heard)


async def test_dead_nodes_are_given_up_together() -> None:
    api = Speakers(*(f"speaker-{i}" for i in range(10)))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    heard = (await wire.ask_all(api, pods(100), limit=0.2)).heard
    assert loop.time() - begun < 2
    assert sum(bool(one.silent) for one in heard) == 10


async def test_a_missing_right_ends_the_asking() -> None:
    class Forbidden(Speakers):
        async def execute(self, *_: Any) -> str:
            raise refusal(403, b"", "pods/exec")

    found = await wire.ask_all(Forbidden(), pods(40))
    assert (found.heard, found.note) == ((), wire.NO_RIGHT)


def test_attributes_and_times_are_read() -> None:
    row = ["192.0.2.1", "10.0.0.1/32", {"communities": [[64513, 7]], "med": 5}, None, None, "wanted", 0.5]
    said = {"sessions": [{"peer": "192.0.2.1", "local": "192.0.2.9"}], "routes": [row]}
    import msgspec

    heard = wire.decode("n1", msgspec.json.encode(said).decode())
    (entry,) = heard.entries
    assert entry.wanted is not None
    assert (entry.wanted.communities, entry.wanted.med) == (((64513, 7),), 5)
    assert entry.since == "1970-01-01T00:00:00.500Z"
    assert heard.local == {"192.0.2.1": "192.0.2.9"}
