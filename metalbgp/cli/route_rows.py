"""Routes as rows: what shall be (select/) beside what is (the speakers' journals, or else their reports).

In:  VirtualIPs, the configuration, Nodes, NodeStates, and what the wire said. Out: RouteRow values, sorted.
Elsewhere: the table is routes.py; asking is wire.py; which route a node wants is select/.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from metalbgp.cli import judge
from metalbgp.cli.access import Cluster, Speakers, together
from metalbgp.cli.ages import ago
from metalbgp.cli.obeying import ended_by, obeyed_by
from metalbgp.cli.options import Wish
from metalbgp.cli.wire import Entry, Heard, Wire, ask_all
from metalbgp.model import extended
from metalbgp.model.addresses import Range, family, parse
from metalbgp.model.configuration import Configuration
from metalbgp.model.orders import NO_ORDERS, Orders
from metalbgp.model.report import NodeReport
from metalbgp.model.routes import Attributes, NodePlan, Provenance, Route
from metalbgp.model.services import Node
from metalbgp.model.virtualips import VirtualIP
from metalbgp.select.merge import merge
from metalbgp.select.select import NodeView

CONFIRMED, WITHDRAWN = "confirmed", "withdrawn"


class RouteRow(Struct, frozen=True):
    """One prefix to one peer. `state`: confirmed, sent, wanted, waiting, withdrawing, refused; unknown: the
    speaker was not asked and its report has no room for it; missing: it does not have what it should;
    silent: the node does not answer."""

    prefix: str  # "": the node itself does not answer
    node: str
    peer: str
    state: str
    services: tuple[str, ...] = ()
    advertisements: tuple[str, ...] = ()
    next_hop: str = ""
    communities: tuple[str, ...] = ()
    large_communities: tuple[str, ...] = ()
    local_preference: int | None = None
    med: int | None = None
    extended_communities: tuple[str, ...] = ()
    prepended: tuple[int, ...] = ()  # beyond our own AS number
    since: str = ""
    why: str = ""
    on_wire: bool = False  # the speaker's journal says so, not its last report

    @property
    def wrong(self) -> bool:
        return self.state not in (CONFIRMED, "unknown")


class Scene(Struct, frozen=True):
    """All that rows are made from."""

    configuration: Configuration
    claims: tuple[VirtualIP, ...]
    nodes: Mapping[str, Node]
    reports: tuple[NodeReport, ...]
    speakers: Speakers
    wire: Wire
    orders: Mapping[str, Orders] = {}  # by node
    ended: Mapping[str, Collection[tuple[str, str]]] = {}  # the same: what its Pods serve no more

    def view(self, name: str) -> NodeView:
        return NodeView(
            self.configuration,
            self.nodes[name],
            self.orders.get(name, NO_ORDERS),
            self.ended.get(name, ()),
        )

    @property
    def heard(self) -> Mapping[str, Heard]:
        return {one.node: one for one in self.wire.heard}

    def behind(self, prefix: str) -> tuple[str, ...]:
        """The Services whose addresses the prefix covers: for routes that nobody plans any more."""
        network, _, length = prefix.partition("/")
        first = parse(network)
        size = 1 << (first.max_prefixlen - int(length))
        covered = Range(4 if first.version == 4 else 6, int(first), int(first) + size - 1)
        return tuple(sorted({key for vip in self.claims if vip.address in covered for key in vip.holders}))


async def read(cluster: Cluster, *, wire: bool, wish: Wish) -> Scene:
    """The journals are asked for as soon as the Pods are known, while lists are still on their way."""

    async def ask() -> tuple[Speakers, Wire]:
        speakers = await cluster.speakers()
        if not wire:
            return speakers, Wire()
        return speakers, await ask_all(cluster.api, [pod for pod in speakers.pods if wish.node(pod.node)])

    configuration, claims, nodes, reports, (speakers, heard) = await together(
        cluster.configuration(), cluster.claims(), cluster.nodes(), cluster.reports(), ask()
    )
    if heard.note:
        cluster.note(heard.note)
    if nodes is None:  # selectors may judge wrongly without labels: the note about the right stands already
        nodes = tuple(Node(name=report.node) for report in reports)
    scene = Scene(
        configuration=configuration,
        claims=judge.mine(claims, configuration),
        nodes={node.name: node for node in nodes},
        reports=reports,
        speakers=speakers,
        wire=heard,
        orders=obeyed_by(reports),
        ended=ended_by(reports),
    )
    peers = {peer.name: peer.key for peer in configuration.peers}
    wish.check(scene.nodes, peers, peers.values())
    return scene


def rows(scene: Scene, shown: Callable[[str], bool], now: datetime) -> list[RouteRow]:
    """Sorted by prefix, then node and peer; a node that does not answer stands last."""
    found: list[RouteRow] = []
    silent: list[RouteRow] = []
    for name in sorted({*scene.nodes, *scene.heard}):
        if not shown(name):
            continue
        plan = _plan(scene, name)
        heard = scene.heard.get(name)
        if heard is not None and not heard.silent:
            found += _on_wire(scene, plan, heard)
            continue
        if heard is not None:
            silent.append(RouteRow(prefix="", node=name, peer="", state="silent", why=heard.silent))
        if plan is not None:
            found += _reported(scene, plan, name, now)
    return [*sorted(found, key=_order), *silent]


def _order(row: RouteRow) -> tuple[int, int, int, str, str]:
    network, _, length = row.prefix.partition("/")
    return family(network), int(parse(network)), int(length), row.node, row.peer


def _plan(scene: Scene, name: str) -> NodePlan | None:
    if name not in scene.nodes:
        return None
    view = scene.view(name)
    return merge(view.select(vip) for vip in scene.claims)


# ------------------------------------------------------------------ what the journal says


def _on_wire(scene: Scene, plan: NodePlan | None, heard: Heard) -> Iterator[RouteRow]:
    """The journal's rows, named after what the plan says of them; then what the journal lacks."""
    names = {peer.key: peer.name for peer in scene.configuration.peers}
    wanted = {(route.peer, route.prefix): (route, why) for route, why in plan.routes} if plan else {}
    seen = set()
    for entry in heard.entries:
        if entry.state == WITHDRAWN:
            continue
        key = names.get(entry.peer, entry.peer), entry.prefix
        seen.add(key)
        yield _entry_row(scene, heard, entry, key[0], wanted[key][1] if key in wanted else None)
    for key, (route, why) in wanted.items():
        if key not in seen and not _leaves(scene, heard.node, why):  # another node announces it, or will
            yield _planned_row(heard.node, route, why, "missing", why=lacks(scene.configuration, why))


def lacks(configuration: Configuration, why: Provenance) -> str:
    """That a speaker does not have a route, in words; with a delay it may wait on purpose."""
    delays = [
        one.announce_delay for one in configuration.bgp_advertisements if one.name in why.advertisements
    ]
    late = max(delays, default=0) / 1000
    waits = f", announce-delay is {late:g} s" if late else ""
    return f"the speaker does not have it (yet{waits})"


def _leaves(scene: Scene, name: str, why: Provenance) -> str:
    """Why the node leaves, as far as the route is concerned: then it may be withdrawn."""
    report = next((one for one in scene.reports if one.node == name), None)
    if report is None or not report.drain or name not in scene.nodes:
        return ""
    view = NodeView(scene.configuration, scene.nodes[name], scene.orders.get(name, NO_ORDERS))
    return report.drain[0].why if all(view.leaves(one) for one in why.advertisements) else ""


def _entry_row(scene: Scene, heard: Heard, entry: Entry, peer: str, why: Provenance | None) -> RouteRow:
    """What the wire carried, where it carried something; else what is on its way."""
    shown = entry.confirmed or entry.told or entry.wanted or Attributes()
    own = heard.local.get(entry.peer, "") if entry.confirmed or entry.told else ""
    return RouteRow(
        prefix=entry.prefix,
        node=heard.node,
        peer=peer,
        state=entry.state,
        services=why.services if why else scene.behind(entry.prefix),
        advertisements=why.advertisements if why else (),
        next_hop=shown.next_hop or own,
        communities=_colons(shown.communities),
        large_communities=_colons(shown.large_communities),
        local_preference=shown.local_preference,
        med=shown.med,
        extended_communities=tuple(map(extended.text, shown.extended_communities)),
        prepended=shown.as_path,
        since=entry.since,
        why="session down" if entry.state == "waiting" else "",
        on_wire=True,
    )


# ------------------------------------------------------------------ what the last report says


def _reported(scene: Scene, plan: NodePlan, name: str, now: datetime) -> Iterator[RouteRow]:
    """Without the journal: what is wanted, with the state that the NodeState gives it, and its age."""
    report = next((one for one in scene.reports if one.node == name), None)
    open_ = {(one.peer, one.prefix): one for one in report.unconfirmed} if report else {}
    sessions = {one.peer: one for one in report.sessions} if report else {}
    gone = scene.speakers.known and name not in scene.speakers.live
    for route, why in plan.routes:
        told, session = open_.get((route.peer, route.prefix)), sessions.get(route.peer)
        if report is None:
            yield _planned_row(name, route, why, "silent", why="its speaker has never reported")
        elif gone:
            words = f"the speaker is not ready, last heard {ago(report.updated, now)}"
            yield _planned_row(name, route, why, "silent", why=words)
        elif told is None and (leaves := _leaves(scene, name, why)):
            yield _planned_row(name, route, why, "unknown", why=f"{name} leaves ({leaves})")
        elif told is not None:
            down = "session down" if told.state == "waiting" else ""
            yield _planned_row(name, route, why, told.state, since=told.since, why=told.why or down)
        elif session is None:
            yield _planned_row(name, route, why, "unknown", why="the speaker has not reported this session")
        else:
            # At most 50 unconfirmed routes are in a report: if it has them all, the others are confirmed.
            behind = session.routes_wanted - session.routes_confirmed
            known = behind <= sum(one.peer == route.peer for one in open_.values())
            words = f"reported {ago(report.updated, now)}"
            yield _planned_row(name, route, why, CONFIRMED if known else "unknown", why=words)


def _planned_row(
    node: str, route: Route, provenance: Provenance, state: str, *, since: str = "", why: str = ""
) -> RouteRow:
    attributes = route.attributes
    return RouteRow(
        prefix=route.prefix,
        node=node,
        peer=route.peer,
        state=state,
        services=provenance.services,
        advertisements=provenance.advertisements,
        next_hop=attributes.next_hop,
        communities=_colons(attributes.communities),
        large_communities=_colons(attributes.large_communities),
        local_preference=attributes.local_preference,
        med=attributes.med,
        extended_communities=tuple(map(extended.text, attributes.extended_communities)),
        prepended=attributes.as_path,
        since=since,
        why=why,
    )


def _colons(values: Iterable[tuple[int, ...]]) -> tuple[str, ...]:
    return tuple(":".join(map(str, value)) for value in values)
