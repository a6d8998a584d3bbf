"""What the cluster holds that decides something: Service, its Endpoints, Node, Namespace.

Only fields that decide an allocation or an announcement are kept; cluster/decode.py makes these from JSON.
Elsewhere: what users configured is configuration.py; what was decided is virtualips.py.
"""

from collections.abc import Mapping
from enum import IntEnum

from msgspec import Struct

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"


class Port(Struct, frozen=True, order=True):
    protocol: str  # TCP, UDP, SCTP
    port: int


class Condition(Struct, frozen=True, rename="camel"):
    """metav1.Condition, as it stands in a status."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class RouteWishes(Struct, frozen=True, gc=False):
    """What a Service says of its own routes, by annotations metalbgp.io/…; a BGPAdvertisement decides whether
    it may (docs/bgp.md)."""

    communities: tuple[tuple[int, int], ...] = ()  # RFC 1997, sorted
    large_communities: tuple[tuple[int, int, int], ...] = ()  # RFC 8092, sorted
    local_preference: int | None = None
    blackhole: bool = False  # traffic to the address is to be dropped by the routers (RFC 7999)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of those that are there, as service-may has them."""
        said = {
            "blackhole": self.blackhole,
            "communities": bool(self.communities or self.large_communities),
            "local-preference": self.local_preference is not None,
        }
        return tuple(name for name, there in said.items() if there)


NO_WISHES = RouteWishes()


class Service(Struct, frozen=True, gc=False):
    """A Service, reduced. `requested_*` and `sharing_key` are the annotations in force, metallb.io before
    metallb.universe.tf even when empty (metallb.md 2.1)."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    created: str  # metadata.creationTimestamp, RFC 3339; decides who is older
    type: str = "LoadBalancer"
    load_balancer_class: str | None = None
    load_balancer_ip: str = ""  # spec.loadBalancerIP (deprecated by Kubernetes, still honoured)
    labels: Mapping[str, str] = {}
    selector: Mapping[str, str] = {}
    ports: tuple[Port, ...] = ()
    cluster_ips: tuple[str, ...] = ()
    ip_families: tuple[str, ...] = ()  # IPv4, IPv6; only breaks ties, cluster_ips decide
    ip_family_policy: str = "SingleStack"
    external_traffic_policy: str = "Cluster"
    publish_not_ready: bool = False
    requested_pool: str = ""  # metallb.io/address-pool
    requested_addresses: str | None = None  # metallb.io/loadBalancerIPs, as written; None: not given
    sharing_key: str = ""  # metallb.io/allow-shared-ip
    address_id: str = ""  # metalbgp.io/address-id: who it is across a rename, within its namespace
    wishes: RouteWishes = NO_WISHES
    misread: tuple[tuple[str, str], ...] = ()  # annotations metalbgp.io/… that cannot be read, and why
    deprecated_annotations: tuple[str, ...] = ()  # metallb.universe.tf/… in use
    pool_annotation: str | None = None  # metallb.io/ip-allocated-from-pool as it stands
    ingress: tuple[str, ...] = ()  # status.loadBalancer.ingress[].ip
    foreign_ingress: bool = False  # an entry with a hostname, ports or an ipMode that we never write
    conditions: tuple[Condition, ...] = ()  # status.conditions, everybody's
    deleting: bool = False

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def identities(self) -> tuple[str, ...]:
        """What a kept address may remember of it: `namespace/name`, and `namespace#id` with an address-id."""
        return identities(self.key, self.address_id)

    def annotation(self, name: str) -> str:
        """The spelling in force of one of our annotations, to be quoted to the user."""
        old = f"metallb.universe.tf/{name}"
        return old if old in self.deprecated_annotations else f"metallb.io/{name}"

    @property
    def local(self) -> bool:
        return self.external_traffic_policy == "Local"


def identities(key: str, address_id: str) -> tuple[str, ...]:
    namespace = key.partition("/")[0]
    return (key, f"{namespace}#{address_id}") if address_id else (key,)


class Rank(IntEnum):
    """How well an endpoint can serve (docs/serving.md). The data path of a node uses the best rank it has."""

    NONE = 0
    TERMINATING = 1  # it serves, but not for long
    READY = 2


class Endpoint(Struct, frozen=True, gc=False):
    """One entry of an EndpointSlice."""

    addresses: tuple[str, ...] = ()
    node: str = ""  # nodeName; "" when the entry names none
    rank: Rank = Rank.READY


class EndpointSlice(Struct, frozen=True, gc=False):
    """An EndpointSlice, reduced; one Service may have many (label kubernetes.io/service-name)."""

    namespace: str
    name: str
    service: str  # name of the Service, in the same namespace
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def service_key(self) -> str:
        return f"{self.namespace}/{self.service}"


class Endpoints(Struct, frozen=True, gc=False):
    """Of one Service, over all its EndpointSlices. A node is in `ready`, in `terminating`, or in neither."""

    serving: int = 0  # of any rank but NONE
    total: int = 0  # serving or not
    ready: tuple[tuple[str, int], ...] = ()  # by node, sorted
    terminating: tuple[tuple[str, int], ...] = ()  # the same, of nodes that have no ready one
    nameless: int = 0  # of `serving`: they name no node, so under Local no node serves them


class Node(Struct, frozen=True, gc=False):
    name: str
    uid: str = ""
    labels: Mapping[str, str] = {}
    network_unavailable: bool = False  # condition NetworkUnavailable=True
    addresses: tuple[str, ...] = ()  # status.addresses of type InternalIP
    pod_cidrs: tuple[str, ...] = ()  # spec.podCIDRs
    unschedulable: bool = False  # cordoned
    taints: tuple[str, ...] = ()  # key=value:Effect, sorted
    ready: bool = True  # condition Ready, where somebody says anything else than True
    shutting_down: bool = False  # by the kubelet's own word: it is not ready because its machine shuts down

    @property
    def excluded(self) -> bool:
        return EXCLUDE_LABEL in self.labels


class Namespace(Struct, frozen=True, gc=False):
    name: str
    labels: Mapping[str, str] = {}


class Pod(Struct, frozen=True, gc=False):
    """As far as it serves, or speaks for us."""

    namespace: str
    name: str
    uid: str = ""
    labels: Mapping[str, str] = {}
    node: str = ""
    address: str = ""
    phase: str = ""
    ready: bool = False
    deleting: bool = False
