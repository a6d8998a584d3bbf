"""`metalbgp explain [NS/]SVC`: why a Service has this address or none, and who announces it or not.

With an address in place of a Service it is explain_address.py.

In:  the Service and all that decides about it; the speakers' journals for what the wire says, the
     reflexes of its L2 candidates for who answers.
Out: the lines of plan/lines.py. Exit code 1: no address, or nobody announces it.
Elsewhere: finding out is plan/explain.py; the controller's answer is judge.py.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import click
from msgspec.structs import replace

from metalbgp.cli import explain_address, judge
from metalbgp.cli.access import Cluster, Speakers, together
from metalbgp.cli.ages import age, ago
from metalbgp.cli.errors import CliError, Usage, no_such
from metalbgp.cli.judge import Judge
from metalbgp.cli.l2_rows import Known
from metalbgp.cli.l2_short import asked_rows, who_answers
from metalbgp.cli.obeying import ended_by, obeyed_by
from metalbgp.cli.options import Look, Setup, common, run
from metalbgp.cli.reflexes import Reflexes
from metalbgp.cli.render import Answer, many
from metalbgp.cli.wire import Heard, Wire, ask_all
from metalbgp.inventory.endpoints import fold
from metalbgp.model.configuration import Configuration
from metalbgp.model.report import DrainReport, NodeReport
from metalbgp.model.services import Node, Service
from metalbgp.plan.explain import Explanation, explain
from metalbgp.plan.lines import lines
from metalbgp.plan.scene import Scene


@click.command("explain", short_help="Why a Service has its address, who announces it, or why not.")
@click.argument("service", metavar="[NAMESPACE/]SERVICE|ADDRESS")
@common
@click.option("--no-wire", is_flag=True, help="Do not ask the speakers.")
@click.pass_obj
def command(setup: Setup, /, service: str, no_wire: bool, **given: Any) -> None:
    """Why a Service has this address or none, and who announces it to whom, or why not; or who holds
    ADDRESS, and why nobody else may have it."""

    async def answer(look: Look) -> Answer:
        if address := explain_address.address_of(service):
            return await explain_address.answer(look, address, wire=not no_wire)
        if explain_address.network_of(service):
            more = "metalbgp pools --addresses lists every address that is not free"
            raise Usage(f"{service} is a network: name one address of it; {more}")
        return await _answer(look, service, wire=not no_wire)

    run(setup, given, answer)


async def _answer(look: Look, text: str, *, wire: bool) -> Answer:
    cluster, wish = look.cluster, look.wish
    service = await find(cluster, *split(text, wish.namespace or cluster.api.namespace))
    if service.type != "LoadBalancer":
        raise CliError(f"{service.key} is of type {service.type}: only LoadBalancer Services get an address")

    async def ask() -> tuple[Speakers, Wire]:
        speakers = await cluster.speakers()
        return speakers, await ask_all(cluster.api, speakers.pods) if wire else Wire()

    (
        slices,
        claims,
        configuration,
        nodes,
        namespaces,
        controller,
        reports,
        networks,
        (speakers, heard),
    ) = await together(
        cluster.slices(service.namespace, service.name),
        cluster.claims(),
        cluster.configuration(),
        cluster.nodes(),
        cluster.namespaces(),
        cluster.controller(),
        cluster.reports(),
        cluster.service_networks(),
        ask(),
    )
    if heard.note:
        cluster.note(heard.note)
    lb_class = judge.lb_class(controller)
    decider = Judge(configuration, claims, namespaces, lb_class, nodes or (), networks=networks)
    if not decider.ours(service):
        raise CliError(_not_ours(service))
    known = {node.name: node for node in nodes or ()}
    if nodes is None:
        known = {pod.node: Node(name=pod.node) for pod in speakers.pods if pod.node}
    live = speakers.live if speakers.known else frozenset(known)
    wish.check(known, {peer.name for peer in configuration.peers}, {p.key for p in configuration.peers})
    scene = Scene(configuration, known, live, orders=obeyed_by(reports), ended=ended_by(reports))
    found = explain(service, decider.claims(service.key), decider.result(service), fold(slices or ()), scene)
    now = look.now()
    rows = await asked_rows(
        cluster,
        speakers,
        Known(decider.claims(service.key), reports, Reflexes(), scene),
        ask=wire and not heard.note,
    )
    by_node = {report.node: report for report in reports}
    on_wire = said({one.node: one for one in heard.heard}, reports, configuration, now)
    problem = found.problem
    shown = narrowed(found, wish.nodes, wish.peers)
    return Answer(
        kind="Explanation",
        items=(shown,),
        names=(service.key,),
        lines=tuple(
            lines(
                shown,
                on_wire,
                lambda since: ago(since, now),
                lambda one: (
                    who_answers(rows.get(one.address), one.candidates, now)
                    + left_alone(by_node.get(next(iter(one.candidates), "")), one.address)
                ),
            )
        ),
        notes=(*cluster.notes, *held_back(reports)),
        problems=int(problem),
    )


def held_back(reports: Iterable[NodeReport]) -> Iterator[str]:
    """Whoever reads why an address is not announced must know that a router may have it nevertheless."""
    for report in reports:
        for one in report.sessions:
            if one.held:
                yield (
                    f"{report.node} → {one.peer}: {many(one.held, 'withdrawal')} held back "
                    f"(metalbgp.io/withdraw-limit), so what is not wanted may still stand there; "
                    f"metalbgp release {one.peer}"
                )


def split(text: str, namespace: str) -> tuple[str, str]:
    """NS/SVC, SVC; also service/SVC and svc/SVC, as kubectl writes them."""
    parts = text.split("/")
    if len(parts) > 1 and parts[0] in ("service", "services", "svc"):
        parts = parts[1:]
    if len(parts) > 2 or not all(parts):
        raise Usage(f'"{text}" is no Service: write NAMESPACE/SERVICE')
    return (parts[0], parts[1]) if len(parts) == 2 else (namespace, parts[0])


async def find(cluster: Cluster, namespace: str, name: str) -> Service:
    found = await cluster.service(namespace, name)
    if found is not None:
        return found
    services = await cluster.services() or ()
    elsewhere = sorted(one.key for one in services if one.name == name)
    if elsewhere:
        raise Usage(f"there is no Service {namespace}/{name}; did you mean {' or '.join(elsewhere[:3])}?")
    raise no_such("Service", f"{namespace}/{name}", (one.key for one in services))


def _not_ours(service: Service) -> str:
    if service.deleting:
        return f"{service.key} is being deleted"
    named = f'"{service.load_balancer_class}"' if service.load_balancer_class else "none"
    return f"{service.key} is not ours: its loadBalancerClass ({named}) is served by another load balancer"


def narrowed(found: Explanation, nodes: tuple[str, ...], peers: tuple[str, ...]) -> Explanation:
    """Only the lines of these nodes and peers."""

    def keep(node: str, peer: str) -> bool:
        return (not nodes or node in nodes) and (not peers or not peer or peer in peers)

    return replace(
        found,
        bgp=tuple(
            replace(one, lines=tuple(line for line in one.lines if keep(line.node, line.peer)))
            for one in found.bgp
        ),
        l2=tuple(
            replace(one, lines=tuple(line for line in one.lines if keep(line.node, line.peer)))
            for one in found.l2
        ),
    )


def said(
    heard: Mapping[str, Heard], reports: Iterable[NodeReport], configuration: Configuration, now: datetime
) -> Callable[[str, str, str], str]:
    """(node, peer, prefix) → what its speaker says of that route, or reported last when it is not heard."""
    address = {peer.name: peer.key for peer in configuration.peers}
    entries = {(one.node, entry.peer, entry.prefix): entry for one in heard.values() for entry in one.entries}
    by_node = {report.node: report for report in reports}
    delayed = any(one.announce_delay for one in configuration.bgp_advertisements)
    waits = ", or it waits for its announce-delay" if delayed else ""

    def wire(node: str, peer: str, prefix: str) -> str:
        one = heard.get(node)
        if one is None or one.silent:
            silent = f" ({one.silent})" if one else ""
            return reported(by_node.get(node), peer, prefix, now) + silent
        entry = entries.get((node, address.get(peer, peer), prefix))
        leaves = leaving(by_node.get(node))
        if entry is None:
            return leaves or f"not yet: the speaker does not have it{waits}"
        if entry.state == "confirmed":
            less = (
                f", less preferred: {leaves}" if entry.wanted and entry.wanted.local_preference == 0 else ""
            )
            return f"confirmed on the wire {ago(entry.since, now)}{less if leaves else ''}"
        if entry.state == "waiting":
            return f"waiting for {age(entry.since, now)}: session down (metalbgp sessions --node {node})"
        return f"{entry.state} {ago(entry.since, now)}"

    return wire


def leaving(report: NodeReport | None) -> str:
    """As far as routes are concerned."""
    return _leaves(report, lambda drain: bool(drain.withdrawn or drain.eased))


def left_alone(report: NodeReport | None, address: str) -> str:
    """Of an address in L2 that the node had to keep."""
    words = _leaves(report, lambda drain: address in drain.answers)
    return f"; {words}, and nobody else may" if words else ""


def _leaves(report: NodeReport | None, concerned: Callable[[DrainReport], bool]) -> str:
    if report is None or not report.drain or not concerned(report.drain[0]):
        return ""
    return f"{report.node} leaves ({report.drain[0].why})"


def reported(report: NodeReport | None, peer: str, prefix: str, now: datetime) -> str:
    if report is None:
        return "yes, but its speaker has never reported"
    as_of = f"as reported {ago(report.updated, now)}"
    state = next((one.state for one in report.unconfirmed if (one.peer, one.prefix) == (peer, prefix)), "")
    session = next((one for one in report.sessions if one.peer == peer), None)
    if session is not None and session.state != "Established":
        return f"waiting, {as_of}: session down (metalbgp sessions --node {report.node})"
    return f"{state or 'confirmed'}, {as_of}"
