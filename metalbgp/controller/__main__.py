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
from metalbgp.controller import webhook
from metalbgp.controller.controller import Controller, Options
from metalbgp.controller.serving import Serving
from metalbgp.controller.webhook import Webhook
from metalbgp.model.names import LEASE, WEBHOOK_CONFIGURATION, WEBHOOK_SECRET, WEBHOOK_SERVICE


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
    add("--webhook-mode", default="enabled", choices=["enabled", "disabled", "onlywebhook"])
    add("--webhook-port", type=int, default=9443)
    add("--webhook-secret", default=WEBHOOK_SECRET, help="holds the webhook's certificate")
    add("--webhook-configuration", default=WEBHOOK_CONFIGURATION, help="whose caBundle is kept current")
    add("--cert-service-name", default=WEBHOOK_SERVICE, help="by which the API server calls the webhook")
    add("--disable-cert-rotation", action="store_true", help="others write the Secret and the caBundle")
    add("--webhook-host", default="", help=argparse.SUPPRESS)  # an address to serve at, in tests
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

    def views() -> str:
        return "" if controller.synced else "the views are not complete yet"

    serving = _serving(client, options) if options.webhook_mode != "disabled" else None

    def ready() -> str:
        return views() or (serving.missing() if serving is not None else "")

    servers = [await web.serve(options.health_probe_port, controller.metrics.registry, ready)]
    if options.port:
        servers.append(await web.serve(options.port, controller.metrics.registry, ready))
    work = [
        asyncio.create_task(controller.run(leads.get), name="controller"),
        asyncio.create_task(recorder.run(), name="events"),
    ]
    if serving is not None:
        judge = Webhook(controller.admission.judge, views, controller.metrics.admission)
        servers.append(
            await web.serve_posts(
                webhook.PATH,
                judge.answer,
                options.webhook_port,
                serving.context,
                options.webhook_host or None,
                largest=webhook.LARGEST,
            )
        )
        work.append(asyncio.create_task(serving.run(), name="webhook"))
    election = []
    if options.webhook_mode != "onlywebhook":
        work.append(asyncio.create_task(elector.view().run(elector.heard), name="lease"))
        election.append(asyncio.create_task(elector.run(), name="election"))
    logs.log("started", namespace=options.namespace, identity=elector.identity)
    await life.lived([*work, *election])
    # Writers first, then the Lease: nobody of ours writes once another may lead.
    await life.finish(work, election, servers=servers, client=client)


def _serving(client: Client, options: argparse.Namespace) -> Serving:
    service = f"{options.cert_service_name}.{options.namespace}"
    names = [f"{service}.svc", f"{service}.svc.cluster.local", service]
    if options.webhook_host:
        names.append(options.webhook_host)
    return Serving(
        client,
        namespace=options.namespace,
        secret=options.webhook_secret,
        configuration=options.webhook_configuration,
        names=names,
        rotate=not options.disable_cert_rotation,
    )


def main() -> None:
    options = parse()
    logs.setup("controller", options.log_level)
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
