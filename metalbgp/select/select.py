"""What one node shall do for one VirtualIP: routes, L2 duties, and every "no" with its reason.

In:  a VirtualIP, the Configuration, the node itself, the orders that it obeys,
     what its own Pods can serve no more.
Out: NodePlan. Its `undecided` addresses keep what they have: the two watches have not met yet.
Elsewhere: several VirtualIPs together are table.py; matching Services to advertisements is plan/plan.py.

A speaker may say no for its own node, never yes: nothing here adds what the VirtualIP does not ask for.
One file because the gates of both protocols are the same: what one says no to, the other must not forget.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final, TypeVar

from msgspec.structs import replace

from metalbgp.model import extended
from metalbgp.model.addresses import Family, Range, family, host_of, prefix_of
from metalbgp.model.configuration import BGPAdvertisement, Configuration, L2Advertisement, Leaving, Peer, Pool
from metalbgp.model.orders import NO_ORDERS, Orders
from metalbgp.model.reasons import (
    BeingProbed,
    ConflictingAdvertisements,
    Drained,
    EndpointsTerminate,
    FamilyNotCarried,
    HeldByOrder,
    NoCandidate,
    NodeExcluded,
    NodeNetworkUnavailable,
    NodeNotSelected,
    NoLocalEndpoint,
    NoMatchingAdvertisement,
    NoPeers,
    NoServingEndpoint,
    NoServingPod,
    NotAnnounced,
    NotInPool,
    OlderConfiguration,
    PeerNotListed,
    PrefixTooShort,
    Releasing,
)
from metalbgp.model.routes import Attributes, Duty, NodePlan, Probe, Provenance, Refused, Route
from metalbgp.model.selectors import any_matches
from metalbgp.model.services import NO_WISHES, Node, RouteWishes
from metalbgp.model.virtualips import HELD_PHASES, Holder, VirtualIP
from metalbgp.select import leaving
from metalbgp.select.merge import Contribution, combine
from metalbgp.select.orders import held_by, shut_by

BGP, LAYER2 = "bgp", "layer2"
DEFAULT_PREFERENCE: Final = 100  # RFC 4271 section 5.1.5 leaves it open; every router's is this
BACKUP_PREFERENCE: Final = 50  # so much less a backup node is preferred, by routers of our own AS
BLACKHOLE: Final = (65535, 666)  # RFC 7999
BACKUP_PREPEND: Final = 3  # and by others: so much longer is its path

T = TypeVar("T", tuple[int, int], tuple[int, int, int])


def select(vip: VirtualIP, configuration: Configuration, node: Node) -> NodePlan:
    return NodeView(configuration, node).select(vip)


def carries(peer: Peer, version: Family) -> bool:
    """Whether the session to the peer carries a family (metallb.md 10.22)."""
    return peer.dual_stack or peer.unnumbered or family(peer.address) == version


def node_gate(node: Node, ignore_exclude_label: bool) -> NodeExcluded | NodeNetworkUnavailable | None:
    """Why the node announces nothing at all, in either protocol (metallb.md 2.10)."""
    if node.network_unavailable:
        return NodeNetworkUnavailable(node=node.name)
    if node.excluded and not ignore_exclude_label:
        return NodeExcluded(node=node.name)
    return None


class NodeView:
    """A Configuration as one node sees it. Made once per configuration, asked once per VirtualIP.

    `orders` and `ended` may be exchanged: nothing is derived from them. `ended`: (address, Service) of those
    whose last Pod here was seen to end (speaker/own_pods.py)."""

    def __init__(
        self,
        configuration: Configuration,
        node: Node,
        orders: Orders = NO_ORDERS,
        ended: Collection[tuple[str, str]] = (),
    ) -> None:
        self.configuration, self.node, self.orders, self.ended = configuration, node, orders, ended
        self._gate = node_gate(node, configuration.ignore_exclude_label)
        self._bgp = {advertisement.name: advertisement for advertisement in configuration.bgp_advertisements}
        self._l2 = {advertisement.name: advertisement for advertisement in configuration.l2_advertisements}
        here = {peer.name for peer in configuration.peers if any_matches(peer.node_selectors, node.labels)}
        self._peers = tuple((peer, peer.name in here) for peer in configuration.peers)
        self._bgp_here = {
            one.name for one in self._bgp.values() if any_matches(one.node_selectors, node.labels)
        }
        self._backup = {
            one.name
            for one in self._bgp.values()
            if one.backup_nodes and any_matches(one.backup_nodes, node.labels)
        }
        self._by_name = {peer.name: peer for peer in configuration.peers}
        self._l2_here = {
            one.name for one in self._l2.values() if any_matches(one.node_selectors, node.labels)
        }
        self._shortest_of: dict[Range, int] = {}

    def leaves(self, name: str) -> str:
        """Why the node leaves, as far as the BGPAdvertisement is concerned; "": it does not."""
        advertisement = self._bgp.get(name)
        order = self.orders.drains.get(self.node.name)
        return "" if advertisement is None else leaving.why(self.node, advertisement.leaving, order)

    @property
    def may_leave(self) -> bool:
        """Whether there is any sign of it, which somebody may mind: as a rule there is none, at no cost."""
        node = self.node
        signs = node.unschedulable or node.shutting_down or bool(node.taints)
        return signs or node.name in self.orders.drains

    def leaves_l2(self, vip: VirtualIP) -> str:
        """Why the node leaves, as far as the L2Advertisements of the address that select it agree on it."""
        order = self.orders.drains.get(self.node.name)
        names = {name for holder in vip.holders.values() for name in holder.l2 if name in self._l2_here}
        found = [leaving.why(self.node, self._l2[name].leaving, order) for name in sorted(names)]
        return found[0] if all(found) and found else ""

    def select(self, vip: VirtualIP) -> NodePlan:
        if vip.phase not in HELD_PHASES:
            return self._all_refused(vip, Releasing())
        held = self.orders.holds.get(vip.address)
        if held is not None and vip.phase != "probing":  # who only asks the segment announces nothing
            return self._held(vip, held_by(held), local=held.local)
        if vip.configuration > self.configuration.sequence:
            older = OlderConfiguration(held=self.configuration.sequence, wanted=vip.configuration)
            return self._all_refused(vip, older, undecided=True)
        if self._outlived(vip):
            return self._all_refused(
                vip,
                OlderConfiguration(held=self.configuration.sequence, wanted=vip.configuration),
                undecided=True,
            )
        pool = self.configuration.pool_of(vip.address)
        if pool is None:
            return self._all_refused(vip, NotInPool(address=vip.address))
        if vip.phase == "probing":
            plan = self._all_refused(vip, BeingProbed())
            return replace(plan, probes=self._probes(vip))
        refused: list[Refused] = []
        routes = self._routes(vip, pool, refused)
        duties = self._duties(vip, pool, refused)
        declined = () if duties else self._declined(vip)
        return NodePlan(routes=routes, duties=duties, declined=declined, refused=tuple(refused))

    def _outlived(self, vip: VirtualIP) -> bool:
        """It names an advertisement that is gone. The controller removes one from the configuration only
        after it rewrote every VirtualIP that names it: this one is the past, its successor on the way."""
        return vip.configuration < self.configuration.sequence and any(
            any(name not in self._bgp for name in holder.bgp)
            or any(name not in self._l2 for name in holder.l2)
            for holder in vip.holders.values()
        )

    def _all_refused(self, vip: VirtualIP, reason: NotAnnounced, undecided: bool = False) -> NodePlan:
        refused = tuple(
            Refused(address=vip.address, service=service, protocol=protocol, reason=reason)
            for service, holder in sorted(vip.holders.items())
            for protocol, names in ((BGP, holder.bgp), (LAYER2, holder.l2))
            if names
        )
        return NodePlan(refused=refused, undecided=(vip.address,) if undecided else ())

    def _held(self, vip: VirtualIP, reason: HeldByOrder, *, local: bool) -> NodePlan:
        """What would not be announced anyway has its own reason."""
        pool = self.configuration.pool_of(vip.address)
        never = tuple(
            Refused(vip.address, service, protocol, NoMatchingAdvertisement(kind=kind, pool=pool.name))
            for service, holder in sorted(vip.holders.items())
            for protocol, kind, names in (
                (BGP, "BGPAdvertisement", holder.bgp),
                (LAYER2, "L2Advertisement", holder.l2),
            )
            if pool is not None and not names
        )
        # Of an order that only this node has heard the other candidates must learn; the others all obey.
        declined = self._declined(vip) if local else ()
        return NodePlan(declined=declined, refused=(*self._all_refused(vip, reason).refused, *never))

    def _why_not_here(self, address: str, service: str, holder: Holder) -> NotAnnounced | None:
        """Endpoints first (it may be nobody's fault), then the node's own gates (docs/serving.md)."""
        if not holder.serving:
            return NoServingEndpoint(service=service)
        if holder.policy == "Local" and not self._served_here(holder):
            return NoLocalEndpoint(node=self.node.name)
        if (address, service) in self.ended:
            return NoServingPod(node=self.node.name)
        return self._gate

    def _why_no_route(self, address: str, service: str, holder: Holder) -> NotAnnounced | None:
        """The last endpoint here terminates and another node can serve: routers are told in time. (In L2 the
        order of candidates says the same.)"""
        terminates = holder.terminating.get(self.node.name, 0) > 0 and (address, service) not in self.ended
        if terminates and not holder.last_resort:
            return EndpointsTerminate(node=self.node.name)
        return self._why_not_here(address, service, holder)

    def _served_here(self, holder: Holder) -> int:
        """Under Local: the endpoints here that the node's data path sends to."""
        return holder.nodes.get(self.node.name, 0) or holder.terminating.get(self.node.name, 0)

    # -------------------------------------------------------------- BGP

    def _routes(
        self, vip: VirtualIP, pool: Pool, refused: list[Refused]
    ) -> tuple[tuple[Route, Provenance], ...]:
        found: dict[tuple[str, str], list[Contribution]] = {}
        for service, holder in sorted(vip.holders.items()):
            reason = self._why_no_route(vip.address, service, holder)
            if not holder.bgp:
                reason = NoMatchingAdvertisement(kind="BGPAdvertisement", pool=pool.name)
            elif reason is None and not self._peers:
                reason = NoPeers()
            if reason is not None:
                refused.append(Refused(vip.address, service, BGP, reason))
                continue
            for key, contribution in self._of_holder(vip.address, pool, service, holder, refused):
                found.setdefault(key, []).append(contribution)
        return tuple(combine(found[key]) for key in sorted(found))

    def _of_holder(
        self, address: str, pool: Pool, service: str, holder: Holder, refused: list[Refused]
    ) -> Iterator[tuple[tuple[str, str], Contribution]]:
        """The routes of one Service; a (peer, prefix) on which its advertisements disagree is left out."""
        by_key: dict[tuple[str, str], list[tuple[BGPAdvertisement, Contribution]]] = {}
        for name in holder.bgp:
            advertisement = self._bgp.get(name)
            if advertisement is None:
                continue
            for peer, reason, prefix in self._targets(advertisement, address, pool):
                if reason is not None:
                    refused.append(Refused(address, service, BGP, reason, peer, name))
                    continue
                wishes = holder.wishes if host_of(prefix) else NO_WISHES
                attributes = self._attributes(advertisement, holder, wishes, self._by_name[peer])
                route = Route(peer=peer, prefix=prefix, attributes=attributes)
                why = Provenance((service,), (address,), (name,), holder.created)
                by_key.setdefault((peer, prefix), []).append((advertisement, (route, why)))
        for key, pairs in by_key.items():
            disagree = "; ".join(_disagree([advertisement for advertisement, _ in pairs]))
            if disagree:
                names = tuple(sorted(advertisement.name for advertisement, _ in pairs))
                conflict = ConflictingAdvertisements(advertisements=names, why=disagree)
                refused.append(Refused(address, service, BGP, conflict, key[0]))
                continue
            for _, contribution in pairs:
                yield key, contribution

    def _targets(
        self, advertisement: BGPAdvertisement, address: str, pool: Pool
    ) -> Iterator[tuple[str, NotAnnounced | None, str]]:
        """(peer, why not, prefix) for each peer; peer "" when no peer comes into question."""
        name = advertisement.name
        if name not in self._bgp_here:
            yield "", NodeNotSelected(kind="BGPAdvertisement", object=name, node=self.node.name), ""
            return
        version = family(address)
        length = advertisement.aggregation_length if version == 4 else advertisement.aggregation_length_v6
        prefix = prefix_of(address, length)
        shortest = self._shortest(pool, address)
        if length < shortest:
            why = PrefixTooShort(prefix=prefix, pool=pool.name, advertisement=name, shortest=shortest)
            yield "", why, ""
            return
        for peer, here in self._peers:
            reason: NotAnnounced | None = None
            if not here:
                reason = NodeNotSelected(kind="BGPPeer", object=peer.name, node=self.node.name)
            elif advertisement.peers and peer.name not in advertisement.peers:
                reason = PeerNotListed(advertisement=name, peer=peer.name)
            elif (shut := self.orders.shuts.get(peer.name)) is not None:
                reason = shut_by(shut)
            elif not carries(peer, version):
                reason = FamilyNotCarried(peer=peer.name, family="IPv4" if version == 4 else "IPv6")
            yield peer.name, reason, prefix

    def _attributes(
        self, advertisement: BGPAdvertisement, holder: Holder, wishes: RouteWishes, peer: Peer
    ) -> Attributes:
        """`wishes`: of the Service. An aggregate speaks for several, so none counts there."""
        backup = advertisement.name in self._backup
        own = peer.local_asn or peer.my_asn
        may = advertisement.service_may
        preference = advertisement.local_preference or None
        if "local-preference" in may and wishes.local_preference is not None:
            preference = wishes.local_preference
        plain, large = advertisement.communities, advertisement.large_communities
        if "communities" in may:
            plain, large = _union(plain, wishes.communities), _union(large, wishes.large_communities)
        if "blackhole" in may and wishes.blackhole:
            plain = _union(plain, (BLACKHOLE,))
        if backup and peer.ibgp:
            preference = max(
                0, (DEFAULT_PREFERENCE if preference is None else preference) - BACKUP_PREFERENCE
            )
        times = 0 if peer.ibgp else advertisement.prepend + (BACKUP_PREPEND if backup else 0)
        more = set(advertisement.extended_communities)
        here = self._served_here(holder)
        if advertisement.link_bandwidth and here:  # under Local alone, where a node's endpoints are its own
            more.add(extended.bandwidth(own, here * advertisement.link_bandwidth))
        return Attributes(
            communities=plain,
            large_communities=large,
            local_preference=preference,
            med=advertisement.med,
            as_path=(own,) * times,
            extended_communities=tuple(sorted(more)),
        )

    def _shortest(self, pool: Pool, address: str) -> int:
        """The widest block of the pool's entry that holds the address: no aggregate may be wider."""
        for piece in pool.ranges:
            if address in piece:
                if piece not in self._shortest_of:
                    self._shortest_of[piece] = max(1, min(length for _, length in piece.cidrs()))
                return self._shortest_of[piece]
        return 128

    # -------------------------------------------------------------- L2

    def _duties(self, vip: VirtualIP, pool: Pool, refused: list[Refused]) -> tuple[Duty, ...]:
        candidates, revertive, fenced = self._rules(vip)
        wanted = False
        interfaces: set[str] | None = set()
        for service, holder in sorted(vip.holders.items()):
            reason = self._why_not_l2(vip, service, holder, pool)
            if reason is None and self.node.name not in candidates:
                order = self.orders.drains[self.node.name]
                reason = Drained(node=self.node.name, why=leaving.why(self.node, Leaving(), order))
            covering = [self._l2[name] for name in holder.l2 if name in self._l2_here]
            if reason is None and not covering:
                names = " and ".join(holder.l2)
                reason = NodeNotSelected(kind="L2Advertisement", object=names, node=self.node.name)
            if reason is not None:
                refused.append(Refused(vip.address, service, LAYER2, reason))
                continue
            wanted = True
            interfaces = _interfaces(interfaces, covering)
        if not wanted:
            return ()
        named = None if interfaces is None else tuple(sorted(interfaces))
        return (Duty(vip.address, named, candidates, revertive, fenced),)

    def _declined(self, vip: VirtualIP) -> tuple[Duty, ...]:
        """The controller counts on this node, and it will not: its last Pod ended, or it may not any more."""
        candidates, revertive, fenced = self._rules(vip)
        names = sorted({name for holder in vip.holders.values() for name in holder.l2 if name in self._l2})
        if not names or self.node.name not in candidates:
            return ()
        interfaces = _interfaces(set(), [self._l2[name] for name in names])
        named = None if interfaces is None else tuple(sorted(interfaces))
        return (Duty(vip.address, named, candidates, revertive, fenced, declined=True),)

    def _rules(self, vip: VirtualIP) -> tuple[tuple[str, ...], bool, bool]:
        """Candidates, revertive, fenced: of all advertisements, whichever cover this node, for all candidates
        must live by the same rules."""
        all_of = {name for holder in vip.holders.values() for name in holder.l2}
        asked = [self._l2[name] for name in all_of if name in self._l2]
        revertive, fenced = all(one.revertive for one in asked), any(one.fenced for one in asked)
        return self._candidates(vip, revertive=revertive), revertive, fenced

    def _candidates(self, vip: VirtualIP, *, revertive: bool) -> tuple[str, ...]:
        """The controller's order, but for what people said since: every node knows all orders."""
        held = self.orders.held_on.get(vip.address, frozenset())
        able = tuple(name for name in vip.candidates if name not in held)
        return leaving.behind(able, self.orders.drains, revertive=revertive)

    def _probes(self, vip: VirtualIP) -> tuple[Probe, ...]:
        """The first candidate asks: it is the one that would answer. Endpoints do not matter to that."""
        if vip.candidates[:1] != (self.node.name,):
            return ()
        interfaces: set[str] | None = set()
        covering = {name for holder in vip.holders.values() for name in holder.l2 if name in self._l2_here}
        interfaces = _interfaces(interfaces, [self._l2[name] for name in sorted(covering)])
        named = None if interfaces is None else tuple(sorted(interfaces))
        return (Probe(vip.address, vip.uid, named),) if covering else ()

    def _why_not_l2(self, vip: VirtualIP, service: str, holder: Holder, pool: Pool) -> NotAnnounced | None:
        if not holder.l2:
            return NoMatchingAdvertisement(kind="L2Advertisement", pool=pool.name)
        reason = self._why_not_here(vip.address, service, holder)
        if reason is None and self.node.name not in vip.candidates:
            return NoCandidate(candidates=vip.candidates, node=self.node.name)
        return reason


def _interfaces(interfaces: set[str] | None, advertisements: list[L2Advertisement]) -> set[str] | None:
    """None: every interface, which any advertisement without a list asks for."""
    for advertisement in advertisements:
        if interfaces is None or not advertisement.interfaces:
            return None
        interfaces = interfaces | set(advertisement.interfaces)
    return interfaces


def routes_of(plan: NodePlan) -> Mapping[tuple[str, str], Attributes]:
    """The routes of a plan as bgp/ wants them: (peer, prefix) → attributes."""
    return {(route.peer, route.prefix): route.attributes for route, _ in plan.routes}


def _disagree(advertisements: list[BGPAdvertisement]) -> Iterator[str]:
    """Those that only meet in one Service; of the others config/ lets one wait."""
    for same in zip(*(one.singular for one in advertisements), strict=True):
        values = {value for _, _, value in same}
        if len(values) > 1:
            yield f"{same[0][0]} {', '.join(sorted(values))}"


def _union(one: tuple[T, ...], other: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(sorted(set(one) | set(other)))
