"""NodeReport ↔ the NodeState object (metalbgp.io/v1alpha1, in our namespace, named after its node).

    decode(bytes | Raw) -> NodeReport
    encode(report, namespace, installation, owner=None) -> dict    # to create
    probes(bytes | Raw) -> NodeProbes                              # all that the controller reads of it
    merge_patch(report, owner) -> dict                             # to write over what stands there

The report stands in `status`, but status is no subresource: the object has nothing but it, one writer (its
node's speaker) and one right, so create and update are one request each and RBAC is one line.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from metalbgp.config.written import values, written
from metalbgp.model.names import INSTALLATION
from metalbgp.model.report import NodeReport, ProbeReport

API_VERSION: Final = "metalbgp.io/v1alpha1"
KIND: Final = "NodeState"
LIMIT: Final = 60 * 1024  # bytes of JSON; with metadata the object stays under 64 KiB (contracts.md)


class _Meta(Struct):
    name: str


class _Object(Struct):
    metadata: _Meta
    status: dict[str, Any] = {}


class NodeProbes(Struct, frozen=True):
    """What one node found on its segments."""

    node: str
    probes: tuple[ProbeReport, ...] = ()


class _ProbesStatus(Struct, frozen=True):
    probes: tuple[ProbeReport, ...] = ()


class _ProbesObject(Struct):
    metadata: _Meta
    status: _ProbesStatus = _ProbesStatus()


_decode = msgspec.json.Decoder(_Object).decode
_decode_probes = msgspec.json.Decoder(_ProbesObject).decode
_json = msgspec.json.encode


def decode(data: bytes | Raw) -> NodeReport:
    raw = _decode(data)
    return msgspec.convert({**values(raw.status), "node": raw.metadata.name}, NodeReport)


def probes(data: bytes | Raw) -> NodeProbes:
    raw = _decode_probes(data)
    return NodeProbes(node=raw.metadata.name, probes=raw.status.probes)


def encode(
    report: NodeReport, namespace: str, installation: str, owner: dict[str, Any] | None = None
) -> dict[str, Any]:
    """`owner`: an ownerReference to the Node, which is cluster-scoped and so may own it: both go together."""
    metadata: dict[str, Any] = {
        "name": report.node,
        "namespace": namespace,
        "labels": {INSTALLATION: installation},
    }
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status(report)}


def merge_patch(report: NodeReport, owner: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every field is named, so what stood there before cannot survive in a gap. `owner`: if it is another."""
    patch: dict[str, Any] = {"status": status(report)}
    if owner is not None:
        patch["metadata"] = {"ownerReferences": [owner]}
    return patch


def status(report: NodeReport) -> dict[str, Any]:
    """At most LIMIT bytes: of routes that wait, duties and orders as many as fit; the counts stay whole."""
    report = _fitting(report)
    up = sum(session.state == "Established" for session in report.sessions)
    # `established` is for kubectl's columns, which cannot count: derived, never read.
    return {**written(report, whole=True), "established": f"{up}/{len(report.sessions)}"}


def _fitting(report: NodeReport) -> NodeReport:
    while (report.unconfirmed or report.duties) and len(_json(written(report))) > LIMIT:
        unconfirmed = report.unconfirmed[: len(report.unconfirmed) * 3 // 4]
        report = replace(report, unconfirmed=unconfirmed, duties=report.duties[: len(report.duties) * 3 // 4])
    while report.orders and len(_json(written(report))) > LIMIT:
        report = replace(report, orders=report.orders[: len(report.orders) * 3 // 4])
    return report
