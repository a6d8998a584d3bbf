"""Whether everything is as the pure functions say: configuration, claims, Services, routes. Pure.

In:  what the API server holds (Held), what the routers hold. Out: differences, in words; none: it is true.
Elsewhere: reading both is world.py.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.cli.judge import Judge
from metalbgp.config.compile import compile as compile_objects
from metalbgp.config.objects import AnyObject, gather
from metalbgp.inventory.inventory import Inventory
from metalbgp.model.allocation import Allocation
from metalbgp.model.configuration import Configuration
from metalbgp.model.orders import Order, in_force, obeyed
from metalbgp.model.services import EndpointSlice, Namespace, Node, Service
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.plan import plan, virtual_ip
from metalbgp.plan.ranking import Claimant
from metalbgp.plan.scene import Scene
from metalbgp.select.merge import GRACEFUL_SHUTDOWN, merge
from metalbgp.select.select import NodeView
from metalbgp.speaker.draining import Draining

Carried = tuple[int, tuple[str, ...]]  # MED, communities
Tables = Mapping[str, Mapping[str, Carried]]


class Held(Struct, frozen=True):
    """What the API server holds at one moment, more or less."""

    objects: tuple[AnyObject, ...]
    configuration: Configuration
    services: tuple[Service, ...]
    ingress: Mapping[str, tuple[str, ...]]  # by Service
    others: Mapping[str, tuple[str, ...]]  # the same of Services that ask for no address
    slices: tuple[EndpointSlice, ...]
    claims: tuple[VirtualIP, ...]
    nodes: tuple[Node, ...]
    namespaces: Mapping[str, Namespace]
    orders: tuple[Order, ...]


def differences(held: Held, tables: Tables, node: str, now: float) -> Iterator[str]:
    """`tables`: by BGPPeer, prefix → what its router holds. `node`: of the speaker."""
    yield from _configuration(held)
    yield from _claims(held)
    yield from _services(held)
    yield from _routes(held, tables, node, now)


def _configuration(held: Held) -> Iterator[str]:
    """Compiled upon itself: of two that disagree the one in force stays, so the past decides."""
    wanted = compile_objects(gather(list(held.objects)), held.configuration)
    for kind in ("pools", "peers", "bgp_advertisements"):
        want, is_ = getattr(wanted.configuration, kind), getattr(held.configuration, kind)
        if sorted(want, key=lambda one: str(one.name)) != sorted(is_, key=lambda one: str(one.name)):
            yield f"configuration: {kind} are {is_}, should be {want}"


def _claims(held: Held) -> Iterator[str]:
    inventory = Inventory(held.configuration.installation)
    inventory.configure(held.configuration)
    for piece in held.slices:
        inventory.put_slice(piece)
    services = {one.key: one for one in held.services}
    scene = Scene(held.configuration, {one.name: one for one in held.nodes})
    for vip in held.claims:
        pool = held.configuration.pool_of(vip.address)
        if vip.phase != "bound" or pool is None:
            yield f"VirtualIP {vip.address}: phase {vip.phase}, pool {pool and pool.name}"
            continue
        claimants = []
        for key, holder in vip.holders.items():
            service = services.get(key)
            if service is None or service.uid != holder.uid:
                yield f"VirtualIP {vip.address}: {key} ({holder.uid}) is not there"
                continue
            made = plan(service, inventory.endpoints(key), pool, held.configuration)
            claimants.append(Claimant(key, replace(made, why=holder.why), vip.address))
        if (should := virtual_ip(vip.address, pool, claimants, scene, vip)) != vip:
            yield f"VirtualIP {vip.address}: is {vip}, should be {should}"


def _services(held: Held) -> Iterator[str]:
    judge = Judge(held.configuration, held.claims, held.namespaces)
    for name, left in held.others.items():
        if left:
            yield f"Service {name}: is no LoadBalancer, shows {left}"
    for service in held.services:
        holds = tuple(vip.address for vip in judge.claims(service.key))
        shows = held.ingress.get(service.key, ())
        if holds != shows:
            yield f"Service {service.key}: shows {shows}, holds {holds}"
        answer = judge.result(service)
        should = answer.addresses if isinstance(answer, Allocation) else ()
        # Without an address any free one would do: which one was free first is not to be known now.
        if bool(should) != bool(shows) or (shows and should != shows):
            yield f"Service {service.key}: shows {shows}, the answer is {answer}"


def _routes(held: Held, tables: Tables, node: str, now: float) -> Iterator[str]:
    here = next(one for one in held.nodes if one.name == node)
    orders = obeyed(in_force(held.orders, now), node)
    view = NodeView(held.configuration, here, orders)
    leaving = Draining()  # for long: no other speaker is there, so all stays and is less preferred
    leaving.look(view, now, started=False)
    merged = merge(leaving.judge(vip, view.select(vip), view, now, ()) for vip in held.claims)
    wanted: dict[str, dict[str, Carried]] = {name: {} for name in tables}
    for route, _ in merged.routes:
        carried = route.attributes.med or 0, tuple(sorted(map(_word, route.attributes.communities)))
        wanted.setdefault(route.peer, {})[route.prefix] = carried
    for peer, table in tables.items():
        want = {} if peer in orders.shuts else wanted[peer]
        different = {p: (table.get(p), want.get(p)) for p in {*table, *want} if table.get(p) != want.get(p)}
        if different:
            yield f"router {peer}: (holds, should) {different}"


def _word(community: tuple[int, int]) -> str:
    """As FRR writes it."""
    return "gracefulShutdown" if community == GRACEFUL_SHUTDOWN else f"{community[0]}:{community[1]}"
