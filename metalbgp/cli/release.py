"""`metalbgp release PEER`: withdrawals that its limit holds back go, and for some minutes all others.

In:  a BGPPeer, by name or address. Out: a SpeakerOrder that ends by itself, or (--end) none any more.
Elsewhere: the limit is metalbgp.io/withdraw-limit (docs/bgp.md), who holds back is speaker/guard.py.
"""

from typing import Any

import click
from msgspec.structs import replace

from metalbgp.cli.options import Look, Setup, run
from metalbgp.cli.ordering import What, give, giving, node_of, peer_of, take_back, why_of
from metalbgp.cli.render import Answer
from metalbgp.model.orders import RELEASE

LASTS = "10m"  # what follows from the same change comes meanwhile; then the limit is in force again


@click.command("release", short_help="Let withdrawals go that a limit holds back.")
@click.argument("peer", metavar="PEER")
@click.option("--node", default="", metavar="NODE", help="Only those of this node.")
@click.option("--end", is_flag=True, help="The limit is in force again, before the time is over.")
@giving
@click.pass_obj
def command(setup: Setup, /, peer: str, node: str, end: bool, **given: Any) -> None:
    """Let withdrawals go that metalbgp.io/withdraw-limit holds back; others may follow for 10m (--for)."""
    why = why_of(given)

    async def answer(look: Look) -> Answer:
        name = await peer_of(look.cluster, peer)
        where = await node_of(look.cluster, node) if node else ""
        what = What(RELEASE, (name,), where)
        if end:
            return await take_back(look, what)
        made = await give(look, what, replace(why, lasts=why.lasts or LASTS))
        configuration = await look.cluster.configuration()
        if any(peer.name == name and not peer.withdraw_limit for peer in configuration.peers):
            note = f"{name} has no metalbgp.io/withdraw-limit, so nothing is held back"
            return replace(made, notes=(*made.notes, note))
        return made

    run(setup, given, answer)
