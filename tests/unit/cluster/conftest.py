from collections.abc import AsyncIterator

import pytest

from tests.unit.cluster.misbehaving import Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    yield made
    await made.stop()
