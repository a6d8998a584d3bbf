"""NodeReport ↔ the NodeState object (metalbgp.io/v1alpha1, in our namespace, named after its node).

    decode(bytes | Raw) -> NodeReport
    encode(report, namespace, installation, owner=None) -> dict    # to create
    merge_patch(report) -> dict                                    # to write over what stands there

The report stands in `status`, but status is no subresource: the object has nothing but it, one writer (its
node's speaker) and one right, so create and update are one request each and RBAC is one line.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from metalbgp.model.report import NodeReport

API_VERSION: Final = "metalbgp.io/v1alpha1"
KIND: Final = "NodeState"
INSTALLATION: Final = "metalbgp.io/installation"


class _Meta(Struct):
    name: str


class _Object(Struct):
    metadata: _Meta
    status: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Object).decode


def decode(data: bytes | Raw) -> NodeReport:
    raw = _decode(data)
    return msgspec.convert({**_snake(raw.status), "node": raw.metadata.name}, NodeReport)


def encode(
    report: NodeReport, namespace: str, installation: str, owner: dict[str, Any] | None = None
) -> dict[str, Any]:
    """`owner`: an ownerReference to the speaker's Pod or DaemonSet, so that the state goes with it."""
    metadata: dict[str, Any] = {
        "name": report.node,
        "namespace": namespace,
        "labels": {INSTALLATION: installation},
    }
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status(report)}


def merge_patch(report: NodeReport) -> dict[str, Any]:
    """Every field is named, so what stood there before cannot survive in a gap."""
    return {"status": status(report)}


def status(report: NodeReport) -> dict[str, Any]:
    found = _camel(msgspec.to_builtins(report))
    # For kubectl's columns, which cannot count: derived, never read.
    up = sum(session.state == "Established" for session in report.sessions)
    return {**found, "established": f"{up}/{len(report.sessions)}"}


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            re.sub(r"_([a-z])", lambda found: found[1].upper(), key): _camel(inner)
            for key, inner in value.items()
            if inner is not None
        }
    return [_camel(inner) for inner in value] if isinstance(value, list | tuple) else value


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", key): _snake(inner)
            for key, inner in value.items()
        }
    return [_snake(inner) for inner in value] if isinstance(value, list) else value
