"""Kubernetes JSON to values of model/: only the fields that decide something are read at all.

In:  one object as bytes or msgspec.Raw (3–5 µs each). Lists may be null, and most fields absent.
Out: model values (Service, EndpointSlice, Node, Namespace), and Pod, Secret and Meta, which model/ does not
     know. Repeated values (labels, node names) are shared: unshared they cost a quarter of the memory.
Elsewhere: metallb.io and metalbgp.io objects, and the annotations of a Service, are read in config/.
Raises msgspec.ValidationError or AddressError for an object that is not what it should be.
"""

from collections.abc import Mapping
from sys import intern
from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct, field

from metalbgp.config.services import annotations
from metalbgp.model.services import (
    Condition,
    Endpoint,
    EndpointSlice,
    Namespace,
    Node,
    Pod,
    Port,
    Rank,
    Service,
)

Bytes = bytes | Raw

SERVICE_NAME: Final = "kubernetes.io/service-name"
SHUTTING_DOWN: Final = "node is shutting down"  # the kubelet's words, in its condition Ready
NOTHING: Final[Mapping[str, str]] = {}


class ObjectMeta(Struct, frozen=True, gc=False, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


# ------------------------------------------------------------------ the shapes of Kubernetes


class _Meta(Struct, frozen=True, gc=False):
    metadata: ObjectMeta


class _Port(Struct, frozen=True, gc=False):
    port: int
    protocol: str = "TCP"


class _ServiceSpec(Struct, frozen=True, gc=False, rename="camel"):
    type: str = "ClusterIP"
    ports: list[_Port] | None = None
    selector: dict[str, str] | None = None
    cluster_ip: str | None = field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = field(default=None, name="clusterIPs")
    ip_families: list[str] | None = None
    ip_family_policy: str | None = None
    external_traffic_policy: str | None = None
    publish_not_ready_addresses: bool = False
    load_balancer_class: str | None = None
    load_balancer_ip: str | None = field(default=None, name="loadBalancerIP")


class _Ingress(Struct, frozen=True, gc=False):
    ip: str | None = None
    ip_mode: str | None = field(default=None, name="ipMode")
    hostname: str | None = None
    ports: list[Raw] | None = None


class _LoadBalancer(Struct, frozen=True, gc=False):
    ingress: list[_Ingress] | None = None


class _ServiceStatus(Struct, frozen=True, gc=False, rename="camel"):
    load_balancer: _LoadBalancer = _LoadBalancer()
    conditions: list[Condition] | None = None


class _Service(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: _ServiceSpec = _ServiceSpec()
    status: _ServiceStatus = _ServiceStatus()


class _Conditions(Struct, frozen=True, gc=False):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _Endpoint(Struct, frozen=True, gc=False, rename="camel"):
    addresses: list[str] | None = None
    conditions: _Conditions | None = None
    node_name: str | None = None


class _Slice(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    address_type: str = field(default="IPv4", name="addressType")
    endpoints: list[_Endpoint] | None = None


class _Condition(Struct, frozen=True, gc=False):
    type: str
    status: str
    message: str = ""


class _Address(Struct, frozen=True, gc=False):
    type: str
    address: str


class _NodeStatus(Struct, frozen=True, gc=False):
    conditions: list[_Condition] | None = None
    addresses: list[_Address] | None = None


class _Taint(Struct, frozen=True, gc=False):
    key: str
    effect: str = ""
    value: str = ""


class _NodeSpec(Struct, frozen=True, gc=False):
    pod_cidrs: list[str] | None = field(default=None, name="podCIDRs")
    unschedulable: bool = False
    taints: list[_Taint] | None = None


class _Node(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: _NodeSpec = _NodeSpec()
    status: _NodeStatus = _NodeStatus()


class _PodSpec(Struct, frozen=True, gc=False, rename="camel"):
    node_name: str | None = None


class _PodStatus(Struct, frozen=True, gc=False, rename="camel"):
    phase: str = ""
    pod_ip: str | None = field(default=None, name="podIP")
    conditions: list[_Condition] | None = None


class _Pod(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: _PodSpec = _PodSpec()
    status: _PodStatus = _PodStatus()


class _Secret(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    type: str = ""
    data: dict[str, bytes] | None = None  # base64 in JSON


class LeaseSpec(Struct, frozen=True, gc=False, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: LeaseSpec = LeaseSpec()


_meta = msgspec.json.Decoder(_Meta).decode
_service = msgspec.json.Decoder(_Service).decode
_slice = msgspec.json.Decoder(_Slice).decode
_node = msgspec.json.Decoder(_Node).decode
_pod = msgspec.json.Decoder(_Pod).decode
_secret = msgspec.json.Decoder(_Secret).decode
lease = msgspec.json.Decoder(Lease).decode


# ------------------------------------------------------------------ values that model/ does not know


class Secret(Struct, frozen=True, gc=False):
    """Its words never appear in a message: repr names the keys only."""

    namespace: str
    name: str
    uid: str
    type: str
    data: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"Secret({self.namespace}/{self.name}, keys={sorted(self.data)})"


# ------------------------------------------------------------------ sharing


_labels: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
_ports: dict[tuple[Port, ...], tuple[Port, ...]] = {}
_SEEN_AT_MOST: Final = 20_000  # distinct values; beyond it nothing repeats, so remembering costs more


def shared(labels: Mapping[str, str] | None) -> Mapping[str, str]:
    """One mapping for all equal ones. Never change what it returns."""
    if not labels:
        return NOTHING
    key = tuple(sorted(labels.items()))
    found = _labels.get(key)
    if found is None:
        if len(_labels) >= _SEEN_AT_MOST:
            _labels.clear()
        found = _labels[key] = {intern(name): intern(value) for name, value in key}
    return found


def _shared_ports(ports: tuple[Port, ...]) -> tuple[Port, ...]:
    if len(_ports) >= _SEEN_AT_MOST:
        _ports.clear()
    return _ports.setdefault(ports, ports)


# ------------------------------------------------------------------ one function a kind


def meta(data: Bytes) -> ObjectMeta:
    return _meta(data).metadata


def service(data: Bytes) -> Service:
    raw = _service(data)
    about, spec = raw.metadata, raw.spec
    asked = annotations(about.annotations)
    ingress = raw.status.load_balancer.ingress or ()
    policy = spec.ip_family_policy or "SingleStack"
    return Service(
        namespace=intern(about.namespace),
        name=about.name,
        uid=about.uid,
        resource_version=about.resource_version,
        created=about.creation_timestamp,
        type=intern(spec.type),
        load_balancer_class=spec.load_balancer_class,
        load_balancer_ip=spec.load_balancer_ip or "",
        labels=shared(about.labels),
        selector=shared(spec.selector),
        ports=_shared_ports(tuple(Port(intern(port.protocol), port.port) for port in spec.ports or ())),
        cluster_ips=_cluster_ips(spec),
        ip_families=tuple(intern(name) for name in spec.ip_families or ()),
        ip_family_policy=intern(policy),
        external_traffic_policy=intern(spec.external_traffic_policy or "Cluster"),
        publish_not_ready=spec.publish_not_ready_addresses,
        requested_pool=asked.pool,
        requested_addresses=asked.addresses,
        sharing_key=asked.sharing_key,
        address_id=asked.address_id,
        wishes=asked.wishes,
        misread=asked.misread,
        deprecated_annotations=asked.deprecated,
        pool_annotation=asked.from_pool,
        ingress=tuple(entry.ip for entry in ingress if entry.ip),
        foreign_ingress=any(
            entry.hostname or entry.ports or entry.ip_mode not in (None, "VIP") for entry in ingress
        ),
        conditions=tuple(raw.status.conditions or ()),
        deleting=about.deletion_timestamp is not None,
    )


def load_balancer(data: Bytes) -> Service | None:
    """A Service of type LoadBalancer; None for every other (prefilter: spec.type=LoadBalancer)."""
    found = service(data)
    return found if found.type == "LoadBalancer" else None


def _cluster_ips(spec: _ServiceSpec) -> tuple[str, ...]:
    given = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    return tuple(address for address in given if address and address != "None")  # headless says "None"


def endpoint_slice(data: Bytes) -> EndpointSlice | None:
    """None for a slice that belongs to no Service."""
    raw = _slice(data)
    owner = (raw.metadata.labels or NOTHING).get(SERVICE_NAME, "")
    if not owner:
        return None
    return EndpointSlice(
        namespace=intern(raw.metadata.namespace),
        name=raw.metadata.name,
        service=owner,
        endpoints=tuple(
            Endpoint(
                addresses=tuple(entry.addresses or ()),
                node=intern(entry.node_name or ""),
                rank=_rank(entry.conditions),
            )
            for entry in (raw.endpoints if raw.address_type != "FQDN" else None)
            or ()  # no data path sends there
        ),
    )


def _rank(conditions: _Conditions | None) -> Rank:
    """What serves at all serves in MetalLB, too (metallb.md 2.10); which of them are about to go is ours.

    publishNotReadyAddresses makes a terminating Pod `ready`: it goes nevertheless. What serves and is not
    ready is on its way out, whether or not `terminating` says so.
    """
    if conditions is None:
        return Rank.READY
    ready, going = conditions.ready is not False, conditions.terminating is True
    if ready and not going:
        return Rank.READY
    return Rank.TERMINATING if ready or conditions.serving is True else Rank.NONE


def node(data: Bytes) -> Node:
    raw = _node(data)
    return Node(
        name=intern(raw.metadata.name),
        uid=raw.metadata.uid,
        labels=shared(raw.metadata.labels),
        network_unavailable=_condition(raw.status.conditions, "NetworkUnavailable"),
        addresses=tuple(a.address for a in raw.status.addresses or () if a.type == "InternalIP"),
        pod_cidrs=tuple(raw.spec.pod_cidrs or ()),
        unschedulable=raw.spec.unschedulable,
        taints=tuple(sorted(_taint(one) for one in raw.spec.taints or ())),
        ready=not any(one.type == "Ready" and one.status != "True" for one in raw.status.conditions or ()),
        shutting_down=any(
            one.type == "Ready" and one.status == "False" and SHUTTING_DOWN in one.message
            for one in raw.status.conditions or ()
        ),
    )


def _taint(one: _Taint) -> str:
    return intern(f"{one.key}{f'={one.value}' if one.value else ''}:{one.effect}")


def namespace(data: Bytes) -> Namespace:
    found = _meta(data).metadata
    return Namespace(name=intern(found.name), labels=shared(found.labels))


def pod(data: Bytes) -> Pod:
    raw = _pod(data)
    return Pod(
        namespace=intern(raw.metadata.namespace),
        name=raw.metadata.name,
        uid=raw.metadata.uid,
        labels=shared(raw.metadata.labels),
        node=intern(raw.spec.node_name or ""),
        address=raw.status.pod_ip or "",
        phase=intern(raw.status.phase),
        ready=_condition(raw.status.conditions, "Ready"),
        deleting=raw.metadata.deletion_timestamp is not None,
    )


def secret(data: Bytes) -> Secret:
    raw = _secret(data)
    about = raw.metadata
    return Secret(about.namespace, about.name, about.uid, raw.type, raw.data or {})


def _condition(conditions: list[_Condition] | None, kind: Literal["Ready", "NetworkUnavailable"]) -> bool:
    return any(entry.type == kind and entry.status == "True" for entry in conditions or ())


class _Networks(Struct, frozen=True, gc=False):
    cidrs: list[str] | None = None


class _ServiceNetwork(Struct, frozen=True, gc=False):
    spec: _Networks = _Networks()


_service_network = msgspec.json.Decoder(_ServiceNetwork).decode


def service_network(data: Bytes) -> tuple[str, ...]:
    """The CIDRs of a ServiceCIDR (networking.k8s.io/v1, Kubernetes 1.33 and later)."""
    return tuple(_service_network(data).spec.cidrs or ())
