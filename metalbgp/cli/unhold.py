"""`metalbgp unhold ADDRESS|SERVICE`: it is announced again, where everything else allows it."""

from typing import Any

import click

from metalbgp.cli import local
from metalbgp.cli.explain_address import address_of
from metalbgp.cli.options import Look, Setup, finish, run
from metalbgp.cli.ordering import What, addresses_of, take_back, taking
from metalbgp.cli.render import Answer
from metalbgp.model.orders import HOLD


@click.command("unhold", short_help="Take a hold back.")
@click.argument("target", metavar="ADDRESS|SERVICE")
@click.option("--node", default="", metavar="NODE", help="The hold that is for this node alone.")
@click.option("--local", "locally", is_flag=True, help="The hold of this node's own socket.")
@taking
@click.pass_obj
def command(setup: Setup, /, target: str, node: str, locally: bool, **given: Any) -> None:
    """Announce it again, where everything else allows it."""
    if locally:
        finish(setup, given, lambda: local.unhold(target))

    async def answer(look: Look) -> Answer:
        # An address that left its pool meanwhile may still be held.
        address = address_of(target)
        addresses = (address,) if address else await addresses_of(look.cluster, target)
        return await take_back(look, What(HOLD, addresses, node))

    run(setup, given, answer)
