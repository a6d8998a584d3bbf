"""`metalbgp drain NODE`: its routes become less preferred, then go where others announce; sessions are kept.

In:  a node. Out: a SpeakerOrder.
Elsewhere: taking it back is undrain.py; what is common ordering.py; what a speaker does docs/drain.md.
"""

from typing import Any

import click

from metalbgp.cli.options import Look, Setup, run
from metalbgp.cli.ordering import What, give, giving, node_of, why_of
from metalbgp.cli.render import Answer
from metalbgp.model.orders import DRAIN


@click.command("drain", short_help="Lead traffic away from a node.")
@click.argument("node", metavar="NODE")
@giving
@click.pass_obj
def command(setup: Setup, /, node: str, **given: Any) -> None:
    """Lead traffic away from a node, until `metalbgp undrain`.

    What it announces becomes less preferred, and after a delay goes where another node announces it. Its
    sessions are kept, and its Pods stay where they are.
    """
    why = why_of(given)

    async def answer(look: Look) -> Answer:
        return await give(look, What(DRAIN, (await node_of(look.cluster, node),)), why)

    run(setup, given, answer)
