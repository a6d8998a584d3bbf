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
from msgspec.structs import replace

from metalbgp.model.report import NodeReport

API_VERSION: Final = "metalbgp.io/v1alpha1"
KIND: Final = "NodeState"
INSTALLATION: Final = "metalbgp.io/installation"
LIMIT: Final = 60 * 1024  # bytes of JSON; with metadata the object stays under 64 KiB (contracts.md)


class _Meta(Struct):
    name: str


class _Object(Struct):
    metadata: _Meta
    status: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Object).decode
_json = msgspec.json.encode


def decode(data: bytes | Raw) -> NodeReport:
    raw = _decode(data)
    return msgspec.convert({**_snake(raw.status), "node": raw.metadata.name}, NodeReport)


def encode(
    report: NodeReport, namespace: str, installation: str, owner: dict[str, Any] | None = None
) -> dict[str, Any]:
    """`owner`: an ownerReference to the Node (legal, since it is cluster-scoped), so that the state goes with it."""
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
    """At most LIMIT bytes: of what is only shown (routes that wait, duties), as much as fits; counts stay whole."""
    report = _fitting(report)
    up = sum(session.state == "Established" for session in report.sessions)
    # `established` is for kubectl's columns, which cannot count: derived, never read.
    return {**_camel(msgspec.to_builtins(report)), "established": f"{up}/{len(report.sessions)}"}


def _fitting(report: NodeReport) -> NodeReport:
    while (report.unconfirmed or report.duties) and len(_json(_camel(msgspec.to_builtins(report)))) > LIMIT:
        unconfirmed = report.unconfirmed[: len(report.unconfirmed) * 3 // 4]
        report = replace(report, unconfirmed=unconfirmed, duties=report.duties[: len(report.duties) * 3 // 4])
    return report


def _camel(value: Any, *, entry: bool = False) -> Any:
    """camelCase keys. Entries of lists leave out what is empty: lists are written whole, so nothing old stays."""
    if isinstance(value, dict):
        return {
            re.sub(r"_([a-z])", lambda found: found[1].upper(), key): _camel(inner)
            for key, inner in value.items()
            if inner is not None and not (entry and (inner in ("", 0) or inner == ()))
        }
    if isinstance(value, list | tuple):
        return [_camel(inner, entry=True) for inner in value]
    return value


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", key): _snake(inner)
            for key, inner in value.items()
        }
    return [_snake(inner) for inner in value] if isinstance(value, list) else value
