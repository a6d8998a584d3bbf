"""Why a Service has this address or none, and who announces it to whom: the value behind `metalbgp explain`.

In:  the Service, its claims, what allocate() says now, its endpoints, the Scene.
Out: Explanation. Node by node it is what select() answers, so it cannot differ from what speakers do.
Elsewhere: a reason's words are model/reasons.py; the screen is lines.py; wire truth is the CLI's.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from metalbgp.model.allocation import Allocation, Refusal
from metalbgp.model.configuration import Pool
from metalbgp.model.orders import NO_ORDERS
from metalbgp.model.reasons import (
    ConflictingAdvertisements,
    HeldByOrder,
    NoAddress,
    NoMatchingAdvertisement,
    NoPeers,
    NoServingEndpoint,
    NoSpeaker,
    NotAnnounced,
    NotInPool,
    OlderConfiguration,
    Releasing,
    ServiceMayNot,
    SharedWithSelectors,
    WhyAddress,
)
from metalbgp.model.services import Endpoints, Node, Service
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.plan import barred_from_l2
from metalbgp.plan.scene import Scene
from metalbgp.select.select import BGP, LAYER2, NodeView

EVERYWHERE = (NoMatchingAdvertisement, NoPeers, NoServingEndpoint, NotInPool, OlderConfiguration, Releasing)


class Line(Struct, frozen=True):
    """One node and peer. reason None: announced."""

    node: str
    peer: str  # "": whichever peer
    reason: NotAnnounced | None = None


class Announcement(Struct, frozen=True):
    """One prefix and by which advertisements; or, with `reason`, why there is none at all."""

    address: str
    prefix: str = ""
    advertisements: tuple[str, ...] = ()
    reason: NotAnnounced | None = None
    lines: tuple[Line, ...] = ()


class Ownership(Struct, frozen=True):
    """L2: the candidates in order, the first owns it; or why not."""

    address: str
    advertisements: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    reason: NotAnnounced | None = None
    lines: tuple[Line, ...] = ()  # nodes that may not, and why


class Claim(Struct, frozen=True):
    address: str
    phase: str
    since: str
    why: str = ""  # what gave it, as it was written down then


class Explanation(Struct, frozen=True):
    service: str
    addresses: tuple[str, ...] = ()  # claimed
    asked: str = ""
    pool: Pool | None = None
    why: WhyAddress | None = None
    lacks: NoAddress | None = None  # PreferDualStack got one family
    unread: NoAddress | None = None  # it asks for something that cannot be read, and keeps what it has
    ignored: tuple[str, ...] = ()  # annotations for its routes that do nothing, and why
    coming: tuple[str, ...] = ()  # chosen, not claimed yet
    refused: NoAddress | None = None
    claims: tuple[Claim, ...] = ()
    endpoints: Endpoints = Endpoints()
    policy: str = "Cluster"
    bgp: tuple[Announcement, ...] = ()
    l2: tuple[Ownership, ...] = ()

    @property
    def remedy(self) -> str:
        """What to do about the first thing that is wrong; "" when nothing is, or nothing can be."""
        if self.refused is not None:
            return self.refused.remedy()
        said = [*(one.reason for one in self.bgp), *(one.reason for one in self.l2)]
        reasons = [reason for reason in said if reason is not None]
        return reasons[0].remedy() if reasons and len(reasons) == len(said) else ""

    @property
    def problem(self) -> bool:
        """Exit code 1: no address, or nobody announces it."""
        if self.refused is not None or self.unread is not None or not self.addresses:
            return True
        to_peer = any(line.reason is None for one in self.bgp for line in one.lines)
        return not to_peer and not any(one.candidates for one in self.l2)


def explain(
    service: Service,
    claims: Sequence[VirtualIP],
    result: Allocation | Refusal,
    endpoints: Endpoints,
    scene: Scene,
) -> Explanation:
    """`claims`: every VirtualIP that names the Service; `result`: allocate() asked again, with them held."""
    mine = sorted((vip for vip in claims if service.key in vip.holders), key=lambda vip: ":" in vip.address)
    addresses = tuple(vip.address for vip in mine if vip.phase == "bound")
    granted = result if isinstance(result, Allocation) else None
    # Without a node the reasons that hold everywhere are still worth saying.
    nodes = [node for _, node in sorted(scene.nodes.items())] or [Node(name="any node")]
    views = [
        NodeView(
            scene.configuration,
            node,
            scene.orders.get(node.name, NO_ORDERS),
            scene.ended.get(node.name, ()),
        )
        for node in nodes
    ]
    return Explanation(
        service=service.key,
        addresses=addresses,
        asked=_asked(service),
        pool=_pool(scene, mine, granted),
        why=granted.why if granted else None,
        lacks=granted.lacks if granted else None,
        unread=granted.unread if granted else None,
        ignored=tuple(_ignored(service, mine, scene)),
        coming=tuple(one for one in granted.addresses if one not in addresses) if granted else (),
        refused=result.reason if isinstance(result, Refusal) else None,
        claims=tuple(_claim(service.key, vip) for vip in mine),
        endpoints=endpoints,
        policy=service.external_traffic_policy,
        bgp=tuple(part for vip in mine for part in _bgp(service.key, vip, views, scene)),
        l2=tuple(_l2(service, vip, views, scene) for vip in mine),
    )


def _ignored(service: Service, mine: Sequence[VirtualIP], scene: Scene) -> Iterator[str]:
    for name, why in service.misread:
        yield f"annotation {name}: {why}"
    names = {name for vip in mine for name in vip.holders[service.key].bgp}
    for one in scene.configuration.bgp_advertisements:
        more = tuple(kind for kind in service.wishes.kinds if kind not in one.service_may)
        if one.name in names and more:
            reason = ServiceMayNot(advertisement=one.name, wishes=more)
            yield f"{reason.explain()} ({reason.remedy()})"


def _claim(service: str, vip: VirtualIP) -> Claim:
    return Claim(vip.address, vip.phase, vip.since, vip.holders[service].why)


def _asked(service: Service) -> str:
    parts = []
    if service.requested_addresses:
        parts.append(f"{service.requested_addresses} (annotation {service.annotation('loadBalancerIPs')})")
    if service.load_balancer_ip:
        parts.append(f"{service.load_balancer_ip} (spec.loadBalancerIP)")
    if service.requested_pool:
        parts.append(f"pool {service.requested_pool} (annotation {service.annotation('address-pool')})")
    return " and ".join(parts) or "nothing in particular: automatic choice"


def _pool(scene: Scene, mine: Sequence[VirtualIP], granted: Allocation | None) -> Pool | None:
    if mine:
        return scene.configuration.pool_of(mine[0].address)
    name = granted.pool if granted else ""
    return next((pool for pool in scene.configuration.pools if pool.name == name), None)


def _bgp(service: str, vip: VirtualIP, views: Sequence[NodeView], scene: Scene) -> Iterator[Announcement]:
    """One Announcement a prefix; "no" lines of nodes and peers stand below each prefix of the address."""
    yes: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
    noes: dict[tuple[str, str], NotAnnounced] = {}
    peers = tuple(peer.name for peer in scene.configuration.peers)
    for view in views:
        for node, peer, prefix, names, reason in _on_node(service, vip, view, scene):
            if reason is None:
                yes.setdefault(prefix, {})[node, peer] = names
            elif _everywhere(reason):
                yield Announcement(address=vip.address, reason=reason)
                return
            else:
                for one in (peer,) if peer else peers or ("",):
                    # Of several advertisements' reasons the first will do, but a conflict is the real one.
                    if (node, one) not in noes or isinstance(reason, ConflictingAdvertisements):
                        noes[node, one] = reason
    reached = {key for said in yes.values() for key in said}
    refused = {key: reason for key, reason in noes.items() if key not in reached}
    for prefix in sorted(yes) or [""]:
        said = yes.get(prefix, {})
        keys = sorted({*said, *refused})
        yield Announcement(
            address=vip.address,
            prefix=prefix,
            advertisements=tuple(sorted({name for names in said.values() for name in names}))
            or vip.holders[service].bgp,
            lines=tuple(Line(node, peer, refused.get((node, peer))) for node, peer in keys),
        )


def _on_node(
    service: str, vip: VirtualIP, view: NodeView, scene: Scene
) -> Iterator[tuple[str, str, str, tuple[str, ...], NotAnnounced | None]]:
    """(node, peer, prefix, advertisements, why not) for each answer of select() about the Service."""
    plan = view.select(vip)
    node = view.node.name
    silent = NoSpeaker(node=node) if node not in scene.live else None
    for route, why in plan.routes:
        if service in why.services:
            yield node, route.peer, route.prefix, why.advertisements, silent
    for one in plan.refused:
        if one.service == service and one.protocol == BGP:
            yield node, one.peer, "", (), one.reason


def _l2(service: Service, vip: VirtualIP, views: Sequence[NodeView], scene: Scene) -> Ownership:
    pool = scene.configuration.pool_of(vip.address)
    barred = barred_from_l2(service, pool, scene.configuration) if pool else ()
    if barred:
        return Ownership(vip.address, barred, reason=SharedWithSelectors(advertisements=barred))
    holder = vip.holders[service.key]
    lines: list[Line] = []
    for view in views:
        for one in view.select(vip).refused:
            if one.service != service.key or one.protocol != LAYER2:
                continue
            if _everywhere(one.reason):
                return Ownership(vip.address, holder.l2, reason=one.reason)
            if view.node.name not in vip.candidates or isinstance(one.reason, HeldByOrder):
                lines.append(Line(view.node.name, "", _l2_reason(one.reason, view.node, scene)))
    return Ownership(vip.address, holder.l2, candidates=vip.candidates, lines=tuple(lines))


def _everywhere(reason: NotAnnounced) -> bool:
    """What one node says, all would; of a hold it depends."""
    return isinstance(reason, EVERYWHERE) or (isinstance(reason, HeldByOrder) and not reason.node)


def _l2_reason(reason: NotAnnounced, node: Node, scene: Scene) -> NotAnnounced:
    return reason if node.name in scene.live else NoSpeaker(node=node.name)
