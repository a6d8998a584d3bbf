"""How the controller and the agent live and end: until SIGTERM, or until one of their tasks dies.

In:  their tasks. Out: why it ended; everything closed in the order given; a task's own error at last.
"""

import asyncio
import signal
from collections.abc import Sequence
from typing import Protocol

from metalbgp import logs

Task = asyncio.Task[None]


class Server(Protocol):
    async def cleanup(self) -> None: ...


class Connection(Protocol):
    async def close(self) -> None: ...


async def lived(tasks: Sequence[Task]) -> bool:
    """Wait for SIGTERM or SIGINT (True), or for the first task to end by itself (False: it died)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    return stop.is_set()


async def finish(*groups: Sequence[Task], servers: Sequence[Server], client: Connection) -> None:
    """Cancel one group after the other, stop serving, close the client. Raises what a task died of."""
    died = [task for group in groups for task in group if task.done() and not task.cancelled()]
    for group in groups:
        for task in group:
            task.cancel()
        await asyncio.gather(*group, return_exceptions=True)
    for server in servers:
        await server.cleanup()
    await client.close()
    logs.log("stopped")
    for task in died:
        task.result()
