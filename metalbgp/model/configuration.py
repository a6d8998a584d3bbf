"""What users configured, validated and compiled: pools and policies, reservations, peers, advertisements.

In:  made by config/ from metallb.io objects (the only place that knows their shape).
Out: one Configuration; config/compiled.py writes it to and reads it from a SpeakerConfiguration object.
Names and units are those of the CRD fields, named beside each.
"""

from collections.abc import Mapping

from msgspec import Struct

from metalbgp.model.addresses import Family, Range, family, parse
from metalbgp.model.selectors import Selector


class Source(Struct, frozen=True):
    """The object a compiled value came from: its uid proves that it is the same object after a rename."""

    uid: str = ""
    generation: int = 0
    created: str = ""  # RFC 3339; in a conflict the one in force wins, then the older


class ServiceAllocation(Struct, frozen=True):
    """spec.serviceAllocation of an IPAddressPool: which Services may use the pool."""

    priority: int = 0  # 1 is tried first, 0 last
    namespaces: tuple[str, ...] = ()
    namespace_selectors: tuple[Selector, ...] = ()
    service_selectors: tuple[Selector, ...] = ()

    @property
    def restricts(self) -> bool:
        return bool(self.namespaces or self.namespace_selectors or self.service_selectors)


class Pool(Struct, frozen=True):
    """An IPAddressPool."""

    name: str
    ranges: tuple[Range, ...]  # in spec order; host bits of a CIDR are masked off
    auto_assign: bool = True
    avoid_buggy_ips: bool = False
    allocation: ServiceAllocation | None = None
    labels: tuple[tuple[str, str], ...] = ()
    source: Source = Source()

    def __contains__(self, address: str) -> bool:
        number, version = int(parse(address)), family(address)  # once, however many ranges there are
        return any(one.first <= number <= one.last and one.version == version for one in self.ranges)

    @property
    def families(self) -> frozenset[Family]:
        return frozenset(piece.version for piece in self.ranges)


class Peer(Struct, frozen=True):
    """A BGPPeer (v1beta2). Times in seconds; None: the speaker's default."""

    name: str
    my_asn: int
    address: str = ""  # spec.peerAddress; exactly one of address and interface
    interface: str = ""  # spec.interface (unnumbered); with an address: the link that it is on
    peer_asn: int = 0  # 0: dynamic_asn says how
    dynamic_asn: str = ""  # internal, external
    local_asn: int = 0
    port: int = 179
    source_address: str = ""
    hold_time: int | None = None
    keepalive_time: int | None = None
    connect_time: int | None = None
    router_id: str = ""
    node_selectors: tuple[Selector, ...] = ()
    has_password: bool = False  # the words themselves travel in a Secret, keyed by the peer's name
    bfd_profile: str = ""
    graceful_restart: bool = False
    ebgp_multihop: bool = False
    vrf: str = ""
    dual_stack: bool = False  # spec.dualStackAddressFamily
    ttl_security: bool = False  # annotation metalbgp.io/ttl-security: GTSM (RFC 5082)
    listen: int = 0  # annotation metalbgp.io/listen-port: the router may connect there; 0: we only dial
    max_routes: int = 0  # annotation metalbgp.io/max-routes: announced from one node at once; 0: no limit
    # Annotation metalbgp.io/withdraw-limit: from one node, within so many seconds; 0: no limit
    withdraw_limit: int = 0
    withdraw_window: int = 0
    source: Source = Source()

    @property
    def unnumbered(self) -> bool:
        return not self.address

    @property
    def key(self) -> str:
        """What its session is called on a node: the router's address, or its link."""
        return self.address or f"%{self.interface}"

    @property
    def ibgp(self) -> bool:
        return self.dynamic_asn == "internal" or self.peer_asn == self.my_asn


CORDON, TAINTS, SHUTDOWN = "cordon", "taints", "shutdown"  # signs that a node leaves


class Leaving(Struct, frozen=True):
    """When a node counts as leaving, for one advertisement (annotations metalbgp.io/drain…)."""

    when: tuple[str, ...] = ()  # CORDON, TAINTS, SHUTDOWN; none: only when somebody orders it
    delay: int = 30_000  # milliseconds that its routes stand less preferred before they go
    tolerates: tuple[str, ...] = ()  # taints that say nothing: key, key=value, key:Effect, key=value:Effect


class BGPAdvertisement(Struct, frozen=True):
    """A BGPAdvertisement with its pools and communities resolved."""

    name: str
    pools: tuple[str, ...] = ()  # resolved pool names, sorted; by name and by selector
    aggregation_length: int = 32
    aggregation_length_v6: int = 128
    local_preference: int = 0  # spec.localPref; 0: unset
    communities: tuple[tuple[int, int], ...] = ()  # RFC 1997, sorted
    large_communities: tuple[tuple[int, int, int], ...] = ()  # RFC 8092, sorted
    node_selectors: tuple[Selector, ...] = ()
    peers: tuple[str, ...] = ()  # BGPPeer names; empty: all
    service_selectors: tuple[Selector, ...] = ()
    # Annotations metalbgp.io/… (config/extensions.py)
    med: int | None = None
    prepend: int = 0  # how often our own AS number stands once more in front of the path
    extended_communities: tuple[int, ...] = ()  # RFC 4360, sorted
    link_bandwidth: int = 0  # Mbit/s for each serving endpoint of the node, under Local; 0: not said
    backup_nodes: tuple[Selector, ...] = ()  # nodes that announce less preferred than the others
    announce_delay: int = 0  # milliseconds before a node that begins to serve an address announces it
    service_may: tuple[str, ...] = ()  # what Services may say of their routes: services.RouteWishes.kinds
    leaving: Leaving = Leaving()
    source: Source = Source()

    @property
    def singular(self) -> tuple[tuple[str, str, str], ...]:
        """(name, field, value) of what a route has one of: its advertisements must agree (metallb.md 3.4)."""
        note = "metadata.annotations.metalbgp.io/"
        return (
            ("localPref", "spec.localPref", str(self.local_preference)),
            ("MED", f"{note}med", "none" if self.med is None else str(self.med)),
            ("prepend", f"{note}prepend", str(self.prepend)),
            ("link-bandwidth", f"{note}link-bandwidth", str(self.link_bandwidth)),
            ("backup-nodes", f"{note}backup-nodes", ", ".join(map(str, self.backup_nodes)) or "none"),
        )


class Preference(Struct, frozen=True):
    """One of spec.preferredNodeSelectors of an L2Advertisement."""

    weight: int  # 1..100
    selector: Selector


class L2Advertisement(Struct, frozen=True):
    name: str
    pools: tuple[str, ...] = ()
    node_selectors: tuple[Selector, ...] = ()
    preferences: tuple[Preference, ...] = ()
    interfaces: tuple[str, ...] = ()  # empty: all
    service_selectors: tuple[Selector, ...] = ()
    # Annotations metalbgp.io/… (config/extensions.py)
    revertive: bool = True  # a better candidate that returns takes the address back
    fenced: bool = False  # fencing: lease; nobody answers without holding the address's Lease
    even: bool = False  # spread: even; addresses of a pool are balanced over equal candidates
    leaving: Leaving = Leaving()
    source: Source = Source()


class BFDProfile(Struct, frozen=True):
    """A BFDProfile; intervals in milliseconds, None: FRR's default."""

    name: str
    receive_interval: int | None = None
    transmit_interval: int | None = None
    detect_multiplier: int | None = None
    echo_interval: int | None = None
    echo_mode: bool = False
    passive_mode: bool = False
    minimum_ttl: int | None = None
    source: Source = Source()


class Quota(Struct, frozen=True):
    """One of spec.quotas of a PoolPolicy: how many addresses of the pool one namespace may hold."""

    limit: int
    namespaces: tuple[
        str, ...
    ] = ()  # with namespace_selectors empty as well: every namespace, each for itself
    namespace_selectors: tuple[Selector, ...] = ()


class PoolPolicy(Struct, frozen=True):
    """A PoolPolicy (metalbgp.io): what MetalLB's IPAddressPool has no words for. Times in seconds.

    A pool without one behaves as in MetalLB, and so does a policy that says nothing but `pools`.
    """

    name: str
    pools: tuple[str, ...]  # spec.ipAddressPools; a pool obeys one policy
    sticky: bool = False  # spec.sticky is there: an address waits for the Service that had it
    sticky_for: int | None = None  # spec.sticky.for; None: without end
    reuse_delay: int = 0  # spec.reuseDelay
    reuse_early: bool = (
        False  # spec.whenExhausted: Reuse; else a cooling or kept address is refused to others
    )
    quotas: tuple[Quota, ...] = ()
    second_family_from: str = ""  # spec.secondFamilyFrom: the pool that gives the family this one lacks
    probe: bool = (
        False  # spec.probe: BeforeUse; ask the segment by ARP or NDP before an address is first used
    )
    protect: bool = False  # spec.protection: InUse; admission refuses edits that take addresses in use away
    allow_cluster_addresses: bool = (
        False  # spec.clusterAddresses: Allow; no guard against Nodes' own addresses
    )
    source: Source = Source()


class Reservation(Struct, frozen=True):
    """An AddressReservation (metalbgp.io): addresses bound to a Service that need not exist yet."""

    name: str
    addresses: tuple[str, ...]  # canonical, in spec order
    namespace: str = ""  # spec.service.namespace; "": any, with a selector
    service: str = ""  # spec.service.name; "": whatever `selector` matches
    selector: Selector | None = None  # spec.serviceSelector, on Service labels
    comment: str = ""  # spec.comment
    source: Source = Source()

    def admits(self, namespace: str, service: str, labels: Mapping[str, str]) -> bool:
        if self.namespace and namespace != self.namespace:
            return False
        if self.selector is not None:
            return self.selector.matches(labels)
        return bool(self.service) and service == self.service

    def whose(self) -> str:
        """For messages: the Service or Services that it is for."""
        if self.selector is None:
            return f"{self.namespace}/{self.service}"
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"Services with {self.selector}{where}"


class Configuration(Struct, frozen=True):
    """Everything that speakers and planner need: the last good version of each object.

    `sequence` grows with every write of the SpeakerConfiguration; a VirtualIP names the one that it was
    planned with, and a speaker that holds an older one decides nothing yet (contracts.md, order of writes).
    """

    installation: str
    sequence: int = 0
    pools: tuple[Pool, ...] = ()
    peers: tuple[Peer, ...] = ()
    bgp_advertisements: tuple[BGPAdvertisement, ...] = ()
    l2_advertisements: tuple[L2Advertisement, ...] = ()
    bfd_profiles: tuple[BFDProfile, ...] = ()
    policies: tuple[PoolPolicy, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    ignore_exclude_label: bool = False  # --ignore-exclude-lb

    def pool_of(self, address: str) -> Pool | None:
        return next((pool for pool in self.pools if address in pool), None)

    def policy_of(self, pool: str) -> PoolPolicy:
        """The one that the pool obeys; without any, a policy that says nothing."""
        return next((one for one in self.policies if pool in one.pools), PoolPolicy(name="", pools=()))

    def reservation_of(self, address: str) -> Reservation | None:
        return next((one for one in self.reservations if address in one.addresses), None)
