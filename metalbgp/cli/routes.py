"""`metalbgp routes`: every prefix, to whom it goes from where, with what, and whether the wire has it.

In:  the rows of route_rows.py. Out: the table; exit code 1 unless every route is confirmed.
Elsewhere: what is not announced, and why (--not-sent) is not_sent.py; asking the speakers is wire.py.
"""

from datetime import datetime
from typing import Any

import click

from metalbgp.cli.ages import age
from metalbgp.cli.not_sent import not_sent_answer
from metalbgp.cli.options import Look, Setup, Wish, common, run
from metalbgp.cli.render import Answer, Table
from metalbgp.cli.route_rows import RouteRow, Scene, read, rows

COLUMNS = (
    "PREFIX",
    "SERVICE",
    "NODE",
    "PEER",
    "NEXT HOP",
    "COMMUNITIES",
    "LARGE",
    "LP",
    "MED",
    "ADVERTISEMENT",
    "STATE",
    "SINCE",
    "",
)
WIDE = ("LARGE", "MED", "ADVERTISEMENT")


@click.command("routes", short_help="Announced prefixes: to whom, with what, confirmed or not.")
@common
@click.option("--not-sent", is_flag=True, help="What is not announced, and why.")
@click.option("--no-wire", is_flag=True, help="Do not ask the speakers; show what they reported.")
@click.pass_obj
def command(setup: Setup, /, not_sent: bool, no_wire: bool, **given: Any) -> None:
    """Every announced prefix: node, peer, attributes, and whether the wire confirmed it.

    Shows the Services of every namespace unless -n is given. --peer P is the adj-rib-out of that peer.
    """

    async def answer(look: Look) -> Answer:
        scene = await read(look.cluster, wire=not (no_wire or not_sent), wish=look.wish)
        return (not_sent_answer if not_sent else routes_answer)(look, scene)

    run(setup, given, answer)


def routes_answer(look: Look, scene: Scene) -> Answer:
    wish, now = look.wish, look.now()
    found = [row for row in rows(scene, wish.node, now) if asked_for(row, scene, wish)]
    wrong = [row for row in found if row.wrong]
    shown = tuple(wrong if wish.problems else found)
    return Answer(
        kind="RouteList",
        items=shown,
        names=tuple(f"{row.node}/{row.peer}/{row.prefix}" for row in shown if row.prefix),
        table=Table(COLUMNS, tuple(cells(row, now) for row in shown), WIDE),
        empty="every route is confirmed" if wish.problems and found else _nothing(scene),
        lines=_l2_lines(scene, wish),
        notes=look.cluster.notes,
        problems=len(wrong),
    )


def asked_for(row: RouteRow, scene: Scene, wish: Wish) -> bool:
    """A node that does not answer may hide what was asked for: its row always stays."""
    if not row.prefix:
        return True
    address = next((peer.key for peer in scene.configuration.peers if peer.name == row.peer), row.peer)
    in_namespace = not wish.namespace or any(key.startswith(f"{wish.namespace}/") for key in row.services)
    return in_namespace and wish.peer(row.peer, address)


def _nothing(scene: Scene) -> str:
    if not scene.configuration.peers:
        return "no route: there is no BGPPeer"
    return "no route is wanted; why: metalbgp routes --not-sent"


def _l2_lines(scene: Scene, wish: Wish) -> tuple[str, ...]:
    """Addresses that are answered for in L2 have no route; who misses them here is told where they are."""
    duties = sum(report.duties_total for report in scene.reports if wish.node(report.node))
    if not duties or wish.peers or wish.problems:
        return ()
    verb = "address is" if duties == 1 else "addresses are"
    return (f"{duties:,} {verb} answered for in L2 (ARP, NDP); which: metalbgp services",)


def cells(row: RouteRow, now: datetime) -> tuple[str, ...]:
    return (
        row.prefix or "-",
        ",".join(row.services) or "-",
        row.node,
        row.peer or "-",
        row.next_hop or "-",
        " ".join((*row.communities, *row.extended_communities)) or "-",
        " ".join(row.large_communities) or "-",
        _dash(row.local_preference),
        _dash(row.med),
        ",".join(row.advertisements) or "-",
        row.state,
        age(row.since, now) or "-",
        row.why,
    )


def _dash(number: int | None) -> str:
    return "-" if number is None else str(number)
