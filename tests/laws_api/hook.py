"""The webhook of one replica on a real API server, which calls it at a URL: nothing routes to Services here.

In:  a World (rules.py). Out: `asked(it)`, a replica that the API server is known to ask, and what it answers;
     kubectl as a person types it; the world emptied of what earlier tests left.
Elsewhere: the laws are test_webhook.py.
"""

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import yaml

from metalbgp import web
from metalbgp.cluster.errors import Refused
from metalbgp.cluster.resources import (
    IP_ADDRESS_POOLS,
    SECRETS,
    VALIDATING_WEBHOOKS,
)
from metalbgp.controller import webhook
from metalbgp.controller.controller import Controller, Options
from metalbgp.controller.serving import Serving
from metalbgp.controller.webhook import Webhook
from metalbgp.model.names import WEBHOOK_CONFIGURATION, WEBHOOK_SECRET
from tests.apiserver import MANIFEST, ApiServer, binaries, free_port
from tests.laws_api.rules import SYSTEM, World, body, until

NAMES = ("metallb-webhook-service.metallb-system.svc", "127.0.0.1")


async def emptied(it: World) -> None:
    """Nobody is asked, and nobody has a certificate."""
    await it.delete(VALIDATING_WEBHOOKS, WEBHOOK_CONFIGURATION)
    await it.delete(SECRETS, WEBHOOK_SECRET, SYSTEM)


async def registered(it: World, port: int, policy: str = "Ignore") -> None:
    """The manifest's own, called at a URL."""
    (found,) = (
        one
        for one in yaml.safe_load_all(MANIFEST.read_text())
        if one and one["kind"] == VALIDATING_WEBHOOKS.kind
    )
    for entry in found["webhooks"]:
        assert entry["failurePolicy"] == "Ignore"
        entry["failurePolicy"] = policy
        entry["clientConfig"] = {"url": f"https://127.0.0.1:{port}/validate"}
    await it.admin.create(VALIDATING_WEBHOOKS, found)


class Replica:
    """One that judges, and does not lead."""

    def __init__(self, it: World, port: int, now: Any = lambda: datetime.now(UTC)) -> None:
        self.port = port
        self.controller = Controller(
            it.controller, it.controller, lambda *_: None, Options(namespace=SYSTEM, installation=SYSTEM)
        )
        self.serving = Serving(
            it.controller,
            namespace=SYSTEM,
            secret=WEBHOOK_SECRET,
            configuration=WEBHOOK_CONFIGURATION,
            names=NAMES,
            now=now,
        )
        self.judge = Webhook(
            self.controller.admission.judge,
            lambda: "" if self.controller.synced else "the views are not complete yet",
            self.controller.metrics.admission,
        )

    def missing(self) -> str:
        return self.serving.missing() or ("" if self.controller.synced else "views")


@asynccontextmanager
async def serving(it: World, port: int, **more: Any) -> AsyncIterator[Replica]:
    one = Replica(it, port, **more)
    never: asyncio.Queue[bool] = asyncio.Queue()
    tasks = [
        asyncio.create_task(one.controller.run(never.get)),
        asyncio.create_task(one.serving.run()),
    ]
    runner = await web.serve_posts(
        webhook.PATH, one.judge.answer, port, one.serving.context, "127.0.0.1", largest=webhook.LARGEST
    )
    try:
        await until(lambda: asyncio.sleep(0, one.missing()), lambda missing: not missing)
        yield one
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()


@asynccontextmanager
async def asked(it: World) -> AsyncIterator[Replica]:
    """A replica that the API server is known to ask."""
    port = free_port()
    await registered(it, port)
    async with serving(it, port) as one:
        await until(lambda: refused(it), bool)
        yield one


async def refused(it: World) -> str:
    """What is said to a pool that only the webhook can know to be wrong; "" when it would pass."""
    wrong = body(
        IP_ADDRESS_POOLS,
        {"metadata": {"name": "asked"}, "spec": {"addresses": ["198.51.100.9-198.51.100.1"]}},
    )
    path = f"{IP_ADDRESS_POOLS.path(SYSTEM)}?dryRun=All"
    try:
        await it.admin.call("POST", path, wrong)
    except Refused as error:
        return error.why
    return ""


def kubectl(server: ApiServer, *words: str, stdin: str = "") -> tuple[int, str, str]:
    command = [str(binaries() / "kubectl"), f"--kubeconfig={server.kubeconfig}", "-n", SYSTEM, *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


async def typed(server: ApiServer, *words: str, stdin: str = "") -> tuple[int, str, str]:
    """The loop goes on meanwhile: it is what answers."""
    return await asyncio.to_thread(kubectl, server, *words, stdin=stdin)


POOL = """
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: NAME, namespace: metallb-system}
spec: {addresses: [RANGE]}
"""


def pool(name: str, addresses: str) -> str:
    return POOL.replace("NAME", name).replace("RANGE", addresses)


async def stored(it: World) -> dict[str, bytes]:
    found = json.loads(await it.admin.get(SECRETS, WEBHOOK_SECRET, SYSTEM))
    return {key: base64.b64decode(text) for key, text in found["data"].items()}
