"""VirtualIP ↔ its object (metalbgp.io/v1alpha1, cluster-scoped, named after the address).

    decode(bytes | Raw) -> VirtualIP            # ValidationError or AddressError when it is not one
    encode(vip, installation="") -> dict        # the body of a POST
    merge_patch(old, new) -> dict | None        # None: nothing to write; carries old's resourceVersion

All of it stands in spec: there is no second writer, so a status subresource would only cost a second request.
Elsewhere: what the fields mean is model/virtualips.py; the schema is k8s/crds.yaml.
"""

from functools import lru_cache
from sys import intern
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from metalbgp.config import jsonpatch
from metalbgp.model.addresses import AddressError, address_of_claim, canonical, claim_name
from metalbgp.model.names import INSTALLATION
from metalbgp.model.services import NO_WISHES, RouteWishes
from metalbgp.model.virtualips import Holder, Phase, VirtualIP

API_VERSION: Final = "metalbgp.io/v1alpha1"
KIND: Final = "VirtualIP"
PHASE: Final = "metalbgp.io/phase"


class _Wishes(Struct, gc=False, rename="camel", omit_defaults=True, frozen=True):
    communities: tuple[str, ...] = ()
    large_communities: tuple[str, ...] = ()
    local_preference: int | None = None
    blackhole: bool = False


NOTHING: Final = _Wishes()


class _Holder(Struct, gc=False, rename="camel", omit_defaults=True):
    uid: str
    created: str = ""
    bgp: tuple[str, ...] = ()
    l2: tuple[str, ...] = ()
    policy: str = "Cluster"
    serving: bool = False
    nodes: dict[str, int] = {}
    terminating: dict[str, int] = {}
    last_resort: bool = False
    selector: dict[str, str] = {}
    publish_not_ready: bool = False
    sharing_key: str = ""
    ports: tuple[str, ...] = ()
    address_id: str = ""
    wishes: _Wishes = _Wishes()
    why: str = ""


class _Spec(Struct, gc=False, rename="camel", omit_defaults=True):
    address: str
    pool: str
    phase: Phase  # no default: a claim always says what it is
    configuration: int = 0
    holders: dict[str, _Holder] = {}
    candidates: tuple[str, ...] = ()
    since: str = ""
    kept_for: tuple[str, ...] = ()
    until: str = ""
    reservation: str = ""
    services: str = ""  # the holders' names for kubectl's column; derived, never read


class _Meta(Struct, gc=False, rename="camel"):
    name: str
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    labels: dict[str, str] | None = None


class _Object(Struct, gc=False):
    metadata: _Meta
    spec: _Spec


_decode = msgspec.json.Decoder(_Object).decode


def decode(data: bytes | Raw) -> VirtualIP:
    raw = _decode(data)
    meta, spec = raw.metadata, raw.spec
    return VirtualIP(
        address=_address(meta.name, spec.address),
        pool=intern(spec.pool),
        phase=spec.phase,
        configuration=spec.configuration,
        holders={key: _holder(one) for key, one in spec.holders.items()},
        candidates=tuple(intern(node) for node in spec.candidates),
        since=spec.since,
        kept_for=spec.kept_for,
        until=spec.until,
        reservation=spec.reservation,
        uid=meta.uid,
        resource_version=meta.resource_version,
        created=meta.creation_timestamp or "",
        installation=intern((meta.labels or {}).get(INSTALLATION, "")),
    )


@lru_cache(
    maxsize=16384
)  # an IPv6 name costs 30 µs to check, and every change of a VirtualIP brings it again
def _address(name: str, address: str) -> str:
    found = canonical(address)
    if name != found and address_of_claim(name) != found:
        raise AddressError(f'VirtualIP "{name}" says that it is {address}')
    return found


def _holder(raw: _Holder) -> Holder:
    return Holder(
        uid=raw.uid,
        created=raw.created,
        bgp=tuple(intern(name) for name in raw.bgp),
        l2=tuple(intern(name) for name in raw.l2),
        policy="Local" if raw.policy == "Local" else "Cluster",
        serving=raw.serving,
        nodes=_counts(raw.nodes),
        terminating=_counts(raw.terminating),
        last_resort=raw.last_resort,
        selector={intern(key): intern(value) for key, value in raw.selector.items()},
        publish_not_ready=raw.publish_not_ready,
        sharing_key=raw.sharing_key,
        ports=tuple(_port(port) for port in raw.ports),
        address_id=raw.address_id,
        wishes=_wishes(raw.wishes),
        why=raw.why,
    )


def _counts(by_node: dict[str, int]) -> dict[str, int]:
    return {intern(node): count for node, count in by_node.items()}


def _wishes(raw: _Wishes) -> RouteWishes:
    if raw == NOTHING:
        return NO_WISHES
    plain = [text.split(":") for text in raw.communities]
    large = [text.split(":") for text in raw.large_communities]
    return RouteWishes(
        communities=tuple((int(high), int(low)) for high, low in plain),
        large_communities=tuple((int(one), int(two), int(three)) for one, two, three in large),
        local_preference=raw.local_preference,
        blackhole=raw.blackhole,
    )


def _port(text: str) -> str:
    """`TCP/80`. Sharers are judged by it, so what is none makes the object unreadable."""
    protocol, _, number = text.partition("/")
    if not protocol or not number.isascii() or not number.isdigit():
        raise ValueError(f'"{text}" is not a port like TCP/80')
    return intern(text)


def encode(vip: VirtualIP, installation: str = "") -> dict[str, Any]:
    """The object to create. What the API server gives (uid, versions, times) is not written."""
    labels: dict[str, str] = {PHASE: vip.phase}
    if found := installation or vip.installation:
        labels[INSTALLATION] = found
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": claim_name(vip.address), "labels": labels},
        "spec": _spec(vip),
    }


def _spec(vip: VirtualIP) -> dict[str, Any]:
    found = msgspec.to_builtins(
        _Spec(
            address=vip.address,
            pool=vip.pool,
            phase=vip.phase,
            configuration=vip.configuration,
            holders={key: _raw_holder(one) for key, one in sorted(vip.holders.items())},
            candidates=vip.candidates,
            since=vip.since,
            kept_for=vip.kept_for,
            until=vip.until,
            reservation=vip.reservation,
            services=", ".join(sorted(vip.holders)),
        )
    )
    return {key: _lists(value) for key, value in found.items()}


def _raw_holder(one: Holder) -> _Holder:
    return _Holder(
        uid=one.uid,
        created=one.created,
        bgp=one.bgp,
        l2=one.l2,
        policy=one.policy,
        serving=one.serving,
        nodes=dict(sorted(one.nodes.items())),
        terminating=dict(sorted(one.terminating.items())),
        last_resort=one.last_resort,
        selector=dict(sorted(one.selector.items())),
        publish_not_ready=one.publish_not_ready,
        sharing_key=one.sharing_key,
        ports=one.ports,
        address_id=one.address_id,
        wishes=_Wishes(
            communities=tuple(":".join(map(str, each)) for each in one.wishes.communities),
            large_communities=tuple(":".join(map(str, each)) for each in one.wishes.large_communities),
            local_preference=one.wishes.local_preference,
            blackhole=one.wishes.blackhole,
        ),
        why=one.why,
    )


def _lists(value: Any) -> Any:
    """JSON has lists; a test that compares with what the API server says back must see no tuples."""
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple | list) else value


def merge_patch(old: VirtualIP, new: VirtualIP) -> dict[str, Any] | None:
    """What makes the object of `old` that of `new`, refused by the API server if it is no longer `old`."""
    before, after = encode(old), encode(new, new.installation or old.installation)
    patch = jsonpatch.merge_patch(before, after)
    if patch is None:
        return None
    if old.resource_version:
        patch.setdefault("metadata", {})["resourceVersion"] = old.resource_version
    return patch
