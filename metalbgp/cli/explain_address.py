"""`metalbgp explain ADDRESS`: who holds it or waits for it, why nobody may have it, which nodes announce it.

In:  an address in any spelling; VirtualIPs of every installation, the configuration, Nodes and networks; in
     L2 the reflexes of its candidates.
Out: a few lines. Exit code 1: it is in no pool, or nobody may have it.
Elsewhere: one Service is explain.py; the rules are allocate/ (judge.py), the nodes' part is select/.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from metalbgp.cli import judge
from metalbgp.cli.access import together
from metalbgp.cli.ages import ago
from metalbgp.cli.judge import Judge
from metalbgp.cli.l2_rows import Known
from metalbgp.cli.l2_short import asked_rows, who_answers
from metalbgp.cli.obeying import ended_by, obeyed_by
from metalbgp.cli.options import Look
from metalbgp.cli.pools import given_to
from metalbgp.cli.reflexes import Reflexes
from metalbgp.cli.render import Answer, listed
from metalbgp.model.addresses import AddressError, address_of_claim, canonical, trimmed
from metalbgp.model.configuration import Configuration, Pool
from metalbgp.model.orders import NO_ORDERS, Orders
from metalbgp.model.reasons import AddressNotInPool, NoAddress
from metalbgp.model.services import Node
from metalbgp.model.virtualips import HELD_PHASES, VirtualIP
from metalbgp.plan.lines import pool_text
from metalbgp.plan.scene import Scene
from metalbgp.select.merge import standing_by
from metalbgp.select.orders import held_by
from metalbgp.select.select import NodeView

LABEL = 12  # width of the words in front


class AddressExplanation(Struct, frozen=True):
    address: str
    pool: str = ""
    phase: str = ""  # of its VirtualIP; "": there is none
    services: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    kept_for: tuple[str, ...] = ()
    installation: str = ""  # that has it, when it is another one
    reservation: str = ""
    reserved_for: str = ""
    refused: NoAddress | None = None  # why a Service that nothing connects with it cannot have it
    bgp_nodes: tuple[str, ...] | None = ()  # None, here and below: not allowed to read Nodes
    peers: tuple[str, ...] = ()  # that at least one of these nodes announces it to
    l2_nodes: tuple[str, ...] = ()  # who may answer, in order
    held: tuple[str, ...] = ()  # by which orders, in words
    asking: str = ""  # node that asks its segment, in phase probing


def address_of(text: str) -> str:
    """The canonical spelling; "" when it is no address (a Service may be called almost anything else).

    Also 10.0.0.1/32, as routers show it, and the name of its VirtualIP, as `kubectl get vips` does."""
    text = trimmed(text)
    for read in (canonical, address_of_claim):
        try:
            return read(text.removesuffix("/128" if ":" in text else "/32"))
        except AddressError:
            continue
    return ""


def network_of(text: str) -> bool:
    """A prefix of many addresses: there is nothing to say of all of them at once."""
    address, slash, length = trimmed(text).partition("/")
    return bool(slash) and length.isdigit() and address_of(address) != ""


async def answer(look: Look, address: str, *, wire: bool = True) -> Answer:
    cluster = look.cluster
    claims, configuration, nodes, namespaces, controller, networks, reports, speakers = await together(
        cluster.claims(),
        cluster.configuration(),
        cluster.nodes(),
        cluster.namespaces(),
        cluster.controller(),
        cluster.service_networks(),
        cluster.reports(),
        cluster.speakers(),
    )
    decider = Judge(
        configuration,
        claims,
        namespaces,
        judge.lb_class(controller),
        nodes or (),
        networks=networks,
    )
    orders = obeyed_by(reports)
    found = explained(address, claims, configuration, decider, nodes, orders=orders, ended=ended_by(reports))
    pool = configuration.pool_of(address)
    nobodys = found.refused is not None and not found.phase and not found.reservation
    vips = tuple(vip for vip in judge.mine(claims, configuration) if vip.address == address)
    scene = Scene(configuration, {node.name: node for node in nodes or ()}, speakers.live, orders=orders)
    rows = await asked_rows(cluster, speakers, Known(vips, reports, Reflexes(), scene), ask=wire)
    answers = who_answers(rows.get(address), found.l2_nodes, look.now())
    return Answer(
        kind="AddressExplanation",
        items=(found,),
        names=(address,),
        lines=tuple(lines(found, pool, look.now(), answers)),
        notes=cluster.notes,
        problems=int(pool is None or nobodys),
    )


def explained(
    address: str,
    claims: Sequence[VirtualIP],
    configuration: Configuration,
    decider: Judge,
    nodes: Sequence[Node] | None,
    *,
    orders: Mapping[str, Orders],
    ended: Mapping[str, Collection[tuple[str, str]]],
) -> AddressExplanation:
    pool, reservation = configuration.pool_of(address), configuration.reservation_of(address)
    vip = next((one for one in claims if one.address == address), None)
    mine = vip is not None and vip.installation == configuration.installation
    plans = (
        {
            node.name: NodeView(
                configuration, node, orders.get(node.name, NO_ORDERS), ended.get(node.name, ())
            ).select(vip)
            for node in nodes or ()
        }
        if vip and mine
        else {}
    )
    holds = {name: one.holds[address] for name, one in orders.items() if address in one.holds}
    return AddressExplanation(
        address=address,
        pool=pool.name if pool else "",
        phase=vip.phase if vip else "",
        services=tuple(sorted(vip.holders)) if vip else (),
        since=vip.since if vip else "",
        until=vip.until if vip else "",
        kept_for=vip.kept_for if vip else (),
        installation=vip.installation if vip and not mine else "",
        reservation=reservation.name if reservation else "",
        reserved_for=reservation.whose() if reservation else "",
        refused=decider.barred(address),
        bgp_nodes=None
        if nodes is None
        else tuple(sorted(name for name, plan in plans.items() if plan.routes)),
        peers=tuple(sorted({route.peer for plan in plans.values() for route, _ in plan.routes})),
        l2_nodes=standing_by(plans).get(address, ()),
        held=tuple(dict.fromkeys(held_by(one).explain() for _, one in sorted(holds.items()))),
        asking=next((name for name, plan in sorted(plans.items()) if plan.probes), ""),
    )


def lines(found: AddressExplanation, pool: Pool | None, now: datetime, answers: str) -> Iterator[str]:
    yield f"{found.address} {_state(found)}"
    if pool is not None:
        yield _labelled("pool", f"{pool_text(pool)}, given to {given_to(pool)}")
    if found.installation:
        yield _labelled("claim", f"installation {found.installation} has it")
        return
    if found.phase:
        yield _labelled("claim", f"VirtualIP {found.address}, {found.phase} {ago(found.since, now)}".rstrip())
    if found.kept_for:
        until = f"until {found.until}" if found.until else "without end (kubectl delete vip frees it)"
        yield _labelled("kept", f"for {', '.join(found.kept_for)}, {until}")
    if found.reservation:
        yield _labelled("reserved", f"by AddressReservation {found.reservation}, for {found.reserved_for}")
    told = found.phase or found.reservation or isinstance(found.refused, AddressNotInPool)
    if found.refused is not None and not told:
        yield _labelled("refused", found.refused.explain())
        if found.refused.remedy():
            yield _labelled("remedy", found.refused.remedy())
    for words in found.held:
        yield _labelled("order", f"{words} (metalbgp unhold {found.address})")
    if found.phase == "bound" and found.bgp_nodes is not None:
        yield _labelled("BGP", _announced(found.bgp_nodes, found.peers) if found.bgp_nodes else "no node")
        yield _labelled("L2", answers if found.l2_nodes else "no node")
    if found.phase == "probing" and found.bgp_nodes is not None:
        who = f"{found.asking} asks" if found.asking else "no node can ask"
        yield _labelled("L2", f"{who} the segment whether anybody has it")
    for service in found.services[:3]:
        yield _labelled("more", f"metalbgp explain {service}")


def _state(found: AddressExplanation) -> str:
    if found.phase in HELD_PHASES:
        return f"is held by {', '.join(found.services) or 'nobody'}"
    if found.phase == "releasing":
        return f"is being withdrawn; {', '.join(found.services)} had it"
    if found.phase == "cooling":
        return "is kept, and given to nobody else yet"
    if found.phase == "reserved" or found.reservation:
        return f"is reserved for {found.reserved_for}" if found.reserved_for else "is reserved"
    if isinstance(found.refused, AddressNotInPool):
        return "is in no pool"
    return "is free" if found.refused is None else "is given to nobody"


def _announced(nodes: Sequence[str], peers: Sequence[str]) -> str:
    return f"{listed(nodes, 6)} {'announces' if len(nodes) == 1 else 'announce'} it to {listed(peers, 6)}"


def _labelled(label: str, words: str) -> str:
    return f"  {label:{LABEL}}{words}"
