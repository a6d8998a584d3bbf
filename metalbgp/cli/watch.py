"""`metalbgp watch`: sessions and routes as they change, one line a change, until Ctrl-C.

In:  a Kubernetes watch of the NodeStates that speakers write, at most every 5 s each.
Out: a line that says where things stand, then a line a change; with -o json one object a line. Exit code 0.
Elsewhere: the lines are watch_screen.py; what a change is, node_changes.py and route_changes.py; the names of
     routes, wanted.py; connections are following.py, and what is done when they break, cluster/reflector.py.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click
from msgspec import Raw
from msgspec.structs import replace

from metalbgp import logs
from metalbgp.cli.access import Cluster, configuration_of, together
from metalbgp.cli.api import Api
from metalbgp.cli.errors import NotAllowed
from metalbgp.cli.following import Follower
from metalbgp.cli.options import ONLY_NODES, ONLY_PEERS, Setup, Wish, connection_options, guard, wish_of
from metalbgp.cli.wanted import Wanted
from metalbgp.cli.watch_screen import Screen
from metalbgp.cluster import decode
from metalbgp.cluster.reflector import Changed, Event, Removed, Synced
from metalbgp.cluster.resources import NODE_STATES, NODES, SPEAKER_CONFIGURATIONS, VIRTUAL_IPS
from metalbgp.config import compiled, nodestate, virtualip
from metalbgp.model.configuration import Configuration
from metalbgp.model.orders import RELEASE, SHUT
from metalbgp.model.report import NodeReport
from metalbgp.model.services import Node
from metalbgp.model.virtualips import VirtualIP

LINGER = 0.2  # seconds: what names a route was written before its report, and comes by another connection
AGAIN = 10.0  # seconds until a list that lacks most nodes is asked for once more, and then believed


@click.command("watch", short_help="Sessions and routes as they change, one line a change.")
@ONLY_PEERS
@ONLY_NODES
@click.option(
    "-o",
    "--output",
    type=click.Choice(("table", "json")),
    default="table",
    show_default=True,
    help="json: one object a line.",
)
@connection_options
@click.pass_obj
def command(setup: Setup, /, **given: Any) -> None:
    """Sessions and routes as they change, one line a change, until Ctrl-C.

    The first line says where things stand. Nothing is polled: speakers report a change within 0.3 s, and at
    most every 5 s; what came and went between two reports is not seen.
    """
    setup.debug = setup.debug or bool(given.get("debug"))
    guard(setup, lambda: asyncio.run(_watch(setup, wish_of(setup, given))))


async def _watch(setup: Setup, wish: Wish) -> int:
    logs.setup("metalbgp", "none")  # what breaks and heals is told in lines of our own
    link = await setup.connect(wish.connection)
    try:
        # Once in the way of every verb: what is missing ends it with the words that others use.
        reports = await Cluster(link, wish.connection).reports()
        sessions = [one for report in reports for one in report.sessions]
        wish.check(
            (report.node for report in reports),
            (one.peer for one in sessions),
            (one.address for one in sessions),
        )
        wanted = Wanted()
        screen = Screen(wish, setup.clock, wanted.named)
        later = Later()

        def begin(reports: Sequence[NodeReport]) -> None:
            wanted.begin(reports)
            screen.begin(reports)

        def heard(event: Event[NodeReport]) -> None:
            if isinstance(event, Synced) and event.first:
                later.do(partial(begin, tuple(states.view.values.values())))
            later.do(partial(screen.heard, event))

        states = Follower(
            link,
            NODE_STATES,
            lambda raw: narrowed(nodestate.decode(raw), wish),
            heard,
            namespace=wish.connection.installation,
            lost=lambda why: later.do(partial(screen.lost, why)),
            hold_back_delay=AGAIN,
        )
        naming = await _names(link, wish, wanted)
        await together(states.run(), later.run(), *naming)
    finally:
        await link.close()
    return 0


class Later:
    """Does things in the order that they were given, each LINGER after that."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[float, Callable[[], None]]] = asyncio.Queue()

    def do(self, action: Callable[[], None]) -> None:
        self._waiting.put_nowait((asyncio.get_running_loop().time() + LINGER, action))

    async def run(self) -> None:
        while True:
            due, action = await self._waiting.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            action()


async def _names(link: Api, wish: Wish, wanted: Wanted) -> list[asyncio.Task[Any]]:
    """What names routes: followed from before the first line. Without the rights they are counted only."""
    place = wish.connection.installation

    def configured(event: Event[Configuration]) -> None:
        if isinstance(event, Changed | Removed | Synced):
            wanted.configure(configuration_of(place, configurations.view.values.values()))

    def node(event: Event[Node]) -> None:
        if isinstance(event, Changed):
            wanted.set_node(event.new.name, event.new)
        elif isinstance(event, Removed) and event.old is not None:
            wanted.set_node(event.old.name, None)

    def claim(event: Event[VirtualIP]) -> None:
        if isinstance(event, Changed):
            wanted.set_vip(event.new.address, event.new)
        elif isinstance(event, Removed) and event.old is not None:
            wanted.set_vip(event.old.address, None)

    def asked(raw: Raw) -> Node | None:
        found = decode.node(raw)
        return found if wish.node(found.name) else None

    configurations = Follower(link, SPEAKER_CONFIGURATIONS, compiled.decode, configured, namespace=place)
    nodes = Follower(link, NODES, asked, node)
    claims = Follower(link, VIRTUAL_IPS, virtualip.decode, claim)
    running = asyncio.create_task(together(configurations.run(), nodes.run(), claims.run()))
    known = asyncio.create_task(
        together(*(one.wait_synced() for one in (configurations.view, nodes.view, claims.view)))
    )
    try:
        await asyncio.wait({running, known}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        known.cancel()
    if running.done() and isinstance(error := running.exception(), NotAllowed):
        print(f"note: {error}; until then routes are counted, not named", file=sys.stderr)
        return []
    return [running]


def narrowed(report: NodeReport, wish: Wish) -> NodeReport | None:
    """What --node and --peer leave of it."""
    if not wish.node(report.node):
        return None
    sessions = tuple(one for one in report.sessions if wish.peer(one.peer, one.address))
    peers = {one.peer for one in sessions}
    rows = tuple(row for row in report.unconfirmed if row.peer in peers)
    others = {one.peer for one in report.sessions} - peers
    orders = tuple(
        one for one in report.orders if one.action not in (SHUT, RELEASE) or one.target not in others
    )
    return replace(report, sessions=sessions, unconfirmed=rows, orders=orders)
