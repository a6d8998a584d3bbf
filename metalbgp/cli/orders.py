"""`metalbgp orders`: what people ordered the speakers not to do, who obeys, and until when.

In:  SpeakerOrders, NodeStates, Pods. Out: one row an order, those of single nodes' sockets among them.
     Exit code 1: a speaker that is ready does not obey one that is in force.
Elsewhere: giving one is hold, shut, drain; what they mean is docs/orders.md.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from msgspec import Struct
from msgspec.structs import replace

from metalbgp.cli.access import together
from metalbgp.cli.ages import age, ago, seconds_since
from metalbgp.cli.obeying import order_of
from metalbgp.cli.options import Look, Setup, common, run
from metalbgp.cli.render import Answer, Table, listed
from metalbgp.model.configuration import Configuration
from metalbgp.model.orders import DRAIN, Order
from metalbgp.model.report import NodeReport

COLUMNS = ("ORDER", "TARGET", "NODE", "BY", "AGE", "UNTIL", "OBEYED", "REASON")
HEARD = 10.0  # seconds in which a speaker hears of an order and says so


class OrderRow(Struct, frozen=True):
    name: str
    action: str
    target: str
    node: str  # "": every node
    author: str
    reason: str
    created: str
    expires: str
    local: bool
    over: bool
    obeyed_by: tuple[str, ...]
    missing: tuple[str, ...] = ()  # nodes whose speaker is ready and does not say so
    problem: bool = False
    absent: str = ""  # why nobody has anything to obey: what it names is not there


@click.command("orders", short_help="What is held, shut and drained: by whom, why, until when.")
@common
@click.pass_obj
def command(setup: Setup, /, **given: Any) -> None:
    """What is held, shut and drained: by whom, why, until when, and which speakers obey."""
    run(setup, given, answer)


async def answer(look: Look) -> Answer:
    cluster, wish = look.cluster, look.wish
    known, reports, speakers, configuration = await together(
        cluster.orders(), cluster.reports(), cluster.speakers(), cluster.configuration()
    )
    nodes = {report.node for report in reports}
    wish.check(nodes, {one.peer for one in known if one.peer})
    live = speakers.live if speakers.known else frozenset(nodes)
    ready = {report.node: report for report in reports if report.node in live}
    now = look.now()
    rows = (replace(row_of(one, ready, now), absent=missed(one, nodes, configuration)) for one in known)
    found = [*rows, *local_rows(reports, now)]
    shown = [
        row
        for row in sorted(found, key=lambda row: (row.over, row.action, row.target, row.node))
        if (not wish.nodes or row.node in wish.nodes or (row.action == DRAIN and row.target in wish.nodes))
        and (not wish.peers or row.target in wish.peers)
        and (not wish.problems or row.problem)
    ]
    return Answer(
        kind="OrderList",
        items=tuple(shown),
        names=tuple(row.name for row in shown),
        table=Table(COLUMNS, tuple(cells(row, now) for row in shown)),
        empty="every order is obeyed" if wish.problems and found else "nothing is held, shut or drained",
        notes=cluster.notes,
        problems=sum(row.problem for row in shown),
    )


def row_of(one: Order, ready: Mapping[str, NodeReport], now: datetime) -> OrderRow:
    """`ready`: reports of the speakers that are."""
    where = {one.node} if one.node else set(ready)
    by = {name for name, report in ready.items() if any(each.name == one.name for each in report.orders)}
    over = one.until <= now.timestamp()
    cut = {name for name, report in ready.items() if report.orders_total > len(report.orders)}
    missing = set() if over else where & ready.keys() - by - cut
    young = (seconds_since(one.created, now) or 0.0) < HEARD
    return OrderRow(
        name=one.name,
        action=one.action,
        target=one.target,
        node="" if one.action == DRAIN else one.node,
        author=one.author,
        reason=one.reason,
        created=one.created,
        expires=one.expires,
        local=False,
        over=over,
        obeyed_by=tuple(sorted(by)),
        missing=tuple(sorted(missing)),
        problem=bool(missing) and not young,
    )


def missed(one: Order, nodes: Collection[str], configuration: Configuration) -> str:
    """An order that was written by hand may name what is not there; the verbs give no such one."""
    if one.node and one.node not in nodes:
        return f"no speaker ever reported from {one.node}"
    if one.peer and one.peer not in {peer.name for peer in configuration.peers}:
        return f"there is no peer {one.peer}"
    if one.address and configuration.pool_of(one.address) is None:
        return f"{one.address} is in no pool"
    return ""


def local_rows(reports: Sequence[NodeReport], now: datetime) -> Sequence[OrderRow]:
    return [
        OrderRow(
            name=one.name,
            action=one.action,
            target=one.target,
            node=report.node,
            author=one.author,
            reason=one.reason,
            created=one.created,
            expires=one.expires,
            local=True,
            over=order_of(one).until <= now.timestamp(),
            obeyed_by=(report.node,),
        )
        for report in reports
        for one in report.orders
        if one.local
    ]


def cells(row: OrderRow, now: datetime) -> tuple[str, ...]:
    return (
        row.action,
        row.target,
        row.node or ("-" if row.action == DRAIN else "every"),
        row.author or "-",
        age(row.created, now) or "-",
        row.expires or "-",
        obeyed_words(row, now),
        row.reason or "-",
    )


def obeyed_words(row: OrderRow, now: datetime) -> str:
    if row.local:
        return "over" if row.over else "by its socket"
    if row.over:
        return f"over, {ago(row.expires, now)}"
    count = f"{len(row.obeyed_by)}/{len(row.obeyed_by) + len(row.missing)}"
    if row.absent:
        return f"{count}, {row.absent}"
    return f"{count}, not by {listed(row.missing, 3)}" if row.missing else count
