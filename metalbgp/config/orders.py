"""SpeakerOrder objects (metalbgp.io/v1alpha1, in our namespace) ↔ Order.

    decode(bytes | Raw) -> Order            # ValueError (msgspec's is one) when it is not one
    encode(order, namespace) -> dict        # the body of a POST
    name_of(action, target, node) -> str    # one order for one thing, so that a second one is an edit

The CRD's own rules see to it that an order has exactly the fields its action needs; here they are judged
again, for a file has not passed the API server. Elsewhere: what orders mean is model/orders.py.
"""

import hashlib
import re
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from metalbgp.config.schema import Fault
from metalbgp.model.addresses import AddressError, canonical, claim_name, trimmed
from metalbgp.model.orders import ACTIONS, DRAIN, HOLD, RELEASE, SHUT, Order, moment

API_VERSION: Final = "metalbgp.io/v1alpha1"
KIND: Final = "SpeakerOrder"
NEEDS: Final = {HOLD: "address", SHUT: "peer", DRAIN: "node", RELEASE: "peer"}
MAY: Final = {HOLD: ("node",), SHUT: ("node",), DRAIN: (), RELEASE: ("node",)}
LONGEST_NAME: Final = 253


class OrderSpec(Struct, frozen=True, rename="camel"):
    action: str = ""
    node: str = ""
    address: str = ""
    peer: str = ""
    reason: str = ""
    author: str = ""
    expires: str | None = None


class _Meta(Struct, rename="camel"):
    name: str
    creation_timestamp: str | None = None


class _Object(Struct):
    metadata: _Meta
    spec: OrderSpec


_decode = msgspec.json.Decoder(_Object).decode


def decode(data: bytes | Raw) -> Order:
    raw = _decode(data)
    spec = raw.spec
    for fault in faults(spec):
        fix = f": {fault.fix}" if fault.fix else ""
        raise ValueError(f"SpeakerOrder {raw.metadata.name}: {fault.field}: {fault.why}{fix}")
    return Order(
        name=raw.metadata.name,
        action=spec.action,
        node=spec.node,
        address=canonical(trimmed(spec.address)) if spec.address else "",
        peer=spec.peer,
        reason=spec.reason,
        author=spec.author,
        expires=(spec.expires or "").upper(),  # one spelling for all who show it
        created=raw.metadata.creation_timestamp or "",
    )


def faults(spec: OrderSpec) -> list[Fault]:
    """What the schema refuses as well. An action of a later version is nothing to complain about."""
    said: list[Fault] = []
    if spec.expires:
        try:
            moment(spec.expires)
        except ValueError:
            said.append(Fault("spec.expires", f'"{spec.expires}" is no time', "write 2026-01-01T12:00:00Z"))
    if spec.action not in ACTIONS:
        return said
    need = NEEDS[spec.action]
    if not getattr(spec, need):
        said.append(Fault(f"spec.{need}", f"is missing: a {spec.action} needs it"))
    said += [
        Fault(f"spec.{field}", f"a {spec.action} has none", "take it out")
        for field in ("node", "address", "peer")
        if field != need and field not in MAY[spec.action] and getattr(spec, field)
    ]
    if spec.address:
        try:
            canonical(trimmed(spec.address))
        except AddressError as error:
            said.append(Fault("spec.address", str(error), "write one IP address"))
    return said


def encode(order: Order, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": order.name, "namespace": namespace},
        "spec": spec_of(order),
    }


def spec_of(order: Order) -> dict[str, Any]:
    fields = ("action", "node", "address", "peer", "reason", "author", "expires")
    return {field: value for field in fields if (value := getattr(order, field))}


def name_of(action: str, target: str, node: str = "") -> str:
    """hold-10.0.0.1, shut-tor-a.on.n1, drain-n1. IPv6 as a VirtualIP is called."""
    what = claim_name(target) if action == HOLD else target
    name = f"{action.lower()}-{what}" + (f".on.{node}" if node and action != DRAIN else "")
    if len(name) <= LONGEST_NAME and re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
        return name
    return f"{action.lower()}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
