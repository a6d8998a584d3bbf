"""The key of L2 heartbeats on a real API server: made once, kept by the next leader, new when it is gone.

Elsewhere: the speakers' part of a rotation is l2/members.py; other entries are in tests/unit/controller.
"""

import base64
import json

import pytest

from metalbgp.cluster.errors import NotFound
from metalbgp.cluster.resources import SECRETS
from metalbgp.model.names import HEARTBEAT_KEY, SPEAKER_SECRET
from tests.apiserver import ApiServer
from tests.laws_api.rules import SYSTEM, World, installed, until, world


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    return installed(apiserver)


async def key(it: World) -> bytes:
    try:
        found = json.loads(await it.admin.get(SECRETS, SPEAKER_SECRET, SYSTEM))
    except NotFound:
        return b""
    return base64.b64decode((found.get("data") or {}).get(HEARTBEAT_KEY, ""))


async def another(it: World, *old: bytes) -> bytes:
    found = await until(lambda: key(it), lambda one: len(one) == 32 and one not in old)
    return bytes(found)


async def test_the_key_outlives_a_leader_and_is_made_anew_when_it_is_gone_or_broken(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world(server) as it:
        await it.start()
        first = await another(it)
        await it.stop()
        await it.start()
        await it.pool("p", "198.51.100.0/30")
        await it.in_force()
        assert await key(it) == first

        await it.delete(SECRETS, SPEAKER_SECRET, SYSTEM)
        second = await another(it, first)
        await it.admin.patch(SECRETS, SPEAKER_SECRET, {"data": {HEARTBEAT_KEY: None}}, SYSTEM)
        third = await another(it, first, second)
        broken = base64.b64encode(b"short").decode()
        await it.admin.patch(SECRETS, SPEAKER_SECRET, {"data": {HEARTBEAT_KEY: broken}}, SYSTEM)
        fourth = await another(it, first, second, third)
    said = "".join(capsys.readouterr())
    assert "heartbeat-key-replaced" in said
    for one in (first, second, third, fourth):
        assert base64.b64encode(one).decode() not in said and one.hex() not in said
