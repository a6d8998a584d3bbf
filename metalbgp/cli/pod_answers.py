"""Commands in the speakers' pods, many nodes at once, none of which can hold up the others.

In:  Pods, the command for each. Out: what each wrote, or why it did not answer; the right may be missing.
Elsewhere: what routes are is wire.py, what L2 is reflexes.py.

A node that is slow or dead delays nothing: each has LIMIT seconds, AT_ONCE are asked at a time.
"""

import asyncio
from collections.abc import Iterable, Sequence

from msgspec import Struct

from metalbgp.cli.api import Api
from metalbgp.cli.errors import CliError, NotAllowed
from metalbgp.cli.pods import Pod

AT_ONCE = 16
LIMIT = 5.0  # seconds a node may take


class PodAnswer(Struct, frozen=True):
    node: str
    text: str = ""
    silent: str = ""  # why there is no answer; "": it answered


async def ask_pods(
    api: Api, questions: Iterable[tuple[Pod, Sequence[str]]], limit: float = LIMIT
) -> tuple[PodAnswer, ...] | None:
    """In order of nodes. None: the first refusal ends it, for the right is the same everywhere."""
    turn = asyncio.Semaphore(AT_ONCE)
    tasks = [
        asyncio.create_task(_ask(api, pod, command, turn, limit)) for pod, command in questions if pod.node
    ]
    try:
        return tuple(sorted(await asyncio.gather(*tasks), key=lambda one: one.node))
    except NotAllowed:
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(
    api: Api, pod: Pod, command: Sequence[str], turn: asyncio.Semaphore, limit: float
) -> PodAnswer:
    if not pod.running:
        return PodAnswer(pod.node, silent=f"speaker {pod.name} is {pod.phase or 'not running'}")
    async with turn:
        try:
            async with asyncio.timeout(limit):
                text = await api.execute(pod.namespace, pod.name, pod.container, command)
            return PodAnswer(pod.node, text)
        except TimeoutError:
            return PodAnswer(pod.node, silent=f"no answer within {limit:g} s")
        except NotAllowed:
            raise
        except CliError as error:
            return PodAnswer(pod.node, silent=f"no answer: {error}")
