"""`metalbgp doctor`: is the cluster as metalbgp needs it, and is metalbgp itself well?

In:  everything that `status` reads, kube-proxy's ConfigMap, the CRDs, the Pods of other load balancers; where
     there is an L2Advertisement the reflexes and their nodes' kernel settings, through pods/exec.
Out: one line a check: ok, warn or bad, with the remedy. Exit code 1: something is bad.
Elsewhere: the checks themselves are checks.py, layer2_checks.py (values in, findings out).
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from metalbgp.cli import checks
from metalbgp.cli.access import Cluster, speakers, together
from metalbgp.cli.checks import Finding
from metalbgp.cli.errors import CliError, NotAllowed, Unreachable
from metalbgp.cli.judge import Judge, lb_class, mine
from metalbgp.cli.l2_rows import Known
from metalbgp.cli.layer2_checks import layer2_checks
from metalbgp.cli.options import Look, Setup, common, run
from metalbgp.cli.others import KINDS, Objects, others
from metalbgp.cli.reflexes import Reflexes, ask_reflexes
from metalbgp.cli.render import Answer
from metalbgp.cli.sessions import rows
from metalbgp.cli.status import Found, controllers, leads, read, session_words
from metalbgp.model.services import Service
from metalbgp.plan.scene import Scene


@click.command("doctor", short_help="Is the cluster as metalbgp needs it, and is metalbgp well?")
@common
@click.pass_obj
def command(setup: Setup, /, **given: Any) -> None:
    """Is the cluster as metalbgp needs it (strictARP, CRDs, no other load balancer), and is metalbgp well?"""
    run(setup, given, answer)


async def answer(look: Look) -> Answer:
    cluster = look.cluster
    proxy, kinds, pods, found = await together(
        _proxy(cluster), cluster.kinds(), cluster.all_pods(), _installed(cluster)
    )
    findings = [proxy, checks.kinds(kinds, cluster.installation)]
    if isinstance(found, Found):
        findings += of_installation(found, cluster.installation, look.now())
        findings += layer2_checks(await _layer2(cluster, found))
    else:
        findings.append(Finding("installed", "bad", str(found), ("kubectl apply -f metalbgp.yaml",)))
    findings += others(pods, await _of_others(cluster, kinds), *_given(found))
    if look.wish.problems:
        findings = [one for one in findings if one.verdict != "ok"]
    return Answer(
        kind="FindingList",
        items=tuple(findings),
        names=tuple(one.check for one in findings),
        lines=tuple(checks.lines(findings)) or ("everything is as it should be",),
        notes=cluster.notes,
        problems=sum(one.verdict == "bad" for one in findings),
    )


async def _of_others(cluster: Cluster, kinds: frozenset[str] | None) -> Objects:
    """Only of products that are here."""
    wanted = {name: versions for name, versions in KINDS.items() if kinds is None or name in kinds}
    return await cluster.of_others(wanted)


def _given(found: Found | CliError) -> tuple[list[tuple[Service, frozenset[str]]], str | None]:
    """Services of ours with the addresses that they hold, and the class that we serve."""
    if not isinstance(found, Found):
        return [], None
    decider = Judge(found.configuration, found.claims, found.namespaces, lb_class(found.deployment))
    services = [one for one in found.services or () if decider.ours(one)]
    held = [(one, frozenset(vip.address for vip in decider.claims(one.key))) for one in services]
    return held, lb_class(found.deployment)


async def _layer2(cluster: Cluster, found: Found) -> Known:
    """The nodes are asked only where there is something to ask for."""
    configuration, running = found.configuration, speakers(found.pods)
    reflexes = Reflexes()
    if configuration.l2_advertisements:
        reflexes = await ask_reflexes(cluster.api, running.pods, question="host")
    by_name = {node.name: node for node in found.nodes or ()}
    return Known(
        claims=mine(found.claims, configuration),
        reports=found.reports,
        reflexes=reflexes,
        scene=Scene(configuration, by_name, running.live if running.known else frozenset(by_name)),
        installation=cluster.installation,
    )


async def _proxy(cluster: Cluster) -> Finding:
    try:
        return checks.strict_arp(await cluster.config_map("kube-system", "kube-proxy"))
    except NotAllowed:
        return Finding(
            "kube-proxy", "warn", "not allowed to read ConfigMap kube-system/kube-proxy; strictARP is unknown"
        )


async def _installed(cluster: Cluster) -> Found | CliError:
    """What is missing is a finding here, not the end."""
    try:
        return await read(cluster)
    except Unreachable:
        raise
    except CliError as error:
        return error


def of_installation(found: Found, installation: str, now: datetime) -> Iterator[Finding]:
    leader, _, nobody = leads(found.lease, now)
    yield checks.controller(controllers(found), leader, nobody, installation)
    wanted = found.daemons.wanted if found.daemons else None
    yield checks.speakers(found.nodes, found.pods, wanted, installation)
    everything = rows(found.reports, speakers(found.pods))
    wrong = [session_words(row, now) for row in everything if row.wrong]
    yield checks.sessions(everything, len(found.configuration.peers), wrong)
    yield from checks.configuration(found.errors)
    yield checks.up_to_date(found.reports, found.configuration.sequence)
    yield checks.realtime(found.reports)
    yield from checks.said_by_speakers(found.reports)
