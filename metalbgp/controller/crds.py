"""`python -m metalbgp.controller.crds FILE`: the CRDs as this version needs them. Runs once.

In:  a YAML file of CustomResourceDefinitions (k8s/crds.yaml, in the image).
Out: each created, or patched to this version; exit code 0 when all of them are established.
They are not in the manifest, because `kubectl delete -f` of it would then delete every pool of every user
(docs/decisions/0003-crds.md). Nothing here deletes one.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from metalbgp import logs
from metalbgp.cluster.access import find
from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import AlreadyExists, ClusterError
from metalbgp.cluster.resources import CRDS

TRIES = 60
PAUSE = 1.0  # seconds; the API server may be starting as well


class _Condition(Struct, frozen=True):
    type: str
    status: str


class _Status(Struct, frozen=True):
    conditions: list[_Condition] | None = None


class _Definition(Struct, frozen=True):
    status: _Status = _Status()


async def install(client: Client, definitions: list[dict[str, Any]]) -> None:
    """Create or patch each, then wait until the API server serves all of them."""
    for definition in definitions:
        name = definition["metadata"]["name"]
        try:
            await client.create(CRDS, definition)
            logs.log("crd-created", name=name)
        except AlreadyExists:
            # A merge patch that changes nothing makes no new version. Fields that we no longer name stay: an
            # older replica may still write them.
            await client.patch(CRDS, name, {key: definition[key] for key in ("metadata", "spec")})
            logs.log("crd-current", name=name)
    for definition in definitions:
        await _established(client, definition["metadata"]["name"])


async def _established(client: Client, name: str) -> None:
    for _ in range(TRIES):
        found = msgspec.json.decode(await client.get(CRDS, name), type=_Definition)
        if any(one.type == "Established" and one.status == "True" for one in found.status.conditions or ()):
            return
        await asyncio.sleep(PAUSE / 10)
    raise TimeoutError(f"CRD {name} is not established: kubectl describe crd {name}")


async def run(definitions: list[dict[str, Any]]) -> None:
    async with Client(find(), user_agent="metalbgp-crds") as client:
        for attempt in range(TRIES):
            try:
                await install(client, definitions)
                return
            except ClusterError as error:
                if attempt == TRIES - 1:
                    raise
                logs.warn("crds-failed", error=str(error))
                await asyncio.sleep(PAUSE)


if __name__ == "__main__":
    logs.setup("crds")
    documents = yaml.safe_load_all(Path(sys.argv[1]).read_text())
    asyncio.run(run([document for document in documents if document]))
