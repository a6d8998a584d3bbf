"""Which nodes may own an address in L2, in which order. MetalLB's order, so that a migration moves nothing.

In:  what stands behind the address, nodes, live speakers, L2Advertisements.
Out: node names, best first (metallb.md 4.3: preference weights, then SHA-256 over node and first address).
Elsewhere: the first *live* candidate owns it, decided in l2/machine.py without the controller.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.model.configuration import L2Advertisement
from metalbgp.model.selectors import any_matches
from metalbgp.model.services import Node
from metalbgp.model.virtualips import Holder
from metalbgp.plan.scene import Scene
from metalbgp.select.select import node_gate

WRITTEN: Final = 5  # candidates in a VirtualIP: enough to outlive four nodes without a controller


class Claimant(Struct, frozen=True):
    """A Service behind the address. `first`: its first address, IPv4 before IPv6, which MetalLB hashes."""

    service: str
    holder: Holder
    first: str


def order(nodes: Iterable[str], first: str, weights: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Heavier first; equal weights by the raw digest of `node#address`, lowest first."""
    heavy = weights or {}
    return tuple(sorted(nodes, key=lambda node: (-heavy.get(node, 0), _digest(node, first))))


def _digest(node: str, first: str) -> bytes:
    return sha256(f"{node}#{first}".encode()).digest()


def candidates(claimants: Sequence[Claimant], scene: Scene) -> tuple[str, ...]:
    """The nodes to write into the VirtualIP; () when nothing asks for L2 or no node may.

    Services that share an address agree as a rule (same address, same endpoints under Local). Where they do
    not (one of them is dual-stack, or matched by other advertisements), the oldest one that L2 can serve
    decides for all: one address has one owner.
    """
    able = [claimant for claimant in claimants if claimant.holder.l2 and claimant.holder.serving]
    for claimant in sorted(able, key=lambda claimant: (claimant.holder.created, claimant.service)):
        found = eligible(claimant, scene)
        if found:
            return order(found, claimant.first, found)[:WRITTEN]
    return ()


def askers(claimants: Sequence[Claimant], scene: Scene) -> tuple[str, ...]:
    """The nodes that may ask the segment for an address, the first of which does (phase probing): those that
    could answer for it if all had endpoints, because there may be none yet."""
    for claimant in sorted(claimants, key=lambda claimant: (claimant.holder.created, claimant.service)):
        anywhere = replace(claimant, holder=replace(claimant.holder, policy="Cluster"))
        if found := eligible(anywhere, scene):
            return order(found, claimant.first, found)[:WRITTEN]
    return ()


def eligible(claimant: Claimant, scene: Scene) -> dict[str, int]:
    """Every node that may own the Service's addresses, with its summed preference weight."""
    holder = claimant.holder
    chosen = [one for one in scene.configuration.l2_advertisements if one.name in holder.l2]
    hosts = holder.nodes if holder.policy == "Local" else scene.nodes
    weights: dict[str, int] = {}
    for name in hosts:
        node = scene.nodes.get(name)
        if node is None or name not in scene.live:
            continue
        if node_gate(node, scene.configuration.ignore_exclude_label) is not None:
            continue
        covering = [one for one in chosen if any_matches(one.node_selectors, node.labels)]
        if covering:
            weights[name] = sum(_weight(one, node) for one in covering)
    return weights


def _weight(advertisement: L2Advertisement, node: Node) -> int:
    """Weights of several matching preferences add up."""
    return sum(one.weight for one in advertisement.preferences if one.selector.matches(node.labels))
