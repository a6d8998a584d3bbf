"""`metalbgp shut PEER`: its sessions are down; the routes go first.

In:  a BGPPeer, by name or address. Out: a SpeakerOrder.
Elsewhere: taking it back is unshut.py; what is common ordering.py; how a session ends bgp/reload.py.
"""

from typing import Any

import click

from metalbgp.cli.options import Look, Setup, run
from metalbgp.cli.ordering import What, give, giving, node_of, peer_of, why_of
from metalbgp.cli.render import Answer
from metalbgp.model.orders import SHUT


@click.command("shut", short_help="Take the sessions to a peer down.")
@click.argument("peer", metavar="PEER")
@click.option("--node", default="", metavar="NODE", help="Only the session of this node.")
@giving
@click.pass_obj
def command(setup: Setup, /, peer: str, node: str, **given: Any) -> None:
    """Withdraw what a peer was told and end its sessions, until `metalbgp unshut`."""
    why = why_of(given)

    async def answer(look: Look) -> Answer:
        name = await peer_of(look.cluster, peer)
        where = await node_of(look.cluster, node) if node else ""
        return await give(look, What(SHUT, (name,), where), why)

    run(setup, given, answer)
