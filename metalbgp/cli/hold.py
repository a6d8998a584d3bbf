"""`metalbgp hold ADDRESS|SERVICE`: no speaker announces it, neither by BGP nor in L2.

In:  an address of a pool, or a Service that has one. Out: a SpeakerOrder for each address.
Elsewhere: taking it back is unhold.py; what is common ordering.py.
"""

from typing import Any

import click

from metalbgp.cli import local
from metalbgp.cli.errors import Unreachable
from metalbgp.cli.options import Look, Setup, finish, run
from metalbgp.cli.ordering import What, addresses_of, give, giving, node_of, why_of
from metalbgp.cli.render import Answer
from metalbgp.model.orders import HOLD

OTHERWISE = "without it: metalbgp hold --local ADDRESS --for 1h in the speaker's pod of each node"


@click.command("hold", short_help="Announce an address, or a Service's, nowhere.")
@click.argument("target", metavar="ADDRESS|SERVICE")
@click.option("--node", default="", metavar="NODE", help="Only this node does not announce it.")
@click.option("--local", "locally", is_flag=True, help="This node's speaker alone; inside its pod.")
@giving
@click.pass_obj
def command(setup: Setup, /, target: str, node: str, locally: bool, **given: Any) -> None:
    """Announce an address, or those of a Service ([NAMESPACE/]NAME), nowhere, until `metalbgp unhold`.

    --local needs no API server: it speaks to the speaker of the node that it is run on, inside its pod.
    """
    why = why_of(given)
    if locally:
        if node:
            raise click.UsageError("--local is for the node that it is run on: leave --node out")
        finish(setup, given, lambda: local.hold(target, why, setup.clock()))

    async def answer(look: Look) -> Answer:
        try:
            addresses = await addresses_of(look.cluster, target)
        except Unreachable as error:
            raise Unreachable(f"{error}; {OTHERWISE}") from error
        where = await node_of(look.cluster, node) if node else ""
        return await give(look, What(HOLD, addresses, where), why)

    run(setup, given, answer)
