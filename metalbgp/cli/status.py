"""`metalbgp status`: one screen: controller, speakers, sessions, pools, services, announcements, problems.

In:  all that the other verbs read, but for the wire. Out: a Status: figures, and every problem by its line.
Elsewhere: the lines are status_lines.py; each of them in full is the verb of its name.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click
from msgspec import Struct

from metalbgp.cli import judge
from metalbgp.cli.access import Cluster, Speakers, speakers, together
from metalbgp.cli.ages import ago, seconds_since, words
from metalbgp.cli.changes import SHUT, UP
from metalbgp.cli.errors import CliError
from metalbgp.cli.judge import Judge
from metalbgp.cli.l2_rows import BAD
from metalbgp.cli.obeying import order_words
from metalbgp.cli.options import Look, Setup, Wish, common, run
from metalbgp.cli.pods import Pod, Workload
from metalbgp.cli.render import Answer, listed, many
from metalbgp.cli.sessions import Row, rows, trouble
from metalbgp.cli.status_lines import Counts, PoolUse, Problem, Status, Waiting, screen
from metalbgp.cluster.decode import Lease
from metalbgp.model.allocation import Refusal
from metalbgp.model.configuration import Configuration, Pool
from metalbgp.model.report import QUIET, DrainReport, NodeReport
from metalbgp.model.services import Namespace, Node, Service
from metalbgp.model.virtualips import VirtualIP

SHOWN = 3  # names that one line writes out
GRACE = 1.5  # times the Lease's duration until its holder counts as gone: clocks differ


class Found(Struct, frozen=True):
    """What was read. None: not allowed, or not there."""

    reports: tuple[NodeReport, ...] = ()
    configuration: Configuration = Configuration(installation="")
    claims: tuple[VirtualIP, ...] = ()
    services: tuple[Service, ...] | None = None
    namespaces: dict[str, Namespace] = {}
    nodes: tuple[Node, ...] | None = None
    pods: tuple[Pod, ...] | None = None
    lease: Lease | None = None
    deployment: Workload | None = None
    daemons: Workload | None = None
    errors: tuple[str, ...] = ()
    networks: dict[str, tuple[str, ...]] = {}  # by ServiceCIDR


@click.command("status", short_help="One screen: is everything as it should be?")
@common
@click.pass_obj
def command(setup: Setup, /, **given: Any) -> None:
    """One screen: controller, speakers, sessions, pools, services, announcements, problems."""
    run(setup, given, answer)


async def answer(look: Look) -> Answer:
    cluster, wish = look.cluster, look.wish
    begun = look.now()
    found = await read(cluster)
    now = look.now()
    nodes = {one.name for one in found.nodes or ()} | {one.node for one in found.reports}
    peers = {peer.name: peer.address for peer in found.configuration.peers}
    wish.check(nodes, peers, peers.values())
    status = judged(found, wish, now, (now - begun).total_seconds())
    return Answer(
        kind="Status",
        items=(status,),
        names=tuple(dict.fromkeys(problem.line for problem in status.problems)),
        lines=tuple(screen(status, now, only_problems=wish.problems)),
        notes=cluster.notes,
        problems=len(status.problems),
    )


async def read(cluster: Cluster) -> Found:
    names = Found.__struct_fields__
    values = await together(
        cluster.reports(),
        cluster.configuration(),
        cluster.claims(),
        cluster.services(),
        cluster.namespaces(),
        cluster.nodes(),
        cluster.pods(),
        cluster.lease(),
        cluster.controller(),
        cluster.speaker_set(),
        cluster.configuration_errors(),
        cluster.service_networks(),
    )
    found = Found(**dict(zip(names, values, strict=True)))
    if found.pods == () and not (found.deployment or found.daemons or found.reports):
        where = f"namespace {cluster.installation} has neither controller nor speakers"
        raise CliError(f"metalbgp is not installed: {where} (another one: --install-namespace)")
    return found


def judged(found: Found, wish: Wish, now: datetime, view: float) -> Status:
    configuration = found.configuration
    claims = judge.mine(found.claims, configuration)
    decider = Judge(
        configuration,
        found.claims,
        found.namespaces,
        judge.lb_class(found.deployment),
        found.nodes or (),
        networks=found.networks,
    )
    reports = [one for one in found.reports if wish.node(one.node)]
    services = [
        one
        for one in found.services or ()
        if decider.ours(one) and (not wish.namespace or one.namespace == wish.namespace)
    ]
    sessions = [row for row in rows(found.reports, speakers(found.pods)) if _shown(row, wish)]
    lacking = [one for one in services if all(vip.phase != "bound" for vip in decider.claims(one.key))]
    leader, since, nobody = leads(found.lease, now)
    controller, speaker = controllers(found), _speakers(found)
    waiting = Counter((report.node, one.peer) for report in reports for one in report.unconfirmed)
    problems = [
        *_of_controller(controller, nobody),
        *_of_speakers(speaker, found),
        *_of_views(reports, speakers(found.pods), now),
        *(
            Problem("sessions", session_words(row, now), "metalbgp sessions --problems")
            for row in sessions
            if row.wrong
        ),
        *(Problem("config", error, "kubectl get configurationstates -A -o yaml") for error in found.errors),
        *(_of_service(one, decider) for one in lacking),
        *_of_routes(reports),
        *_of_limits(reports),
        *_of_layer2(reports),
    ]
    real = [row for row in sessions if row.session is not None and row.session.state != SHUT]
    return Status(
        controller=controller,
        leader=leader,
        leads_since=since,
        speakers=speaker,
        sessions=Counts(wanted=len(real), ready=sum(not row.wrong for row in real)),
        pools=tuple(use_of(pool, claims) for pool in configuration.pools),
        services=(
            None
            if found.services is None
            else Counts(wanted=len(services), ready=len(services) - len(lacking))
        ),
        addresses=sum(vip.phase == "bound" and _announces(vip) for vip in claims),
        l2_addresses=sum(report.duties_total for report in reports),
        routes_wanted=sum(report.routes_wanted for report in reports),
        routes_confirmed=sum(report.routes_confirmed for report in reports),
        waiting=tuple(Waiting(node, peer, count) for (node, peer), count in sorted(waiting.items())),
        problems=tuple(problems),
        orders=(
            *dict.fromkeys(order_words(one, report.node) for report in reports for one in report.orders),
            *(drain_words(one, report.node) for report in reports for one in report.drain),
        ),
        view_seconds=view,
    )


def _shown(row: Row, wish: Wish) -> bool:
    if not wish.node(row.node):
        return False
    return wish.peer(row.session.peer, row.session.address) if row.session else not wish.peers


def _announces(vip: VirtualIP) -> bool:
    return any(one.serving and (one.bgp or one.l2) for one in vip.holders.values())


# ------------------------------------------------------------------ controller and speakers


def controllers(found: Found) -> Counts | None:
    pods = [pod for pod in found.pods or () if pod.component == "controller" and not pod.deleting]
    wanted = found.deployment.wanted if found.deployment else len(pods)
    if found.pods is not None:
        return Counts(wanted=wanted, ready=sum(pod.ready for pod in pods))
    return Counts(wanted=wanted, ready=found.deployment.ready) if found.deployment else None


def _speakers(found: Found) -> Counts | None:
    running = speakers(found.pods)
    if found.daemons is not None:
        wanted = found.daemons.wanted
    else:
        wanted = len(found.nodes) if found.nodes is not None else len(running.pods)
    if running.known:
        return Counts(wanted=wanted, ready=len(running.live))
    return Counts(wanted=wanted, ready=found.daemons.ready) if found.daemons else None


def leads(lease: Lease | None, now: datetime) -> tuple[str, str, str]:
    """(Pod that leads, since when, what is wrong with that)."""
    if lease is None:
        return "", "", ""
    spec = lease.spec
    holder = (spec.holder_identity or "").partition("_")[0]
    if not holder:
        return "", "", "nobody leads: no address is given or changed; what is announced stays"
    quiet = seconds_since(spec.renew_time or "", now)
    if quiet is not None and quiet > GRACE * (spec.lease_duration_seconds or 15):
        return "", "", f"nobody leads: {holder} was last heard {words(quiet)} ago; what is announced stays"
    return holder, spec.acquire_time or "", ""


def _of_controller(count: Counts | None, nobody: str) -> Iterator[Problem]:
    missing = max(count.wanted, 1) - count.ready if count else 0
    if missing > 0:
        yield Problem("controller", f"{missing} not ready", "metalbgp doctor")
    if nobody:
        yield Problem("controller", nobody, "metalbgp doctor")


def _of_speakers(count: Counts | None, found: Found) -> Iterator[Problem]:
    running = speakers(found.pods)
    if count is None or count.ready >= count.wanted:
        return
    nodes = {node.name for node in found.nodes or ()} | {pod.node for pod in running.pods if pod.node}
    missing = sorted(nodes - running.live) if running.known else []
    named = f"none ready on {', '.join(missing[:SHOWN])}{', …' if len(missing) > SHOWN else ''}"
    text = named if missing else f"{count.wanted - count.ready} not ready"
    yield Problem("speakers", text, "metalbgp doctor")


def _of_views(reports: Sequence[NodeReport], running: Speakers, now: datetime) -> Iterator[Problem]:
    """Speakers that live, and may not know what is wanted now."""
    more = "metalbgp sessions"
    for report in reports:
        quiet = seconds_since(report.updated, now)
        if running.known and report.node not in running.live:
            continue  # said already
        if report.from_snapshot:
            when = ago(report.heard, now) or "before"
            text = f"{report.node} announces what it knew {when}: it does not hear the API server"
            yield Problem("speakers", text, more)
        elif report.heard and quiet is not None and quiet > QUIET:
            text = f"{report.node} was last heard of {words(quiet)} ago, and goes on with what it knew then"
            yield Problem("speakers", text, more)


# ------------------------------------------------------------------ sessions, services, routes, pools


def session_words(row: Row, now: datetime) -> str:
    if row.session is None:
        return f"{row.node}: {row.silent}"
    one = row.session
    who = f"{row.node} → {one.peer}"
    if row.stale:
        return f"{who}: was {one.state} {ago(row.stale, now)}, its speaker is not ready"
    if one.state == UP:
        why = f": {one.bfd_why}" if one.bfd_why else ""
        return f"{who}: BFD {one.bfd}{why}; the hold time alone watches the path"
    seconds = seconds_since(one.since, now)
    down = f"down {words(seconds)}" if seconds is not None else "down"
    if one.state == "Refused":
        down = "refused here"
    return f"{who}: {down}" + (f", {trouble(one)}" if trouble(one) else f", {one.state}")


def _of_service(service: Service, decider: Judge) -> Problem:
    result = decider.result(service)
    said = result.reason.explain() if isinstance(result, Refusal) else "its address is on its way"
    return Problem("services", f"{service.key}: {said}", f"metalbgp explain {service.key}")


def _of_routes(reports: Sequence[NodeReport]) -> Iterator[Problem]:
    """Routes of a session that is down are that session's problem, not more of them."""
    for report in reports:
        for one in report.unconfirmed:
            if one.state == "refused":
                text = f"{report.node} → {one.peer}: {one.prefix} refused{f': {one.why}' if one.why else ''}"
                yield Problem("announced", text, "metalbgp routes --problems")


def _of_limits(reports: Sequence[NodeReport]) -> Iterator[Problem]:
    """What metalbgp.io/withdraw-limit and metalbgp.io/max-routes keep from the wire."""
    for report in reports:
        for one in report.sessions:
            who = f"{report.node} → {one.peer}"
            if one.held:
                text = f"{who}: {many(one.held, 'withdrawal')} held back (metalbgp.io/withdraw-limit)"
                yield Problem("announced", text, f"metalbgp release {one.peer}")
            if one.beyond:
                text = f"{who}: {many(one.beyond, 'route')} not announced (metalbgp.io/max-routes)"
                yield Problem("announced", text, "metalbgp sessions --problems")


def _of_layer2(reports: Sequence[NodeReport]) -> Iterator[Problem]:
    """Nodes that may own nothing, though addresses are theirs to own."""
    for report in reports:
        if report.layer2 in BAD and report.candidate_for:
            why = f": {report.layer2_why}" if report.layer2_why else ""
            yield Problem("announced", f"{report.node}: {report.layer2} in L2{why}", "metalbgp l2 --problems")


def drain_words(one: DrainReport, node: str) -> str:
    """n1 leaves (cordoned): 3 routes withdrawn, 1 less preferred, nobody else announces 10.0.0.1/32."""
    parts = [f"{many(one.withdrawn, 'route')} withdrawn"] if one.withdrawn else []
    parts += [f"{one.eased:,} less preferred"] if one.eased else []
    parts += [f"nobody else announces {listed(one.stays, SHOWN)}"] if one.stays else []
    parts += [f"nobody else may answer for {listed(one.answers, SHOWN)} in L2"] if one.answers else []
    return f"{node} leaves ({one.why})" + (f": {', '.join(parts)}" if parts else "")


def use_of(pool: Pool, claims: Sequence[VirtualIP]) -> PoolUse:
    phases = Counter(vip.phase for vip in claims if vip.address in pool)
    return PoolUse(
        pool=pool.name,
        size=sum(piece.size for piece in pool.ranges),
        used=phases["bound"] + phases["probing"] + phases["releasing"],
        reserved=phases["reserved"],
        cooling=phases["cooling"],
    )
