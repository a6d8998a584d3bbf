"""`metalbgp unshut PEER`: its sessions come back, and its routes with them."""

from typing import Any

import click

from metalbgp.cli.options import Look, Setup, run
from metalbgp.cli.ordering import What, take_back, taking
from metalbgp.cli.render import Answer
from metalbgp.model.orders import SHUT


@click.command("unshut", short_help="Take a shut back.")
@click.argument("peer", metavar="PEER")
@click.option("--node", default="", metavar="NODE", help="The shut that is for this node alone.")
@taking
@click.pass_obj
def command(setup: Setup, /, peer: str, node: str, **given: Any) -> None:
    """Bring the sessions of a peer back."""

    async def answer(look: Look) -> Answer:
        configuration = await look.cluster.configuration()
        names = {one.key: one.name for one in configuration.peers}
        return await take_back(look, What(SHUT, (names.get(peer, peer),), node))

    run(setup, given, answer)
