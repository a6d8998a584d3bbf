"""`metalbgp sessions`: which BGP sessions are up, and what is wrong with those that are not.

In:  the NodeStates that speakers write; their Pods and the Nodes, to know who should have written one.
Out: one row a session; a node without an answer is a row as well.
Elsewhere: what a speaker reports is speaker/record.py; routes one by one are routes.py; the layout of
     --as-frr is frr_summary.py.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import click
from msgspec import Struct

from metalbgp.cli.access import Speakers, together
from metalbgp.cli.ages import age, ago, seconds_since
from metalbgp.cli.changes import SHUT, UP
from metalbgp.cli.frr_summary import Block, summary
from metalbgp.cli.options import Look, Setup, common, run
from metalbgp.cli.render import Answer, Table, many
from metalbgp.model.report import QUIET, NodeReport, SessionReport

COLUMNS = (
    "NODE",
    "PEER",
    "ADDRESS",
    "AS",
    "STATE",
    "SINCE",
    "FAMILIES",
    "ROUTES",
    "BFD",
    "GR",
    "PORT",
    "MY AS",
    "HOLD",
    "FLAPS",
    "CAPABILITIES",
    "LAST ERROR",
)
WIDE = ("PORT", "MY AS", "HOLD", "FLAPS", "CAPABILITIES")
SILENT = "silent"
UP_PATH = "Up"  # as BFD calls it


class Row(Struct, frozen=True):
    """One session; `session` None: the node itself does not answer, `silent` says why."""

    node: str
    session: SessionReport | None = None
    silent: str = ""
    stale: str = ""  # RFC 3339: the speaker is away and this is what it said last
    reported: str = ""  # RFC 3339: when it was said; "": by a version that speaks on changes alone
    unheard: str = ""  # RFC 3339: since then it has not heard the API server, and announces what it knew

    @property
    def wrong(self) -> bool:
        one = self.session
        if one is None or self.stale or one.state not in (UP, SHUT) or one.bfd not in ("", UP_PATH):
            return True
        return one.state == UP and bool(one.last_error)  # an older version of the peer runs

    @property
    def behind(self) -> int:
        return self.session.routes_wanted - self.session.routes_confirmed if self.session else 0


@click.command("sessions", short_help="BGP sessions: state, routes, last error.")
@common
@click.option("--as-frr", is_flag=True, help="In the layout of FRR's show bgp summary, a block a node.")
@click.pass_obj
def command(setup: Setup, /, as_frr: bool, **given: Any) -> None:
    """Which BGP sessions are up, and what is wrong with those that are not.

    --as-frr shows a dash for what only FRR counts (messages, queues); -o json stays as it is.
    """

    async def answer(look: Look) -> Answer:
        return await sessions_answer(look, as_frr=as_frr)

    run(setup, given, answer)


async def sessions_answer(look: Look, *, as_frr: bool = False) -> Answer:
    cluster, wish = look.cluster, look.wish
    reports, speakers = await together(cluster.reports(), cluster.speakers())
    everything = rows(reports, speakers)
    names = {row.session.peer for row in everything if row.session}
    addresses = {row.session.address for row in everything if row.session}
    wish.check({row.node for row in everything}, names, addresses)
    shown = tuple(
        row
        for row in everything
        if wish.node(row.node)
        and (wish.peer(row.session.peer, row.session.address) if row.session else not wish.peers)
    )
    wrong = [row for row in shown if row.wrong]
    if wish.problems:
        shown = tuple(wrong)
    drawn = as_frr and bool(shown)
    return Answer(
        kind="SessionList",
        items=shown,
        names=tuple(f"{row.node}/{row.session.peer}" if row.session else row.node for row in shown),
        table=None if drawn else Table(COLUMNS, tuple(cells(row, look.now()) for row in shown), WIDE),
        lines=tuple(summary(blocks(shown, look.now()), look.now())) if drawn else (),
        empty="every session is established" if wish.problems and everything else no_sessions(reports),
        notes=cluster.notes,
        problems=len(wrong) or int(not everything and not reports),
    )


def no_sessions(reports: Sequence[NodeReport]) -> str:
    if not reports:
        return "no speaker has reported yet; more: metalbgp doctor"
    return "no session: no BGPPeer selects a node that runs a speaker"


def rows(reports: Sequence[NodeReport], speakers: Speakers) -> list[Row]:
    return list(_rows(reports, speakers))


def _rows(reports: Sequence[NodeReport], speakers: Speakers) -> Iterator[Row]:
    pods = {pod.node: pod for pod in speakers.pods if pod.node}
    by_node = {report.node: report for report in reports}
    for node in sorted(by_node.keys() | pods.keys()):
        report, pod = by_node.get(node), pods.get(node)
        if report is None:
            state = "has not reported yet" if pod and pod.ready else "is not ready and has never reported"
            yield Row(node, silent=f"speaker {pod.name if pod else ''} {state}")
            continue
        gone = speakers.known and node not in speakers.live
        if gone and pod is None:
            yield Row(node, silent="no speaker runs here", stale=report.updated)
            continue
        for session in report.sessions:
            yield Row(
                node,
                session,
                stale=report.updated if gone else "",
                reported=report.updated if report.heard else "",
                unheard=report.heard if report.from_snapshot else "",
            )
        if gone and not report.sessions:
            yield Row(node, silent=f"speaker {pod.name if pod else ''} is not ready", stale=report.updated)


def blocks(shown: Sequence[Row], now: datetime) -> Iterator[Block]:
    """A node's rows together; they stand together already."""
    for node, group in groupby(shown, key=lambda row: row.node):
        found = tuple(group)
        silent = "; ".join(row.silent for row in found if row.silent)
        stale = next((row.stale for row in found if row.stale), "")
        as_of = f"as of {ago(stale, now)}" if stale else ""
        if as_of and not silent:
            as_of += ": the speaker is not ready"
        sessions = tuple(row.session for row in found if row.session)
        yield Block(node, sessions, ", ".join(part for part in (silent, as_of) if part))


def cells(row: Row, now: datetime) -> tuple[str, ...]:
    as_of = f"as of {ago(row.stale, now)}: the speaker is not ready" if row.stale else ""
    if row.session is None:
        said = f"{row.silent}, last heard {ago(row.stale, now)}" if row.stale else row.silent
        return (row.node, *["-"] * 3, SILENT, *["-"] * (len(COLUMNS) - 6), said)
    one = row.session
    up = one.state == UP
    return (
        row.node,
        one.peer,
        one.address,
        str(one.peer_asn or "-"),
        one.state,
        age(one.since, now) or "-",
        families(one),
        f"{one.routes_confirmed}/{one.routes_wanted}",
        one.bfd or "-",
        ("yes" if one.graceful_restart else "no") if up else "-",
        str(one.port),
        str(one.my_asn),
        f"{one.hold_time} s" if one.hold_time else "-",
        str(one.flaps),
        " ".join(one.capabilities) or "-",
        ", ".join(part for part in (trouble(one) or ended(one, now), as_of or view(row, now)) if part)
        + (f"; BFD: {one.bfd_why}" if one.bfd_why and up else "")
        + (f"; {many(one.held, 'withdrawal')} held back: metalbgp release {one.peer}" if one.held else "")
        + (f"; {many(one.beyond, 'route')} beyond metalbgp.io/max-routes" if one.beyond else "")
        + (f"; remedy: {one.remedy}" if one.remedy and (one.last_error or not up) else ""),
    )


def ended(session: SessionReport, now: datetime) -> str:
    """Of a session that is up again: when and why it was not."""
    return f"ended {ago(session.ended, now)}: {session.ended_why or 'unknown'}" if session.ended else ""


def view(row: Row, now: datetime) -> str:
    """What is to be thought of a row whose speaker may not know what is wanted now."""
    if row.unheard:
        return f"announces what it knew {ago(row.unheard, now)}: it does not hear the API server"
    quiet = seconds_since(row.reported, now)
    return f"as of {ago(row.reported, now)}: not heard of since" if quiet and quiet > QUIET else ""


def families(session: SessionReport) -> str:
    return " ".join(name.replace("ipv", "v") for name in session.families) or "-"


def trouble(session: SessionReport) -> str:
    tries = f"{session.tries} tries" if session.tries > 1 else ""
    return ", ".join(part for part in (session.last_error, tries) if part)
