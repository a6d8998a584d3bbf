"""The controller's process: flags, Lease, health, and a clean end.

In:  MetalLB's flags and environment where they mean something here (metallb.md 6.1).
Out: exit code 0 after SIGTERM, with the Lease given back, so that a rolling update does not wait for it.
"""

import argparse
import asyncio
import os
import secrets
import socket

from metalbgp import life, logs, web
from metalbgp.cluster.access import find
from metalbgp.cluster.client import Client
from metalbgp.cluster.election import Elector
from metalbgp.cluster.events import EventRecorder
from metalbgp.cluster.names import own_namespace
from metalbgp.controller.controller import Controller, Options
from metalbgp.model.names import LEASE


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="metalbgp-controller", description=__doc__)
    add = parser.add_argument
    add("--kubeconfig", default="", help="outside a pod")
    add("--namespace", default=own_namespace())
    add("--installation", default="", help="label of what is ours (default: the namespace)")
    add("--lb-class", default=None, help="serve only Services of this loadBalancerClass")
    add("--ignore-exclude-lb", action="store_true", help="announce from excluded nodes as well")
    add("--port", type=int, default=9120, help="metrics; 0: off")
    add("--health-probe-port", type=int, default=17472)
    add("--pod-name", default=os.environ.get("METALBGP_POD_NAME", socket.gethostname()))
    add("--log-level", default="info", choices=["all", "debug", "info", "warn", "error", "none"])
    add("--lease-duration", type=float, default=15.0, help=argparse.SUPPRESS)  # shorter in tests
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    client = Client(find(options.kubeconfig), user_agent="metalbgp-controller")
    leads: asyncio.Queue[bool] = asyncio.Queue()
    elector = Elector(
        client,
        options.namespace,
        LEASE,
        f"{options.pod_name}_{secrets.token_hex(4)}",
        duration=options.lease_duration,
        renew=options.lease_duration * 2 / 3,
        retry=options.lease_duration * 2 / 15,
        on_change=leads.put_nowait,
    )
    recorder = EventRecorder(client, "metallb-controller", instance=options.pod_name)
    controller = Controller(
        client,
        client.behind(elector.fence),
        recorder.emit,
        Options(
            namespace=options.namespace,
            installation=options.installation or options.namespace,
            load_balancer_class=options.lb_class,
            ignore_exclude_label=options.ignore_exclude_lb,
        ),
    )

    def ready() -> str:
        return "" if controller.synced else "the views are not complete yet"

    servers = [await web.serve(options.health_probe_port, controller.metrics.registry, ready)]
    if options.port:
        servers.append(await web.serve(options.port, controller.metrics.registry, ready))
    work = [
        asyncio.create_task(controller.run(leads.get), name="controller"),
        asyncio.create_task(recorder.run(), name="events"),
    ]
    election = [asyncio.create_task(elector.run(), name="election")]
    logs.log("started", namespace=options.namespace, identity=elector.identity)
    await life.lived([*work, *election])
    # Writers first, then the Lease: nobody of ours writes once another may lead.
    await life.finish(work, election, servers=servers, client=client)


def main() -> None:
    options = parse()
    logs.setup("controller", options.log_level)
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
