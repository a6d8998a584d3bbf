"""`metalbgp services`: every LoadBalancer Service with its address, and who announces it.

In:  Services, their EndpointSlices, VirtualIPs, the configuration, the speakers' reports.
Out: one row a Service; without an address it says why.
Elsewhere: one Service in full is explain.py; what the controller would answer is judge.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from msgspec import Struct

from metalbgp.cli import judge
from metalbgp.cli.access import missing_right, together
from metalbgp.cli.ages import age
from metalbgp.cli.errors import CliError
from metalbgp.cli.judge import Judge
from metalbgp.cli.obeying import ended_by, obeyed_by
from metalbgp.cli.options import Look, Setup, common, run
from metalbgp.cli.render import Answer, Table, listed
from metalbgp.inventory.endpoints import fold
from metalbgp.model.allocation import Allocation, Refusal
from metalbgp.model.orders import NO_ORDERS
from metalbgp.model.reasons import NoAddress
from metalbgp.model.report import NodeReport
from metalbgp.model.services import Endpoints, EndpointSlice, Node, Service
from metalbgp.model.virtualips import Holder, VirtualIP
from metalbgp.select.select import NodeView

COLUMNS = (
    "SERVICE",
    "ADDRESS",
    "POOL",
    "POLICY",
    "ENDPOINTS",
    "BGP",
    "L2",
    "SINCE",
    "BGP NODES",
    "ADVERTISEMENTS",
    "PROBLEM",
)
WIDE = ("BGP NODES", "ADVERTISEMENTS")


class ServiceRow(Struct, frozen=True):
    service: str
    addresses: tuple[str, ...] = ()
    pool: str = ""
    policy: str = "Cluster"
    serving: int | None = 0  # None: not allowed to read EndpointSlices
    endpoints: int | None = 0
    bgp_nodes: tuple[str, ...] = ()  # that want a route for it
    l2_owners: tuple[str, ...] = ()  # nodes that report that they answer
    l2_first: tuple[str, ...] = ()  # first candidates; one of them that lives owns it
    advertisements: tuple[str, ...] = ()
    since: str = ""
    refused: NoAddress | None = None
    problem: str = ""  # in words


@click.command("services", short_help="LoadBalancer Services: address, endpoints, who announces.")
@common
@click.pass_obj
def command(setup: Setup, /, **given: Any) -> None:
    """Every LoadBalancer Service: its address, its endpoints, and who announces it.

    Shows the Services of every namespace unless -n is given.
    """
    run(setup, given, answer)


async def answer(look: Look) -> Answer:
    cluster, wish = look.cluster, look.wish
    networks = await cluster.service_networks()
    services, slices, claims, configuration, nodes, namespaces, reports, controller = await together(
        cluster.services(),
        cluster.slices(wish.namespace),
        cluster.claims(),
        cluster.configuration(),
        cluster.nodes(),
        cluster.namespaces(),
        cluster.reports(),
        cluster.controller(),
    )
    if services is None:
        raise CliError(missing_right("services"))
    known = nodes if nodes is not None else tuple(Node(name=report.node) for report in reports)
    peers = {peer.name: peer.address for peer in configuration.peers}
    wish.check({node.name for node in known}, peers, peers.values())
    endpoints = _by_service(slices)
    ask = Judge(configuration, claims, namespaces, judge.lb_class(controller), nodes or (), networks=networks)
    orders, ended = obeyed_by(reports), ended_by(reports)
    views = [
        NodeView(configuration, node, orders.get(node.name, NO_ORDERS), ended.get(node.name, ()))
        for node in known
        if wish.node(node.name)
    ]
    who = answering(reports)
    found = tuple(
        row_of(service, ask, endpoints(service.key), views, wish.peers, answering=who)
        for service in sorted(services, key=lambda one: one.key)
        if ask.ours(service) and (not wish.namespace or service.namespace == wish.namespace)
    )
    if wish.nodes or wish.peers:
        found = tuple(row for row in found if row.bgp_nodes or row.l2_owners or row.l2_first)
    wrong = tuple(row for row in found if row.problem)
    shown = wrong if wish.problems else found
    return Answer(
        kind="ServiceList",
        items=shown,
        names=tuple(row.service for row in shown),
        table=Table(COLUMNS, tuple(cells(row, look.now()) for row in shown), WIDE),
        empty="every Service is announced" if wish.problems and found else _none(services, found),
        notes=cluster.notes,
        problems=len(wrong),
    )


def answering(reports: Sequence[NodeReport]) -> dict[str, list[str]]:
    """By address, who reports that it answers for it in L2; a report names 50 of its addresses."""
    found: dict[str, list[str]] = {}
    for report in reports:
        for duty in report.duties:
            found.setdefault(duty.address, []).append(report.node)
    return found


def l2_words(row: ServiceRow) -> str:
    """Who lives is known to the nodes alone: without their word only the order is (metalbgp l2 asks them)."""
    if row.l2_owners or not row.l2_first:
        return ",".join(row.l2_owners) or "-"
    return f"{','.join(row.l2_first)} is first"


def _by_service(slices: tuple[EndpointSlice, ...] | None) -> Callable[[str], Endpoints | None]:
    """namespace/name → its endpoints; None for all of them when the slices may not be read."""
    if slices is None:
        return lambda key: None
    found: dict[str, list[EndpointSlice]] = {}
    for piece in slices:
        found.setdefault(piece.service_key, []).append(piece)
    return lambda key: fold(found.get(key, ()))


def _none(services: Sequence[Service], found: Sequence[ServiceRow]) -> str:
    others = len(services) - len(found)
    return "no Service of type LoadBalancer" + (f" is shown ({others} left out)" if others else "")


def row_of(
    service: Service,
    ask: Judge,
    endpoints: Endpoints | None,
    views: Sequence[NodeView],
    peers: Sequence[str] = (),
    *,
    answering: Mapping[str, Sequence[str]],
) -> ServiceRow:
    claims = [vip for vip in ask.claims(service.key) if vip.phase == "bound"]
    result = ask.result(service)
    holders = [vip.holders[service.key] for vip in claims]
    bgp = tuple(_bgp_nodes(service.key, claims, views, ask, peers))
    shown = {view.node.name for view in views}
    owners = tuple(dict.fromkeys(node for vip in claims for node in answering.get(vip.address, ())))
    firsts = tuple(dict.fromkeys(vip.candidates[0] for vip in claims if vip.candidates))
    refused = result.reason if isinstance(result, Refusal) else None
    return ServiceRow(
        service=service.key,
        addresses=tuple(vip.address for vip in claims),
        pool=claims[0].pool if claims else "",
        policy=service.external_traffic_policy,
        serving=endpoints.serving if endpoints else None,
        endpoints=endpoints.total if endpoints else None,
        bgp_nodes=bgp,
        l2_owners=tuple(one for one in owners if one in shown),
        l2_first=tuple(one for one in firsts if one in shown),
        advertisements=tuple(sorted({name for one in holders for name in (*one.bgp, *one.l2)})),
        since=claims[0].since if claims else service.created,
        refused=refused,
        problem=_problem(holders, result, endpoints, bool(bgp or owners or firsts)),
    )


def _bgp_nodes(
    key: str, claims: Sequence[VirtualIP], views: Sequence[NodeView], ask: Judge, peers: Sequence[str]
) -> Iterator[str]:
    address = {peer.name: peer.address for peer in ask.configuration.peers}
    for view in views:
        for vip in claims:
            if any(
                key in why.services and (not peers or route.peer in peers or address[route.peer] in peers)
                for route, why in view.select(vip).routes
            ):
                yield view.node.name
                break


def _problem(
    holders: Sequence[Holder], result: Allocation | Refusal, endpoints: Endpoints | None, announced: bool
) -> str:
    if isinstance(result, Refusal):
        return result.reason.explain()
    if not holders:
        return "its address is on its way (no controller leads?)"
    if announced:
        return ""
    if not any(holder.serving for holder in holders):
        total = endpoints.total if endpoints else 0
        return f"not announced: {f'none of {total} endpoints serves' if total else 'it has no endpoint'}"
    return "not announced: no node may; more: metalbgp explain"


def cells(row: ServiceRow, now: datetime) -> tuple[str, ...]:
    nodes = len(row.bgp_nodes)
    return (
        row.service,
        ",".join(row.addresses) or "-",
        row.pool or "-",
        row.policy,
        "?" if row.serving is None else f"{row.serving}/{row.endpoints}",
        f"{nodes} node{'' if nodes == 1 else 's'}" if nodes else "-",
        l2_words(row),
        age(row.since, now) or "-",
        listed(row.bgp_nodes, 20) or "-",
        ",".join(row.advertisements) or "-",
        row.problem,
    )
