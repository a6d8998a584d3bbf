"""metallb.io objects as users wrote them: frozen shapes of their JSON, nothing judged.

    ip_address_pool(bytes | Raw) -> IPAddressPool      # one function a kind; never raises for a wrong spec
    from_mapping({"kind": ..., ...}) -> AnyObject      # a YAML document; KeyError for a kind that is not ours

In:  JSON of the API server, or documents of a file. BGPPeer is read in both versions (the fields that v1beta1
     has are named alike; what it lacks is simply absent, so its missing timers stay missing).
Out: objects for compile.py. A spec of the wrong types is kept as `unreadable`: the object is then invalid, as
     any other mistake, and does not count as deleted.
Elsewhere: what the fields mean and which values they may have: pools.py, peers.py, advertisements.py, bfd.py,
     policies.py, reservations.py.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from metalbgp.model.configuration import Source


class Meta(Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    resource_version: str = ""

    @property
    def source(self) -> Source:
        return Source(uid=self.uid, generation=self.generation, created=self.creation_timestamp or "")


class LabelRequirement(Struct, frozen=True):
    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class LabelSelector(Struct, frozen=True, rename="camel"):
    match_labels: dict[str, str] | None = None
    match_expressions: list[LabelRequirement] | None = None


Selectors = list[LabelSelector] | None
Names = list[str] | None


# ------------------------------------------------------------------ specs


class ServiceAllocationSpec(Struct, frozen=True, rename="camel"):
    priority: int | None = None
    namespaces: Names = None
    namespace_selectors: Selectors = None
    service_selectors: Selectors = None


class IPAddressPoolSpec(Struct, frozen=True, rename="camel"):
    addresses: Names = None
    auto_assign: bool | None = None
    avoid_buggy_ips: bool = field(default=False, name="avoidBuggyIPs")
    service_allocation: ServiceAllocationSpec | None = None


class SecretReference(Struct, frozen=True):
    name: str = ""
    namespace: str = ""  # ignored, as MetalLB does: the Secret is read from our own namespace


class BGPPeerSpec(Struct, frozen=True, rename="camel"):
    my_asn: int = field(default=0, name="myASN")
    peer_asn: int | None = field(default=None, name="peerASN")
    dynamic_asn: str = field(default="", name="dynamicASN")
    local_asn: int | None = field(default=None, name="localASN")
    peer_address: str = ""
    interface: str = ""
    source_address: str = ""
    peer_port: int | None = None
    hold_time: str | None = None
    keepalive_time: str | None = None
    connect_time: str | None = None
    router_id: str = field(default="", name="routerID")
    node_selectors: Selectors = None
    password: str = ""
    password_secret: SecretReference | None = None
    bfd_profile: str = ""
    enable_graceful_restart: bool = False
    ebgp_multi_hop: bool = False
    vrf: str = ""
    disable_mp: bool = field(default=False, name="disableMP")
    dual_stack_address_family: bool = False

    def __repr__(self) -> str:
        """Without the password: specs end in logs and in the messages of failed tests."""
        secret = "…" if self.password else ""
        return f"BGPPeerSpec({self.my_asn} → {self.peer_asn} {self.peer_address}, password={secret!r})"


class BGPAdvertisementSpec(Struct, frozen=True, rename="camel"):
    aggregation_length: int | None = None
    aggregation_length_v6: int | None = field(default=None, name="aggregationLengthV6")
    local_pref: int = 0
    communities: Names = None
    ip_address_pools: Names = field(default=None, name="ipAddressPools")
    ip_address_pool_selectors: Selectors = field(default=None, name="ipAddressPoolSelectors")
    node_selectors: Selectors = None
    peers: Names = None
    service_selectors: Selectors = None


class PreferenceSpec(Struct, frozen=True):
    weight: int = 0
    preference: LabelSelector = LabelSelector()


class L2AdvertisementSpec(Struct, frozen=True, rename="camel"):
    ip_address_pools: Names = field(default=None, name="ipAddressPools")
    ip_address_pool_selectors: Selectors = field(default=None, name="ipAddressPoolSelectors")
    node_selectors: Selectors = None
    preferred_node_selectors: list[PreferenceSpec] | None = None
    interfaces: Names = None
    service_selectors: Selectors = None


class CommunityAlias(Struct, frozen=True):
    name: str = ""
    value: str = ""


class CommunitySpec(Struct, frozen=True):
    communities: list[CommunityAlias] | None = None


class BFDProfileSpec(Struct, frozen=True, rename="camel"):
    receive_interval: int | None = None
    transmit_interval: int | None = None
    detect_multiplier: int | None = None
    echo_interval: int | None = None
    echo_mode: bool | None = None
    passive_mode: bool | None = None
    minimum_ttl: int | None = None


class StickySpec(Struct, frozen=True):
    lasts: str | None = field(default=None, name="for")


class QuotaSpec(Struct, frozen=True, rename="camel"):
    limit: int | None = None
    namespaces: Names = None
    namespace_selectors: Selectors = None


class PoolPolicySpec(Struct, frozen=True, rename="camel"):
    ip_address_pools: Names = field(default=None, name="ipAddressPools")
    sticky: StickySpec | None = None
    reuse_delay: str | None = None
    when_exhausted: str = "Refuse"
    quotas: list[QuotaSpec] | None = None
    second_family_from: str = ""
    probe: str = "Never"
    protection: str = "None"
    cluster_addresses: str = "Refuse"


class ServiceReference(Struct, frozen=True):
    namespace: str = ""
    name: str = ""


class AddressReservationSpec(Struct, frozen=True, rename="camel"):
    addresses: Names = None
    service: ServiceReference | None = None
    service_selector: LabelSelector | None = None
    comment: str = ""


# ------------------------------------------------------------------ objects


class _Object(Struct, frozen=True):
    metadata: Meta = Meta()
    unreadable: str = ""  # why the spec could not be read; ours, not of the JSON

    @property
    def name(self) -> str:
        return self.metadata.name


class IPAddressPool(_Object, frozen=True):
    spec: IPAddressPoolSpec = IPAddressPoolSpec()


class BGPPeer(_Object, frozen=True):
    spec: BGPPeerSpec = BGPPeerSpec()


class BGPAdvertisement(_Object, frozen=True):
    spec: BGPAdvertisementSpec = BGPAdvertisementSpec()


class L2Advertisement(_Object, frozen=True):
    spec: L2AdvertisementSpec = L2AdvertisementSpec()


class Community(_Object, frozen=True):
    spec: CommunitySpec = CommunitySpec()


class BFDProfile(_Object, frozen=True):
    spec: BFDProfileSpec = BFDProfileSpec()


class PoolPolicy(_Object, frozen=True):
    spec: PoolPolicySpec = PoolPolicySpec()


class AddressReservation(_Object, frozen=True):
    spec: AddressReservationSpec = AddressReservationSpec()


AnyObject = (
    IPAddressPool
    | BGPPeer
    | BGPAdvertisement
    | L2Advertisement
    | Community
    | BFDProfile
    | PoolPolicy
    | AddressReservation
)
One = TypeVar(
    "One",
    IPAddressPool,
    BGPPeer,
    BGPAdvertisement,
    L2Advertisement,
    Community,
    BFDProfile,
    PoolPolicy,
    AddressReservation,
)


class Objects(Struct, frozen=True):
    """All configuration objects of one installation, in any order."""

    pools: tuple[IPAddressPool, ...] = ()
    peers: tuple[BGPPeer, ...] = ()
    bgp_advertisements: tuple[BGPAdvertisement, ...] = ()
    l2_advertisements: tuple[L2Advertisement, ...] = ()
    communities: tuple[Community, ...] = ()
    bfd_profiles: tuple[BFDProfile, ...] = ()
    policies: tuple[PoolPolicy, ...] = ()
    reservations: tuple[AddressReservation, ...] = ()


class _Head(Struct):
    metadata: Meta


_head = msgspec.json.Decoder(_Head).decode


def _reader(kind: type[One]) -> Callable[[bytes | Raw], One]:
    decode = msgspec.json.Decoder(kind).decode

    def read(data: bytes | Raw) -> One:
        try:
            return decode(data)
        except msgspec.ValidationError as error:
            return kind(metadata=_head(data).metadata, unreadable=str(error))

    return read


ip_address_pool: Final = _reader(IPAddressPool)
bgp_peer: Final = _reader(BGPPeer)
bgp_advertisement: Final = _reader(BGPAdvertisement)
l2_advertisement: Final = _reader(L2Advertisement)
community: Final = _reader(Community)
bfd_profile: Final = _reader(BFDProfile)
pool_policy: Final = _reader(PoolPolicy)
address_reservation: Final = _reader(AddressReservation)

READERS: Final[Mapping[str, Callable[[bytes | Raw], AnyObject]]] = {
    "IPAddressPool": ip_address_pool,
    "BGPPeer": bgp_peer,
    "BGPAdvertisement": bgp_advertisement,
    "L2Advertisement": l2_advertisement,
    "Community": community,
    "BFDProfile": bfd_profile,
    "PoolPolicy": pool_policy,
    "AddressReservation": address_reservation,
}


def from_mapping(document: Mapping[str, Any]) -> AnyObject:
    """A document of a YAML file. The kind decides; KeyError when it is none of ours."""
    return READERS[document["kind"]](msgspec.json.encode(_as_served(document)))


def _as_served(value: Any) -> Any:
    """A tree as the API server would store it: 100.0 is an integer, a field that is null is not there."""
    match value:
        case Mapping():
            return {key: _as_served(inner) for key, inner in value.items() if inner is not None}
        case list():
            return [_as_served(inner) for inner in value]
        case float():  # infinities would become null in JSON, which is to say nothing was written
            return int(value) if value.is_integer() else value if isfinite(value) else str(value)
    return value


def gather(found: list[AnyObject]) -> Objects:
    """Objects of all kinds, sorted into their places."""

    def of(kind: type[One]) -> tuple[One, ...]:
        return tuple(one for one in found if isinstance(one, kind))

    return Objects(
        pools=of(IPAddressPool),
        peers=of(BGPPeer),
        bgp_advertisements=of(BGPAdvertisement),
        l2_advertisements=of(L2Advertisement),
        communities=of(Community),
        bfd_profiles=of(BFDProfile),
        policies=of(PoolPolicy),
        reservations=of(AddressReservation),
    )
