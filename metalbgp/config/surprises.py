"""What is legal and surely not what was meant: the questions of `metalbgp validate --strict`. Pure.

In:  the objects and what they compile to; the cluster's Nodes and own networks, where they are known.
Out: Surprises, each on its object and field, with a remedy.
Elsewhere: what is wrong is compile.py; what is accepted and does nothing is its not_in_force.
"""

from collections.abc import Iterator, Sequence

from metalbgp.config import ranges
from metalbgp.config.communities import is_alias
from metalbgp.config.objects import Objects
from metalbgp.model.addresses import Occupied
from metalbgp.model.configuration import Configuration, Pool
from metalbgp.model.reasons import Surprise
from metalbgp.model.selectors import any_matches
from metalbgp.model.services import Node


def surprises(
    objects: Objects,
    configuration: Configuration,
    nodes: Sequence[Node] | None = None,
    occupied: Sequence[Occupied] = (),
) -> Iterator[Surprise]:
    """`nodes` None: not known, so nothing is said of what selects none of them."""
    yield from _pools(configuration, occupied)
    yield from _advertisements(configuration)
    yield from _peers(objects)
    yield from _communities(objects)
    if nodes is not None:
        yield from _on_nodes(configuration, nodes)


def _pools(configuration: Configuration, occupied: Sequence[Occupied]) -> Iterator[Surprise]:
    advertised = {name for one in configuration.bgp_advertisements for name in one.pools}
    advertised |= {name for one in configuration.l2_advertisements for name in one.pools}
    for pool in configuration.pools:
        if pool.name not in advertised:
            why = "no BGPAdvertisement or L2Advertisement selects it, so its addresses are announced nowhere"
            fix = f"name it in ipAddressPools of an advertisement, or label it for one: [{pool.name}]"
            yield Surprise(kind="IPAddressPool", object=pool.name, field="metadata.name", why=why, fix=fix)
        if configuration.policy_of(pool.name).allow_cluster_addresses:
            continue
        for one in occupied:
            yield from _overlap(pool, one)
    yield from _same_priority(configuration.pools)


def _overlap(pool: Pool, one: Occupied) -> Iterator[Surprise]:
    for at, piece in enumerate(pool.ranges):
        if piece.overlaps(one.range):
            yield Surprise(
                kind="IPAddressPool",
                object=pool.name,
                field=f"spec.addresses[{at}]",
                why=f"{ranges.shown(piece)} overlaps with {one.owner}; those addresses are not given out",
                fix="take them out of the pool",
            )
            return


def _same_priority(pools: Sequence[Pool]) -> Iterator[Surprise]:
    """MetalLB chooses among equals at random; here the name decides, and few people mean that."""
    seen: dict[tuple[object, ...], str] = {}
    for pool in sorted(pools, key=lambda pool: pool.name):
        rule = pool.allocation
        if rule is None or not rule.restricts or not pool.auto_assign:
            continue
        key = (
            rule.priority,
            rule.namespaces,
            rule.namespace_selectors,
            rule.service_selectors,
            pool.families,
        )
        if key in seen:
            why = f"the same Services may use pool {seen[key]} with the same priority; the name decides"
            yield Surprise(
                kind="IPAddressPool",
                object=pool.name,
                field="spec.serviceAllocation.priority",
                why=why,
                fix="give them different priorities (1 is tried first)",
            )
        seen.setdefault(key, pool.name)


def _advertisements(configuration: Configuration) -> Iterator[Surprise]:
    peers = {peer.name for peer in configuration.peers}
    for one in configuration.bgp_advertisements:
        if not one.pools:
            yield _selects_nothing("BGPAdvertisement", one.name)
        if one.peers and not set(one.peers) & peers:
            why = f"none of {', '.join(one.peers)} is a BGPPeer here, so it is announced to nobody"
            yield Surprise(
                kind="BGPAdvertisement",
                object=one.name,
                field="spec.peers",
                why=why,
                fix="name peers that exist, or leave the list out for all of them",
            )
    if configuration.bgp_advertisements and not peers:
        first = configuration.bgp_advertisements[0]
        why = "there is no BGPPeer to announce to"
        yield Surprise(
            kind="BGPAdvertisement", object=first.name, field="spec", why=why, fix="apply a BGPPeer"
        )
    for each in configuration.l2_advertisements:
        if not each.pools:
            yield _selects_nothing("L2Advertisement", each.name)


def _selects_nothing(kind: str, name: str) -> Surprise:
    why = "it selects no IPAddressPool that is there"
    return Surprise(
        kind=kind,
        object=name,
        field="spec.ipAddressPools",
        why=why,
        fix="name a pool, or leave both lists out for all",
    )


def _peers(objects: Objects) -> Iterator[Surprise]:
    for raw in objects.peers:
        if raw.spec.password:
            yield Surprise(
                kind="BGPPeer",
                object=raw.name,
                field="spec.password",
                why="the password is readable by everybody who may read BGPPeers",
                fix="put it into a Secret of type kubernetes.io/basic-auth and name that in passwordSecret",
            )
        if (raw.spec.hold_time, raw.spec.keepalive_time) in (("0s", "0s"), ("0", "0")):
            yield Surprise(
                kind="BGPPeer",
                object=raw.name,
                field="spec.holdTime",
                why="0s turns the detection of dead routers off (MetalLB stores it for v1beta1 objects)",
                fix="leave both times out",
            )


def _communities(objects: Objects) -> Iterator[Surprise]:
    named = {
        text for one in objects.bgp_advertisements for text in one.spec.communities or () if is_alias(text)
    }
    for raw in objects.communities:
        for at, alias in enumerate(raw.spec.communities or ()):
            if alias.name and alias.name not in named:
                yield Surprise(
                    kind="Community",
                    object=raw.name,
                    field=f"spec.communities[{at}].name",
                    why=f'no BGPAdvertisement names "{alias.name}"',
                    fix="use it, or take it out",
                )


def _on_nodes(configuration: Configuration, nodes: Sequence[Node]) -> Iterator[Surprise]:
    selecting = [("BGPPeer", one.name, one.node_selectors) for one in configuration.peers]
    selecting += [
        ("BGPAdvertisement", one.name, one.node_selectors) for one in configuration.bgp_advertisements
    ]
    selecting += [
        ("L2Advertisement", one.name, one.node_selectors) for one in configuration.l2_advertisements
    ]
    for kind, name, selectors in selecting:
        if not any(any_matches(selectors, node.labels) for node in nodes):
            yield Surprise(
                kind=kind,
                object=name,
                field="spec.nodeSelectors",
                why=f"it selects none of the {len(nodes)} nodes",
                fix="kubectl get nodes --show-labels",
            )
