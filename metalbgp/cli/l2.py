"""`metalbgp l2`: who answers ARP and NDP for each address, who stands by, and why; or one of them in detail.

In:  VirtualIPs, NodeStates, and the reflexes of all nodes, asked through pods/exec.
Out: one row an address, a line for each node that is not as it should be. Exit code 1: two answer, nobody
     does, a stranger does, or a node cannot own what it should.
Elsewhere: judging is l2_rows.py; one address in full l2_screen.py; asking the wire itself l2_probe.py.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from metalbgp.cli import judge, l2_screen
from metalbgp.cli.access import Speakers, together
from metalbgp.cli.ages import age
from metalbgp.cli.errors import Usage, no_such
from metalbgp.cli.explain import split
from metalbgp.cli.explain_address import address_of
from metalbgp.cli.l2_probe import probe_answer
from metalbgp.cli.l2_rows import Candidate, Known, L2Node, L2Row, Layer2, in_l2, layer2
from metalbgp.cli.options import Look, Setup, Wish, common, run
from metalbgp.cli.reflexes import Reflexes, ask_reflexes
from metalbgp.cli.render import Answer, Table, listed
from metalbgp.model.report import NodeReport
from metalbgp.model.services import Node
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.scene import Scene

AGAIN = 0.5  # seconds until a second look: a takeover in the middle of the first is no problem
COLUMNS = (
    "ADDRESS",
    "SERVICE",
    "OWNER",
    "CANDIDATES",
    "SINCE",
    "TOOK",
    "ANSWERS",
    "INTERFACES",
    "QUESTIONS",
    "ANNOUNCED",
    "CAUSE",
    "PROBLEM",
)
WIDE = ("INTERFACES", "QUESTIONS", "ANNOUNCED")


@click.command("l2", short_help="L2: who answers for each address, who stands by; probe asks the wire.")
@click.argument("what", nargs=-1, metavar="[ADDRESS | [NAMESPACE/]SERVICE | probe ADDRESS]")
@common
@click.pass_obj
def command(setup: Setup, /, what: tuple[str, ...], **given: Any) -> None:
    """Who answers ARP and NDP for each address, since when, and who stands by.

    With an ADDRESS or a SERVICE: that one in detail, with the reason for each candidate's place.

    `probe ADDRESS` asks on the wire, from the nodes that may own it: who answers, and do two?
    """

    async def answer(look: Look) -> Answer:
        match what:
            case ():
                return await list_answer(look)
            case ("probe", address):
                return await probe_answer(look, address)
            case ("probe",):
                raise Usage(
                    "probe which address? metalbgp l2 probe ADDRESS (a Service of that name: NAMESPACE/probe)"
                )
            case (one,):
                return await detail_answer(look, one)
        raise Usage(f"one address or one Service at a time, not {len(what)}")

    run(setup, given, answer)


# ------------------------------------------------------------------ reading


async def known(look: Look, addresses: Sequence[str] | None = None) -> Known:
    """`addresses`: only these are asked for, None: all."""
    cluster = look.cluster

    async def ask() -> tuple[Speakers, Reflexes]:
        speakers = await cluster.speakers()
        found = await ask_reflexes(cluster.api, speakers.pods, *(addresses or ()))
        return speakers, found

    claims, configuration, reports, nodes, (speakers, reflexes) = await together(
        cluster.claims(), cluster.configuration(), cluster.reports(), cluster.nodes(), ask()
    )
    if reflexes.note:
        cluster.note(reflexes.note)
    names = [one.node for one in reports]
    by_name = {node.name: node for node in nodes} if nodes is not None else {n: Node(name=n) for n in names}
    live = speakers.live if speakers.known else frozenset(by_name)
    check(look.wish, by_name, reports)
    return Known(
        claims=judge.mine(claims, configuration),
        reports=reports,
        reflexes=reflexes,
        scene=Scene(configuration, by_name, live),
        installation=cluster.installation,
    )


def check(wish: Wish, nodes: Any, reports: Sequence[NodeReport]) -> None:
    wish.check({*nodes, *(one.node for one in reports)}, wish.peers)


async def look_twice(look: Look, addresses: Sequence[str] | None = None) -> tuple[Known, Layer2]:
    """Nodes are not asked at the same instant: an address that moves meanwhile is seen twice, or nowhere."""
    first = await known(look, addresses)
    found = layer2(first)
    doubtful = [one.address for one in found.addresses if one.asked and one.problems]
    if not doubtful or not first.reflexes.speaking:
        return first, found
    await asyncio.sleep(AGAIN)
    second = await known(look, addresses)
    return second, layer2(second)


# ------------------------------------------------------------------ the list


async def list_answer(look: Look) -> Answer:
    wish, now = look.wish, look.now()
    scene, found = await look_twice(look)
    rows = [one for one in found.addresses if _asked_for(one, wish)]
    nodes = [one for one in found.nodes if wish.node(one.node)]
    if wish.problems:
        rows = [one for one in rows if one.problems]
        nodes = [one for one in nodes if one.problems or one.warnings]
    shown = Layer2(tuple(rows), tuple(nodes))
    return Answer(
        kind="Layer2",
        items=(shown,),
        names=tuple(one.address for one in rows),
        table=Table(COLUMNS, tuple(cells(one, now) for one in rows), WIDE),
        lines=tuple(node_lines(nodes)),
        empty="every address is answered for by one node"
        if wish.problems and found.addresses
        else _nothing(scene),
        notes=look.cluster.notes,
        problems=shown.problems,
    )


def _nothing(found: Known) -> str:
    if not found.scene.configuration.l2_advertisements:
        return "no address is answered for in L2: there is no L2Advertisement"
    return "no address is answered for in L2: no L2Advertisement selects one; why: metalbgp explain SERVICE"


def _asked_for(row: L2Row, wish: Wish) -> bool:
    there = {row.owner, *row.owners, *(one.node for one in row.candidates)}
    return (not wish.nodes or any(wish.node(one) for one in there if one)) and (
        not wish.namespace or any(key.startswith(f"{wish.namespace}/") for key in row.services)
    )


def cells(row: L2Row, now: datetime) -> tuple[str, ...]:
    return (
        row.address,
        ",".join(row.services) or "-",
        owner_words(row),
        candidate_words(row.candidates),
        age(row.since, now) or "-",
        took_words(row),
        f"{row.replies:,}" if row.asked and row.owner else "-",
        ",".join(row.interfaces) or "-",
        f"{row.requests:,}" if row.asked and row.owner else "-",
        f"{row.gratuitous:,}" if row.asked and row.owner else "-",
        row.cause or "-",
        "; ".join(row.problems),
    )


def owner_words(row: L2Row) -> str:
    """Where nobody could be asked and no report names it, only the order is known."""
    if len(row.owners) > 1:
        return ",".join(row.owners)
    if row.owner or row.asked or not row.candidates:
        return row.owner or "nobody"
    return f"{row.candidates[0].node} is first"


def candidate_words(candidates: Sequence[Candidate]) -> str:
    said = [f"{one.node} {one.state}" if one.state != "unknown" else one.node for one in candidates]
    return ", ".join(said) or "-"


def took_words(row: L2Row) -> str:
    return f"{row.took:.2f} s" if row.took is not None else "-"


def node_lines(nodes: Sequence[L2Node]) -> list[str]:
    """Only what is not as it should be; the word in front is the doctor's."""
    said: list[str] = []
    for one in nodes:
        said += [f"bad   {one.node}: {text}" for text in one.problems]
        if one.problems and one.remedy:
            said.append(f"      {one.node}: remedy: {one.remedy}")
        said += [f"warn  {one.node}: {text}" for text in one.warnings]
    return said


# ------------------------------------------------------------------ one of them


async def detail_answer(look: Look, what: str) -> Answer:
    address = address_of(what)
    service = "" if address else "/".join(split(what, look.wish.namespace or look.cluster.api.namespace))
    claims = judge.mine(*await together(look.cluster.claims(), look.cluster.configuration()))
    mine = [vip for vip in claims if (vip.address == address if address else service in vip.holders)]
    addresses = tuple(vip.address for vip in mine) or ((address,) if address else ())
    if not addresses:
        raise no_such("Service with an address", service, {key for vip in claims for key in vip.holders})
    scene, found = await look_twice(look, addresses)
    rows = tuple(one for one in found.addresses if one.address in addresses)
    if not rows:
        raise _not_l2(addresses, mine, claims)
    involved = {one.node for row in rows for one in row.candidates} | {
        node for row in rows for node in row.owners
    }
    nodes = tuple(one for one in found.nodes if one.node in involved and look.wish.node(one.node))
    shown = Layer2(rows, nodes)
    return Answer(
        kind="Layer2",
        items=(shown,),
        names=tuple(one.address for one in rows),
        lines=tuple(l2_screen.lines(shown, look.now(), asked=bool(scene.reflexes.speaking))),
        notes=look.cluster.notes,
        problems=shown.problems,
    )


def _not_l2(addresses: Sequence[str], mine: Sequence[VirtualIP], claims: Sequence[VirtualIP]) -> Usage:
    if mine:
        more = f"metalbgp explain {sorted(mine[0].holders)[0] if mine[0].holders else mine[0].address}"
        return Usage(f"nobody is asked to answer for {listed(addresses)} in L2; why: {more}")
    return no_such("address in L2", addresses[0], {vip.address for vip in claims if in_l2(vip)})
