"""What a change of objects would do, node by node, before it is applied. Pure.

    planned(before, after) -> Plan            # two Worlds: as it stands, and with the files laid over it

In:  configuration, claims, Services with their endpoints, Nodes, live speakers, the orders that they obey.
Out: routes that come, go or change; L2 addresses that another node would answer for; sessions that would come
     up, end or reset; Services that would lose or get an address; orders that keep some of that away.
Elsewhere: it decides nothing itself. Addresses are allocate/ (judge.py), a Service's part plan/, a node's
     part select/: what the controller and the speakers run.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.cli.judge import Judge
from metalbgp.model import extended
from metalbgp.model.addresses import family, parse
from metalbgp.model.allocation import Allocation
from metalbgp.model.configuration import Configuration, Peer, Source
from metalbgp.model.orders import HOLD, NO_ORDERS, Order, Orders
from metalbgp.model.routes import Attributes, NodePlan
from metalbgp.model.selectors import any_matches
from metalbgp.model.services import Endpoints, Node, Service
from metalbgp.model.virtualips import HELD_PHASES, VirtualIP
from metalbgp.plan.plan import plan, virtual_ip
from metalbgp.plan.ranking import Claimant, Known, equals
from metalbgp.plan.scene import Scene
from metalbgp.plan.spread import Places, Wish
from metalbgp.select.merge import merge, standing_by
from metalbgp.select.orders import held_by, shut_by
from metalbgp.select.select import NodeView

# Fields of a peer whose change its session outlives (exabgp-conf/README.md).
QUIET = frozenset(("name", "source", "node_selectors", "keepalive_time", "connect_time", "bfd_profile"))
Key = tuple[str, str, str]  # node, peer, prefix


class World(Struct, frozen=True):
    configuration: Configuration
    judge: Judge
    services: Mapping[str, Service]  # ours, by namespace/name
    endpoints: Mapping[str, Endpoints]
    claims: tuple[VirtualIP, ...]
    nodes: tuple[Node, ...]
    live: frozenset[str]
    orders: Mapping[str, Orders] = {}  # by node

    def said_to(self, node: str) -> Orders:
        return self.orders.get(node, NO_ORDERS)


class RouteChange(Struct, frozen=True):
    node: str
    peer: str
    prefix: str
    what: str  # added, removed, changed
    attributes: str = ""  # for people; of a change: before → after


class OwnerChange(Struct, frozen=True):
    address: str
    before: str = ""  # node; "": nobody
    after: str = ""


class SessionChange(Struct, frozen=True):
    node: str
    peer: str
    what: str  # added, removed, reset
    fields: tuple[str, ...] = ()


class ServiceChange(Struct, frozen=True):
    service: str
    lost: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    why: str = ""


class Prevented(Struct, frozen=True):
    """What the files would bring, and an order keeps away for as long as it is in force."""

    order: str  # its name
    action: str
    target: str
    why: str
    routes: int = 0
    owners: int = 0  # L2 addresses that nobody answers for
    sessions: int = 0


class Plan(Struct, frozen=True):
    routes: tuple[RouteChange, ...] = ()
    owners: tuple[OwnerChange, ...] = ()
    sessions: tuple[SessionChange, ...] = ()
    services: tuple[ServiceChange, ...] = ()
    prevented: tuple[Prevented, ...] = ()

    @property
    def harm(self) -> int:
        """Addresses lost, routes removed, sessions ended or reset."""
        return (
            sum(bool(one.lost) for one in self.services)
            + sum(one.what == "removed" for one in self.routes)
            + sum(one.what != "added" for one in self.sessions)
        )


def planned(before: World, after: World) -> Plan:
    """With the orders that are in force, and beside it what those keep away."""
    given = dict(_given(before, after))
    claims = tuple(_claims(before, after, given))
    found, owners = _planned(before, after, claims)
    free, all_owners = found, owners
    if after.orders:
        free, all_owners = _planned(replace(before, orders={}), replace(after, orders={}), claims)
    silent = {one.address for one in free.owners if one.address in all_owners and one.address not in owners}
    return replace(
        found,
        services=tuple(_services(before, after, given)),
        prevented=tuple(_prevented(free, found, silent, after)),
    )


def _planned(before: World, after: World, claims: Sequence[VirtualIP]) -> tuple[Plan, Mapping[str, str]]:
    """And who would answer for what."""
    now, then = _announced(before, before.claims), _announced(after, claims)
    plan = Plan(
        routes=tuple(_routes(now[0], then[0])),
        owners=tuple(_owners(now[1], then[1])),
        sessions=tuple(_sessions(before, after)),
    )
    return plan, then[1]


def _prevented(free: Plan, found: Plan, silent: Iterable[str], after: World) -> Iterator[Prevented]:
    """`free`: as it would be without orders. `silent`: addresses for which nobody answers because of one."""
    away: Counter[tuple[Order, str]] = Counter()
    held = {order.address: order for one in after.orders.values() for order in one.holds.values()}
    for route in set(free.routes) - set(found.routes):
        order = after.said_to(route.node).shuts.get(route.peer) or _hold(route, after)
        if order is not None and route.what != "removed":
            away[order, "routes"] += 1
    for address in silent:
        if address in held:
            away[held[address], "owners"] += 1
    for session in set(free.sessions) - set(found.sessions):
        shut = after.said_to(session.node).shuts.get(session.peer)
        if shut is not None and session.what != "removed":
            away[shut, "sessions"] += 1
    for one in sorted({order for order, _ in away}, key=lambda order: (order.action, order.name)):
        why = held_by(one) if one.action == HOLD else shut_by(one)
        counts = {what: away[one, what] for what in ("routes", "owners", "sessions")}
        yield Prevented(one.name, one.action, one.target, why.explain(), **counts)


def _hold(route: RouteChange, after: World) -> Order | None:
    """Of an aggregate: the first of its addresses that is held."""
    network = ip_network(route.prefix)
    return next(
        (one for one in after.said_to(route.node).holds.values() if parse(one.address) in network), None
    )


# ------------------------------------------------------------------ Services and their claims


def _held(world: World, key: str) -> tuple[str, ...]:
    found = [vip.address for vip in world.claims if key in vip.holders and vip.phase in HELD_PHASES]
    return tuple(sorted(found, key=lambda address: (family(address), int(parse(address)))))


def _given(before: World, after: World) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What each Service would have: those that hold something first, then who waits, the oldest first."""

    def turn(service: Service) -> tuple[bool, str, str]:
        return not _held(before, service.key), service.created, service.key

    for service in sorted(after.services.values(), key=turn):
        answer = after.judge.give(service)
        yield service.key, answer.addresses if isinstance(answer, Allocation) else ()


def _services(before: World, after: World, given: Mapping[str, tuple[str, ...]]) -> Iterator[ServiceChange]:
    for key, has in sorted(given.items()):
        held = _held(before, key)
        lost, gained = set(held) - set(has), set(has) - set(held)
        if lost or gained:
            losses = after.judge.losses(after.services[key]) if lost else ()
            why = next((one.why.explain() for one in losses if one.address in lost), "")
            yield ServiceChange(key, tuple(sorted(lost)), tuple(sorted(gained)), why)


def _claims(before: World, after: World, given: Mapping[str, tuple[str, ...]]) -> Iterator[VirtualIP]:
    """Every VirtualIP as it would stand."""
    configuration = after.configuration
    scene = Scene(configuration, {node.name: node for node in after.nodes}, after.live)
    known = {vip.address: vip for vip in before.claims}
    holders: dict[str, list[Claimant]] = {}
    for key, addresses in given.items():
        for address in addresses:
            pool = configuration.pool_of(address)
            if pool is not None:
                endpoints = after.endpoints.get(key, Endpoints())
                holder = plan(after.services[key], endpoints, pool, configuration)
                holders.setdefault(address, []).append(Claimant(key, holder, addresses[0]))
    scene = replace(scene, firsts=_firsts(holders, scene, known))
    for address, claimants in holders.items():
        home = configuration.pool_of(address)
        if home is not None:
            yield virtual_ip(address, home, claimants, scene, known.get(address))


def _firsts(
    holders: Mapping[str, Sequence[Claimant]], scene: Scene, known: Mapping[str, VirtualIP]
) -> Mapping[str, str]:
    """Who would be first for what is spread evenly."""
    alike, wishes = Known(), dict[str, Wish | None]()
    for address, claimants in holders.items():
        found = equals(claimants, scene, alike)
        if found is not None and (found[0] == address or found[0] not in wishes):
            pool = scene.configuration.pool_of(found[0])
            vip = known.get(address)
            present = vip.candidates[0] if vip is not None and vip.candidates else ""
            wishes[found[0]] = Wish(pool.name if pool is not None else "", found[1], present)
    places = Places()
    places.update(wishes)
    return places.firsts


# ------------------------------------------------------------------ nodes


def _announced(world: World, claims: Sequence[VirtualIP]) -> tuple[dict[Key, Attributes], dict[str, str]]:
    """Routes and L2 owners of all nodes."""
    routes: dict[Key, Attributes] = {}
    plans: dict[str, NodePlan] = {}
    for node in world.nodes:
        orders = world.said_to(node.name)
        view = NodeView(world.configuration, node, orders)
        # As if each had been written with this configuration, so that no node waits for another one.
        whole = merge(view.select(replace(vip, configuration=0)) for vip in claims)
        routes |= {
            (node.name, route.peer, route.prefix): route.attributes
            for route, _ in whole.routes
            if route.peer not in orders.shuts
        }
        plans[node.name] = whole
    return routes, {address: nodes[0] for address, nodes in standing_by(plans).items()}


def _routes(now: Mapping[Key, Attributes], then: Mapping[Key, Attributes]) -> Iterator[RouteChange]:
    for key in sorted(now.keys() | then.keys(), key=_order):
        before, after = now.get(key), then.get(key)
        if before == after:
            continue
        if before is None and after is not None:
            yield RouteChange(*key, "added", in_words(after))
        elif after is None:
            yield RouteChange(*key, "removed")
        elif before is not None:
            yield RouteChange(*key, "changed", f"{in_words(before)} → {in_words(after)}")


def _order(key: Key) -> tuple[int, int, int, str, str]:
    network, _, length = key[2].partition("/")
    return family(network), int(parse(network)), int(length), key[0], key[1]


def in_words(a: Attributes) -> str:
    parts = [":".join(map(str, one)) for one in a.communities]
    parts += ["large:" + ":".join(map(str, one)) for one in a.large_communities]
    parts += map(extended.text, a.extended_communities)
    parts += [] if a.local_preference is None else [f"localPref {a.local_preference}"]
    parts += [] if a.med is None else [f"MED {a.med}"]
    parts += [f"prepended {len(a.as_path)}"] if a.as_path else []
    return " ".join(parts) or "no attributes"


def _owners(now: Mapping[str, str], then: Mapping[str, str]) -> Iterator[OwnerChange]:
    for address in sorted(now.keys() | then.keys(), key=lambda one: (family(one), int(parse(one)))):
        if now.get(address) != then.get(address):
            yield OwnerChange(address, now.get(address, ""), then.get(address, ""))


def _sessions(before: World, after: World) -> Iterator[SessionChange]:
    for node in sorted(after.nodes, key=lambda node: node.name):
        now, then = _peers(before, node), _peers(after, node)
        for address in sorted(now.keys() | then.keys()):
            old, new = now.get(address), then.get(address)
            if old is None and new is not None:
                yield SessionChange(node.name, new.name, "added")
            elif new is None and old is not None:
                yield SessionChange(node.name, old.name, "removed")
            elif old is not None and new is not None and (changed := tuple(_changed(old, new))):
                yield SessionChange(node.name, new.name, "reset", changed)


def _peers(world: World, node: Node) -> dict[str, Peer]:
    """By the session's address, which a renamed peer keeps; without those that an order shuts."""
    here = [one for one in world.configuration.peers if any_matches(one.node_selectors, node.labels)]
    runs = {one.key: one for one in reversed(here)}
    shuts = world.said_to(node.name).shuts
    return {key: one for key, one in runs.items() if one.name not in shuts}


def _changed(old: Peer, new: Peer) -> Iterator[str]:
    same = replace(old, source=Source()), replace(new, source=Source())
    for field in old.__struct_fields__:
        if field not in QUIET and getattr(same[0], field) != getattr(same[1], field):
            yield field
