"""Which nodes shall serve an address: ready endpoints before terminating ones (docs/serving.md), L2's order.

In:  what stands behind the address, nodes, live speakers, advertisements.
Out: L2: node names, best first (metallb.md 4.3: preference weights, then SHA-256 over node and first address:
     MetalLB's order, so that a migration moves nothing; before them the node of scene.firsts where an
     advertisement spreads), five of them and from several zones. BGP: whether nodes that only terminate
     announce.
Elsewhere: the first *live* candidate owns it, decided in l2/ownership.py without the controller; what the
     rank means for one node is select/.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.model.configuration import L2Advertisement
from metalbgp.model.selectors import any_matches
from metalbgp.model.services import Node
from metalbgp.model.virtualips import Holder, VirtualIP
from metalbgp.plan.scene import Scene
from metalbgp.select.leaving import behind, why
from metalbgp.select.select import node_gate, select

WRITTEN: Final = 5  # candidates in a VirtualIP: enough to outlive four nodes without a controller
ZONE: Final = "topology.kubernetes.io/zone"


class Claimant(Struct, frozen=True):
    """A Service behind the address. `first`: its first address, IPv4 before IPv6, which MetalLB hashes."""

    service: str
    holder: Holder
    first: str


class Able(Struct, frozen=True):
    """The nodes that may own an address, with their weights, and those of the greatest weight."""

    weights: Mapping[str, int]
    best: frozenset[str]


# Advertisements, and nodes under Local → who is able: worked out once for thousands of addresses.
Known = dict[tuple[tuple[str, ...], frozenset[str] | None], Able]


def order(nodes: Iterable[str], first: str, weights: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Heavier first; equal weights by the raw digest of `node#address`, lowest first."""
    heavy = weights or {}
    return tuple(sorted(nodes, key=lambda node: (-heavy.get(node, 0), _digest(node, first))))


def _digest(node: str, first: str) -> bytes:
    return sha256(f"{node}#{first}".encode()).digest()


def last_resort(address: str, claimant: Claimant, scene: Scene) -> bool:
    """Whether nodes where endpoints only terminate announce routes: no node with a ready one would.

    What such a node would do is what its speaker does, so it is asked by the same function.
    """
    holder = claimant.holder
    if not holder.terminating or not holder.bgp:
        return False
    alone = VirtualIP(
        address=address,
        pool="",
        configuration=scene.configuration.sequence,
        holders={claimant.service: holder},
    )
    able = (node for name in holder.nodes if name in scene.live and (node := scene.nodes.get(name)))
    return not any(select(alone, scene.configuration, node).routes for node in able)


def candidates(claimants: Sequence[Claimant], scene: Scene) -> tuple[str, ...]:
    """The nodes to write into the VirtualIP; () when nothing asks for L2 or no node may.

    Services that share an address agree as a rule (same address, same endpoints under Local). Where they do
    not (one of them is dual-stack, or matched by other advertisements), the oldest one that L2 can serve
    decides for all: one address has one owner. Nodes where endpoints only terminate come after all others.
    """
    able, local = _ranks(claimants)
    return spread_zones(tuple(dict.fromkeys((*_first(able, scene), *_first(local, scene)))), scene.nodes)


def _ranks(claimants: Sequence[Claimant]) -> tuple[list[Claimant], list[Claimant]]:
    """Those that L2 can serve, and the same as if the nodes where endpoints terminate were all they had."""
    able = [claimant for claimant in claimants if claimant.holder.l2 and claimant.holder.serving]
    going = [replace(one, holder=replace(one.holder, nodes=one.holder.terminating)) for one in able]
    return able, [one for one in going if one.holder.policy == "Local"]


def _first(claimants: Sequence[Claimant], scene: Scene) -> tuple[str, ...]:
    """The nodes of the oldest that has any, in order."""
    found = _leader(claimants, scene, {})
    if found is None:
        return ()
    claimant, able = found
    ordered = order(able.weights, claimant.first, able.weights)
    chosen = scene.firsts.get(claimant.first)
    if chosen is not None and chosen in able.best and is_even(claimant, scene):
        ordered = tuple(dict.fromkeys((chosen, *ordered)))
    advertisements = _advertisements(claimant, scene)
    leaving = {name for name in ordered if _leaves(scene.nodes[name], advertisements)}
    return behind(ordered, leaving, revertive=all(one.revertive for one in advertisements))


def _advertisements(claimant: Claimant, scene: Scene) -> list[L2Advertisement]:
    return [one for one in scene.configuration.l2_advertisements if one.name in claimant.holder.l2]


def _leaves(node: Node, advertisements: Sequence[L2Advertisement]) -> bool:
    """By the signs that all its advertisements mind. Orders the speakers obey by themselves."""
    covering = [one for one in advertisements if any_matches(one.node_selectors, node.labels)]
    return all(why(node, one.leaving, None) for one in covering)


def equals(claimants: Sequence[Claimant], scene: Scene, known: Known) -> tuple[str, frozenset[str]] | None:
    """Which nodes the address could be first on as well, and for which first address that is decided.

    None: nothing asks for it to be spread, or no node may have it. `known` lives as long as the scene.
    """
    for rank in _ranks(claimants):
        if (found := _leader(rank, scene, known)) is not None:
            claimant, able = found
            return (claimant.first, able.best) if is_even(claimant, scene) else None
    return None


def is_even(claimant: Claimant, scene: Scene) -> bool:
    return any(one.even and one.name in claimant.holder.l2 for one in scene.configuration.l2_advertisements)


def _leader(claimants: Sequence[Claimant], scene: Scene, known: Known) -> tuple[Claimant, Able] | None:
    """The oldest that has any node, and its nodes."""
    for claimant in sorted(claimants, key=lambda claimant: (claimant.holder.created, claimant.service)):
        holder = claimant.holder
        alike = holder.l2, frozenset(holder.nodes) if holder.policy == "Local" else None
        if alike not in known:
            weights = eligible(claimant, scene)
            asked = _advertisements(claimant, scene)
            stay = {name for name in weights if not _leaves(scene.nodes[name], asked)} or weights.keys()
            most = max((weights[name] for name in stay), default=0)
            best = frozenset(name for name in stay if weights[name] == most)
            known[alike] = Able(weights, best)
        if known[alike].best:
            return claimant, known[alike]
    return None


def spread_zones(ordered: Sequence[str], nodes: Mapping[str, Node], most: int = WRITTEN) -> tuple[str, ...]:
    """Which of the nodes are written, in their order: a zone that fails must not take all of them with it.

    The first is in. Then round by round, in the order, one node of every zone that has as few in the list as
    any; nodes without the label are one zone. So as many zones as there is room for are in the list, and
    where there is one zone only, the first five are.
    """
    if len(ordered) <= most:
        return tuple(ordered)
    counts: dict[str, int] = {}
    rounds: list[tuple[int, int]] = []  # (how many of its zone stand before it, place)
    for place, name in enumerate(ordered):
        zone = nodes[name].labels.get(ZONE, "")
        rounds.append((counts.get(zone, 0), place))
        counts[zone] = counts.get(zone, 0) + 1
    return tuple(ordered[place] for place in sorted(place for _, place in sorted(rounds)[:most]))


def askers(claimants: Sequence[Claimant], scene: Scene) -> tuple[str, ...]:
    """The nodes that may ask the segment for an address, the first of which does (phase probing): those that
    could answer for it if all had endpoints, because there may be none yet."""
    anywhere = [replace(one, holder=replace(one.holder, policy="Cluster")) for one in claimants]
    return spread_zones(_first(anywhere, scene), scene.nodes)


def eligible(claimant: Claimant, scene: Scene) -> dict[str, int]:
    """Every node that may own the Service's addresses, with its summed preference weight."""
    holder = claimant.holder
    chosen = _advertisements(claimant, scene)
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
