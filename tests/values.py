"""Small makers of values for tests: the fields a test does not name have the dullest value."""

from collections.abc import Mapping
from typing import Any

from metalbgp.model.addresses import Range, parse
from metalbgp.model.configuration import (
    BGPAdvertisement,
    Configuration,
    L2Advertisement,
    Peer,
    Pool,
    ServiceAllocation,
)
from metalbgp.model.selectors import Selector
from metalbgp.model.services import Endpoint, EndpointSlice, Node, Port, Rank, Service
from metalbgp.model.virtualips import Holder, VirtualIP

V4, V6 = "10.96.0.1", "fd00::1"


def ports(*numbers: int) -> tuple[Port, ...]:
    return tuple(Port(protocol="TCP", port=number) for number in numbers)


def service(key: str = "web/nginx", *, uid: str = "", dual: str = "", **fields: Any) -> Service:
    """dual="PreferDualStack" gives both cluster IPs and that policy."""
    namespace, _, name = key.partition("/")
    if dual:
        fields |= {"cluster_ips": (V4, V6), "ip_family_policy": dual}
    defaults: dict[str, Any] = {
        "resource_version": "1",
        "created": "2026-01-01T00:00:00Z",
        "cluster_ips": (V4,),
        "ports": ports(80),
    }
    return Service(namespace=namespace, name=name, uid=uid or f"uid-{key}", **defaults | fields)


def block(text: str) -> Range:
    """`192.0.2.0-192.0.2.9` or one address."""
    low, _, high = text.partition("-")
    first, last = parse(low), parse(high or low)
    return Range(version=4 if first.version == 4 else 6, first=int(first), last=int(last))


def pool(name: str, *ranges: str, **fields: Any) -> Pool:
    return Pool(name=name, ranges=tuple(block(text) for text in ranges), **fields)


def pinned(**fields: Any) -> ServiceAllocation:
    return ServiceAllocation(**fields)


def labelled(**labels: str) -> Selector:
    return Selector(labels=tuple(sorted(labels.items())))


def node(name: str, *, network_unavailable: bool = False, **labels: str) -> Node:
    return Node(name=name, labels=labels, network_unavailable=network_unavailable)


def peer(name: str, address: str = "192.0.2.254", **fields: Any) -> Peer:
    return Peer(name=name, my_asn=64513, peer_asn=64512, address=address, **fields)


def bgp(name: str = "external", *pools: str, **fields: Any) -> BGPAdvertisement:
    return BGPAdvertisement(name=name, pools=pools or ("production",), **fields)


def l2(name: str = "layer2", *pools: str, **fields: Any) -> L2Advertisement:
    return L2Advertisement(name=name, pools=pools or ("production",), **fields)


PRODUCTION = pool("production", "10.252.252.0-10.252.252.255")


def configuration(*objects: Pool | Peer | BGPAdvertisement | L2Advertisement, **fields: Any) -> Configuration:
    """Sorted into their places; without a pool there is `production`."""
    of = {kind: tuple(one for one in objects if isinstance(one, kind)) for kind in KINDS}
    return Configuration(
        installation="metallb-system",
        sequence=fields.pop("sequence", 1),
        pools=of[Pool] or (PRODUCTION,),  # type: ignore[arg-type] # KINDS keeps kind and value together
        peers=of[Peer],  # type: ignore[arg-type] # the same
        bgp_advertisements=of[BGPAdvertisement],  # type: ignore[arg-type] # the same
        l2_advertisements=of[L2Advertisement],  # type: ignore[arg-type] # the same
        **fields,
    )


KINDS = (Pool, Peer, BGPAdvertisement, L2Advertisement)


def holder(**fields: Any) -> Holder:
    return Holder(**{"uid": "u", "created": "2026-01-01T00:00:00Z", "serving": True} | fields)


def vip(
    address: str = "10.252.252.100", holders: Mapping[str, Holder] | None = None, **fields: Any
) -> VirtualIP:
    if holders is None:
        holders = {"web/nginx": holder(bgp=("external",), l2=("layer2",))}
    return VirtualIP(
        **{"address": address, "pool": "production", "configuration": 1, "holders": holders} | fields
    )


def endpoint_slice(key: str, name: str, *endpoints: tuple[str, str, Rank | bool]) -> EndpointSlice:
    """endpoints: (address, node, rank); True: ready, False: none."""
    namespace, _, owner = key.partition("/")
    return EndpointSlice(
        namespace=namespace,
        name=name,
        service=owner,
        endpoints=tuple(
            Endpoint(
                addresses=(a,) if a else (),
                node=n,
                rank=s if isinstance(s, Rank) else Rank.READY if s else Rank.NONE,
            )
            for a, n, s in endpoints
        ),
    )
