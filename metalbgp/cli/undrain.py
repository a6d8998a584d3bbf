"""`metalbgp undrain NODE`: it announces again as everything else says, at once."""

from typing import Any

import click

from metalbgp.cli.options import Look, Setup, run
from metalbgp.cli.ordering import What, take_back, taking
from metalbgp.cli.render import Answer
from metalbgp.model.orders import DRAIN


@click.command("undrain", short_help="Take a drain back.")
@click.argument("node", metavar="NODE")
@taking
@click.pass_obj
def command(setup: Setup, /, node: str, **given: Any) -> None:
    """Let a node announce again. A cordon, a taint or a shutdown that an advertisement minds still counts."""

    async def answer(look: Look) -> Answer:
        return await take_back(look, What(DRAIN, (node,)))

    run(setup, given, answer)
