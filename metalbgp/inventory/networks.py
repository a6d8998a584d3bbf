"""What the cluster itself uses: addresses of its Nodes, networks of its Pods and Services.

In:  Nodes (InternalIPs, spec.podCIDRs) and ServiceCIDR objects. Out: Occupied ranges with their owners.
Elsewhere: that no new address is one of them is allocate/guard.py.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network

from metalbgp.model.addresses import AddressError, Occupied, Range, host_prefix, parse
from metalbgp.model.services import Node


def occupied(nodes: Iterable[Node], service_networks: Mapping[str, tuple[str, ...]]) -> Iterator[Occupied]:
    """What cannot be read occupies nothing: it is Kubernetes' own, and its words are not ours to judge."""
    for node in nodes:
        for address in node.addresses:
            yield from _one(host_prefix(address), f"Node {node.name}")
        for cidr in node.pod_cidrs:
            yield from _one(cidr, f"the Pod network of Node {node.name} ({cidr})")
    for name, cidrs in sorted(service_networks.items()):
        for cidr in cidrs:
            yield from _one(cidr, f"the Service network ({cidr}, ServiceCIDR {name})")


def _one(cidr: str, owner: str) -> Iterator[Occupied]:
    try:
        network = ip_network(cidr, strict=False)
        version = parse(str(network.network_address)).version
    except (ValueError, AddressError):
        return
    first, last = int(network.network_address), int(network.broadcast_address)
    yield Occupied(range=Range(version=version, first=first, last=last), owner=owner)
