"""What this node wants, of its views: VirtualIPs, SpeakerConfiguration, own Node and Pods, orders. Pure.

In:  set_vip, set_configuration, set_node, set_passwords, set_orders, set_pod: each as it is now; `clock`,
     which the caller has.
Out: Changes: only the sessions, routes and duties that differ from before; against_journal() after a restart.
Elsewhere: one VirtualIP on one node is select/, when it counts patience.py, what own Pods say against it
     own_pods.py; the wire is bgp/; sending is
     loop.py.

Routes are keyed by the peer's address here: a renamed BGPPeer is the same session and keeps its routes.
"""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct, structs

from metalbgp.bgp.values import Neighbor
from metalbgp.model.addresses import family, host_of, host_prefix
from metalbgp.model.configuration import Configuration, Peer
from metalbgp.model.orders import NO_ORDERS, Order, Orders, in_force, obeyed
from metalbgp.model.reasons import (
    EndpointsTerminate,
    NoLocalEndpoint,
    NoServingPod,
    PeerAddressTaken,
    ShutByOrder,
)
from metalbgp.model.report import NodeReport
from metalbgp.model.routes import Attributes, Duty, NodePlan
from metalbgp.model.selectors import any_matches
from metalbgp.model.services import Node, Pod
from metalbgp.model.virtualips import VirtualIP
from metalbgp.select.select import BGP, NodeView
from metalbgp.select.table import Delta, Table, covers
from metalbgp.speaker.draining import Draining, Other, Seen, others, seen, steady
from metalbgp.speaker.neighbors import RefusedPeer, neighbors
from metalbgp.speaker.own_pods import OwnPods
from metalbgp.speaker.patience import Patience

RouteKey = tuple[str, str]  # peer address, prefix
ELSEWHERE = (EndpointsTerminate, NoLocalEndpoint, NoServingPod)  # nobody serves on this node, others may


class Changes(Struct, frozen=True):
    neighbors: tuple[Neighbor, ...] | None = None  # the full list when it changed
    wants: tuple[tuple[str, str, Attributes | None], ...] = ()
    duties: tuple[tuple[str, Duty | None], ...] = ()
    probes: bool = False  # what to ask the segment for is another than before
    silenced: tuple[str, ...] = ()  # prefixes that no limit may hold back any more: silent()


class Announcer:
    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self.patience = Patience()
        self.configuration: Configuration | None = None
        self.node: Node | None = None
        self.passwords: Mapping[str, str] = {}
        self._secret: Mapping[str, str] = {}  # of them, those that it names now
        self.heartbeat_key = b""  # of L2; only carried along, to the reflex and into the snapshot
        self.known_orders: tuple[Order, ...] = ()  # in force or not, of this node or of others
        self._in_force: tuple[Order, ...] = ()
        self.orders: Orders = NO_ORDERS  # of these, what this node obeys
        self.vips: dict[str, VirtualIP] = {}
        self.neighbors: tuple[Neighbor, ...] = ()
        self.refused_peers: tuple[RefusedPeer, ...] = ()
        self.peers: tuple[Peer, ...] = ()  # that run here
        self.table = Table()
        self.plans: dict[str, NodePlan] = {}
        self.pods = OwnPods()
        self.draining = Draining()
        self._around: Mapping[str, Seen] = {}  # by node, as last looked at
        self._steady: Mapping[str, Seen] = {}  # of it, what stood the look before as well
        self._others: tuple[Other, ...] = ()
        self._view: NodeView | None = None
        self._address_of: dict[str, str] = {}  # peer name → address
        self._name_of: dict[str, str] = {}
        self._silenced: list[str] = []  # prefixes, since _changes() was called last

    def set_vip(self, address: str, vip: VirtualIP | None) -> Changes:
        if vip is None:
            self.vips.pop(address, None)
        else:
            self.vips[address] = vip
        if self._view is None:
            return Changes()
        return self._changes([self._update(address)])

    def set_configuration(self, configuration: Configuration) -> Changes:
        self.configuration = configuration
        self.passwords = self._passwords()
        return self._replan()

    def set_node(self, node: Node) -> Changes:
        """A Node that was deleted and made again has no address until its kubelet tells them, and of them are
        the sessions' router IDs and next hops: the last ones hold meanwhile."""
        if not node.addresses and self.node is not None:
            node = structs.replace(node, addresses=self.node.addresses)
        self.node = node
        return self._replan()

    def set_passwords(self, passwords: Mapping[str, str]) -> Changes:
        self._secret = passwords
        self.passwords = self._passwords()
        return Changes(neighbors=self._sessions())

    def _passwords(self) -> Mapping[str, str]:
        """A peer that has one and is not named in the Secret keeps its last, for as long as it is there: a
        Secret that is made anew is gone for a moment, and the session need not be."""
        peers = self.configuration.peers if self.configuration is not None else ()
        mine = {peer.name for peer in peers if peer.has_password}
        last = {name: word for name, word in self.passwords.items() if name in mine}
        return {**last, **self._secret}

    def set_orders(self, known: Iterable[Order], wall: float) -> Changes:
        """A hold costs its address, a shut a new list of sessions. `wall`: seconds since 1970, for orders end
        at a time of day, whoever restarts meanwhile."""
        self.known_orders = tuple(known)
        before = self.orders
        self._in_force = in_force(self.known_orders, wall)
        if self._view is None or self.node is None:
            return Changes()
        self.orders = after = obeyed(self._in_force, self.node.name)
        if before.shuts != after.shuts or before.drains != after.drains:
            return self._replan()
        self._view.orders = after
        touched = {
            address
            for was, now in ((before.holds, after.holds), (before.held_on, after.held_on))
            for address in was.keys() | now.keys()
            if was.get(address) != now.get(address)
        }
        return self._changes([self._update(address) for address in sorted(touched & self.vips.keys())])

    @property
    def farewells(self) -> dict[str, str]:
        """What the routers of sessions that are shut are told, by session."""
        shut = ((one.peer.key, one.why) for one in self.refused_peers)
        return {key: why.why or "shut by an order" for key, why in shut if isinstance(why, ShutByOrder)}

    def silent(self, prefix: str) -> bool:
        """Whether this must not be announced, whatever the limit: a person ordered it, or its endpoints are
        on other nodes, and this one would only draw traffic away from them. That nobody serves at all is no
        such reason: it may be the mistake."""
        return self.orders.hold_of(prefix) is not None or self._served_elsewhere(host_of(prefix))

    def _served_elsewhere(self, address: str) -> bool:
        plan = self.plans.get(address)
        why = [one.reason for one in plan.refused if one.protocol == BGP] if plan is not None else []
        return bool(why) and all(isinstance(one, ELSEWHERE) for one in why)

    @property
    def orders_here(self) -> tuple[Order, ...]:
        """Those that say no to this node."""
        drain = self.orders.drains.get(self.node.name) if self.node is not None else None
        orders = self.orders
        found = (*orders.holds.values(), *orders.shuts.values(), *orders.releases.values())
        found += (drain,) if drain else ()
        return tuple(sorted(found, key=lambda one: one.name))

    def last_in_l2(self) -> dict[str, str]:
        """Addresses in L2 that this node stands first for although it leaves, and why it does: who leaves
        stands behind all who stay, so no candidate stays."""
        view = self._view
        if view is None or not view.may_leave:
            return {}
        first = (one.address for one in self.table.duties() if one.candidates[:1] == (view.node.name,))
        found = {address: view.leaves_l2(self.vips[address]) for address in first if address in self.vips}
        return {address: why for address, why in found.items() if why}

    def set_pod(self, key: str, pod: Pod | None) -> Changes:
        """One of this node's; None: it is gone."""
        touched = self.pods.set_pod(key, pod, self._clock())
        return self._changes([self._update(address) for address in touched])

    def set_others(self, nodes: Iterable[Node], reports: Iterable[NodeReport]) -> Changes:
        """Asked for while this node leaves: what another announces may be withdrawn."""
        before, self._around = self._around, seen(nodes, reports)
        stood = self._steady
        # Before anything was said there is nothing that two looks could have seen change.
        self._steady = steady(before, self._around) if self.patience.started else self._around
        if self._steady == stood:
            return Changes()
        self._look_around()
        return self._changes([self._update(address) for address in tuple(self.vips)])

    @property
    def deadline(self) -> float | None:
        """When to call due()."""
        found = (self.patience.deadline, self.pods.deadline, self.draining.deadline)
        return min((one for one in found if one is not None), default=None)

    def due(self) -> Changes:
        now = self._clock()
        touched = {*self.patience.due(now), *self.pods.due(now), *self.draining.due(now)}
        return self._changes([self._update(address) for address in sorted(touched)])

    # ------------------------------------------------------------------ what stands now

    def wanted(self) -> dict[RouteKey, Attributes]:
        """Every route as it should stand, next hops resolved."""
        wanted: dict[RouteKey, Attributes] = {}
        for (name, prefix), attributes in self.table.wanted().items():
            address = self._address_of.get(name)
            if address is not None:
                wanted[address, prefix] = self._resolve(address, prefix, attributes)
        return wanted

    def against_journal(self, told: Mapping[RouteKey, Attributes], *, whole: bool = True) -> Changes:
        """What the parent must hear so that its wishes equal ours; undecided routes stay as they are.

        `whole`: False when VirtualIPs may exist that are not known here, as after a start from a snapshot:
        then a route goes only with an address of which is known that it is not to be announced.
        """
        wanted = self.wanted()
        wants: list[tuple[str, str, Attributes | None]] = [
            (*key, attributes) for key, attributes in wanted.items() if told.get(key) != attributes
        ]
        wants += [
            (*key, None)
            for key in told
            if key not in wanted and not self.table.must_stay(key[1]) and (whole or covers(key[1], self.vips))
        ]
        return Changes(neighbors=self.neighbors, wants=tuple(wants))

    def peer_name(self, address: str) -> str:
        return self._name_of.get(address, address)

    # ------------------------------------------------------------------ inner works

    def _replan(self) -> Changes:
        if self.configuration is None or self.node is None:
            return Changes()
        gone = {key for key, _ in self.wanted().items()}
        self.orders = obeyed(self._in_force, self.node.name)
        self._view = NodeView(self.configuration, self.node, self.orders, self.pods.ended)
        self.draining.look(self._view, self._clock(), started=self.patience.started)
        self._look_around()
        sessions = self._sessions()
        # Peers of other nodes (racks often number their routers alike) and of VRFs may have the same address.
        twins = {one.peer.name for one in self.refused_peers if isinstance(one.why, PeerAddressTaken)}
        here = self.peers = tuple(
            peer
            for peer in self.configuration.peers
            if peer.name not in twins and any_matches(peer.node_selectors, self.node.labels)
        )
        self._address_of = {peer.name: peer.key for peer in here}
        self._name_of = {peer.key: peer.name for peer in reversed(here)}
        changes = self._changes([self._update(address) for address in tuple(self.vips)])
        still = self.wanted()
        lost = tuple(
            (*key, None)
            for key in gone - still.keys()
            # Undecided stays; but a peer that is gone takes its session and all its routes with it.
            if key[0] not in self._name_of or not self.table.must_stay(key[1])
        )
        told = {(peer, prefix) for peer, prefix, _ in changes.wants}
        # A peer that took another name or address changes keys without changing the table.
        moved = tuple((*key, still[key]) for key in still.keys() - gone - told)
        wants = changes.wants + moved + tuple(want for want in lost if want[:2] not in told)
        return structs.replace(changes, neighbors=sessions, wants=wants)

    def _look_around(self) -> None:
        if not self.draining.active:
            self._around = self._steady = {}
        if self.configuration is None or self.node is None:
            return
        self._others = others(self.configuration, self._steady, self._in_force, self.node.name)

    def _sessions(self) -> tuple[Neighbor, ...] | None:
        """The sessions, or None when they are what they were."""
        if self.configuration is None or self.node is None:
            return None
        before = self.neighbors
        self.neighbors, self.refused_peers = neighbors(
            self.configuration, self.node, self.passwords, self.orders.shuts
        )
        return self.neighbors if self.neighbors != before else None

    def _update(self, address: str) -> Delta:
        vip = self.vips.get(address)
        if vip is None or self._view is None:
            self.plans.pop(address, None)
            self.patience.forget(address)
            self.pods.gone(address)
            self.draining.forget(address)
            return self.table.update(address, None)
        self.pods.see(vip, self._view.node.name, self._clock())
        now = self._clock()
        plan = self.patience.judge(vip, self._view, now)
        before = self._served_elsewhere(address)
        plan = self.plans[address] = self.draining.judge(vip, plan, self._view, now, self._others)
        if not before and self._served_elsewhere(address):
            self._silenced.append(host_prefix(address))
        return self.table.update(address, plan)

    def _changes(self, deltas: Iterable[Delta]) -> Changes:
        wants: dict[RouteKey, Attributes | None] = {}
        duties: dict[str, Duty | None] = {}
        probes = False
        for delta in deltas:
            for name, prefix, _ in delta.changed:
                address = self._address_of.get(name)
                if address is None:
                    continue
                # The table speaks of names; what counts is what stands now for this address.
                attributes = self.table.attributes(self._name_of[address], prefix)
                wants[address, prefix] = (
                    None if attributes is None else self._resolve(address, prefix, attributes)
                )
            duties.update(delta.duties_changed)
            probes |= delta.probes_changed
        silenced, self._silenced = tuple(self._silenced), []
        return Changes(
            wants=tuple((*key, attributes) for key, attributes in wants.items()),
            duties=tuple(duties.items()),
            probes=probes,
            silenced=silenced,
        )

    def _resolve(self, peer: str, prefix: str, attributes: Attributes) -> Attributes:
        """The session's own address is the next hop, unless the session is of the other family.

        Then it is the node's address of that family. Where the node has none, and on unnumbered sessions,
        IPv4 has the session's IPv6 address (RFC 8950), if the router takes that: the parent knows.
        """
        version = family(prefix.partition("/")[0])
        if attributes.next_hop or peer.startswith("%") or version == family(peer):
            return attributes
        own = next((a for a in self.node.addresses if family(a) == version), None) if self.node else None
        return structs.replace(attributes, next_hop=own) if own is not None else attributes
