"""`metalbgp uninstall`: withdraw, wait, remove what the manifest made, and say what stays.

In:  what carries the manifest's label, our own objects, the users' objects. Out: the steps, and what is left.
Elsewhere: withdrawing is the speakers' end (contracts.md, SIGTERM); the order of the steps is removal.py.

Without --yes nothing is changed: the steps are printed. CRDs and users' objects are never deleted.
"""

import asyncio
import sys
from typing import Any

import click

from metalbgp.cli.access import Cluster
from metalbgp.cli.errors import Absent, CliError, NotAllowed, Refused
from metalbgp.cli.options import Setup, connection_of, connection_options, guard
from metalbgp.cli.removal import Step, left, steps, survey

PACE = 0.5  # seconds between two looks while waiting
SETTLE = 20.0  # seconds until a deleted admission policy is out of force everywhere


@click.command("uninstall", short_help="Withdraw, wait, remove; CRDs and your objects stay.")
@click.option("--yes", is_flag=True, help="Do it. Without it the steps are only printed.")
@click.option("--timeout", default=90.0, show_default=True, help="Seconds to wait for the speakers to end.")
@connection_options
@click.pass_obj
def command(setup: Setup, /, yes: bool, timeout: float, **given: Any) -> None:
    """Withdraw every announcement, wait for it, and remove what the manifest made.

    CRDs, pools, peers and advertisements stay, and so does the namespace that they live in.
    """
    setup.debug = setup.debug or bool(given.get("debug"))
    connection = connection_of(setup, given)

    async def work() -> int:
        api = await setup.connect(connection)
        try:
            return await uninstall(Cluster(api, connection), yes=yes, timeout=timeout)
        finally:
            await api.close()

    guard(setup, lambda: asyncio.run(work()))


async def uninstall(cluster: Cluster, *, yes: bool, timeout: float) -> int:
    found = await survey(cluster)
    plan = steps(found)
    for note in cluster.notes:
        print(f"note: {note}", file=sys.stderr)
    if not plan:
        print(f"nothing of metalbgp is installed in namespace {cluster.installation}")
        print("\n".join(left(found)))
        return 0
    print(f"metalbgp in namespace {cluster.installation}:" if yes else "this would be done (--yes does it):")
    for step in plan:
        print(f"  {step.words}", flush=True)
        if yes:
            await _do(cluster, step, timeout)
    print("\n".join(left(found)))
    return 0


async def _do(cluster: Cluster, step: Step, timeout: float) -> None:
    try:
        async with asyncio.timeout(SETTLE):
            for method, path, body in step.requests:
                await _request(cluster, method, path, body)
    except TimeoutError as error:
        raise CliError(f"{step.words}: the API server still refuses; run it again") from error
    if step.until_gone:
        await _until_gone(cluster, step, timeout)


async def _request(cluster: Cluster, method: str, path: str, body: dict[str, Any] | None) -> None:
    """What is gone already is fine. A policy that was just deleted stays in force for a moment."""
    while True:
        try:
            await cluster.api.request(method, path, (), body)
            return
        except Absent:
            return
        except NotAllowed as error:
            if "metalbgp-owned" not in str(error):
                raise CliError(f"{error}; uninstalling needs the rights that installing needed") from error
        except Refused as error:
            if "metalbgp-owned" not in str(error):
                raise
        await asyncio.sleep(PACE)


async def _until_gone(cluster: Cluster, step: Step, timeout: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while True:
        pods = [pod for pod in await cluster.pods() or () if pod.component == step.until_gone]
        if not pods:
            return
        if loop.time() >= end:
            names = ", ".join(f"{pod.name} ({pod.node})" for pod in pods)
            raise CliError(
                f"still there after {timeout:g} s: {names}; nothing else was removed; run it again"
            )
        await asyncio.sleep(PACE)
