"""The agent's process: options, statuses, health, and what SIGTERM means.

In:  environment of the DaemonSet (node, pod, namespace), MetalLB's flags where they mean something here.
Out: exit code 0 after SIGTERM; before that one question to the API server, a second long at most: does the
     DaemonSet still want this node? If not, routes must go even where graceful restart was negotiated.
Elsewhere: what is announced is loop.py; the parent (parent.py) starts this process and survives it.
"""

import argparse
import asyncio
import os
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path

import msgspec
from msgspec import structs

from metalbgp import life, logs, web
from metalbgp.cluster.access import find
from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import ClusterError, Forbidden, NotFound, Unauthorized
from metalbgp.cluster.events import EventRecorder
from metalbgp.cluster.names import own_namespace
from metalbgp.cluster.resources import BGP_PEERS, DAEMON_SETS, Reference
from metalbgp.config.durations import SECOND, nanoseconds
from metalbgp.config.mistakes import Mistake
from metalbgp.model.reasons import ShutByOrder
from metalbgp.model.report import NodeReport
from metalbgp.speaker.exclude_list import ExcludeList
from metalbgp.speaker.loop import Agent
from metalbgp.speaker.record import services_of
from metalbgp.speaker.status import Detail, Intent, Status
from metalbgp.speaker.views import Options

DAEMON_SET = "speaker"
ASK = 1.0  # seconds
PROBES = 100  # in a NodeState


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="metalbgp-speaker", description=__doc__)
    add = parser.add_argument
    add("--kubeconfig", default="", help="outside a pod")
    add("--namespace", default=own_namespace())
    add("--installation", default="")
    add("--node-name", default=os.environ.get("METALBGP_NODE_NAME") or os.environ.get("METALLB_NODE_NAME"))
    add("--pod-name", default=os.environ.get("METALBGP_POD_NAME", socket.gethostname()))
    add("--pod-uid", default=os.environ.get("METALBGP_POD_UID", ""))
    add("--port", type=int, default=9120, help="metrics; 0: off")
    add("--health-probe-port", type=int, default=17473, help="readiness, on the loopback address")
    add("--run-dir", type=Path, default=Path(os.environ.get("METALBGP_RUN", "/run/metalbgp")))
    add(
        "--snapshot-max-age",
        type=duration,
        default=os.environ.get("METALBGP_SNAPSHOT_MAX_AGE") or "72h",
        help="how long after the API server was last heard a start without it announces what was known then",
    )
    add("--log-level", default="info", choices=["all", "debug", "info", "warn", "error", "none"])
    options = parser.parse_args(arguments)
    if not options.node_name:
        parser.error("--node-name is required: set METALBGP_NODE_NAME from spec.nodeName")
    return options


async def run(options: argparse.Namespace) -> None:
    client = Client(find(options.kubeconfig), user_agent="metalbgp-speaker")
    recorder = EventRecorder(client, "metallb-speaker", instance=options.node_name)
    agent = Agent(
        client,
        Options(
            node=options.node_name,
            namespace=options.namespace,
            installation=options.installation or options.namespace,
            run_dir=options.run_dir,
            snapshot_limit=options.snapshot_max_age,
        ),
    )

    exclude = ExcludeList()

    def report() -> NodeReport:
        made = agent.record.report(
            agent.announcer,
            agent.reflex,
            time.monotonic(),
            pod=options.pod_name,
            version=version(),
            updated=now(),
            ready=not agent.ready(),
            probes=agent.probes[:PROBES],
            heard=now(agent.view_age),
            from_snapshot=agent.from_snapshot,
        )
        more = (*agent.fencing.problems(), *exclude.problems, *agent.snapshots.problems(), *agent.blind())
        return structs.replace(made, problems=(*made.problems, *more))

    status = Status(
        client,
        recorder.emit,
        node=options.node_name,
        pod=options.pod_name,
        pod_uid=options.pod_uid,
        namespace=options.namespace,
        installation=options.installation or options.namespace,
        report=report,
        intents=lambda: intents(agent),
        owners=lambda: owners(agent),
        mistakes=lambda: (
            f"BGPPeer {one.peer.name}: {one.why.explain()}"
            for one in agent.announcer.refused_peers
            if not isinstance(one.why, ShutByOrder)  # no mistake: somebody wants it
        ),
        uids=lambda: uids(agent),
        warnings=lambda: (
            (Reference(BGP_PEERS, peer.name, options.namespace, peer.source.uid), why)
            for peer, why in agent.record.guarded(agent.announcer)
        ),
        now=now,
    )
    registry = agent.metrics.registry
    servers = [await web.serve(options.health_probe_port, registry, agent.ready, "127.0.0.1")]
    if options.port:
        servers.append(await web.serve(options.port, registry, agent.ready, refresh=agent.ask_reflex))
    work = [
        asyncio.create_task(agent.run(), name="agent"),
        asyncio.create_task(recorder.run(), name="events"),
        asyncio.create_task(exclude.follow(agent.reflex.set_exclude), name="exclude-list"),
        asyncio.create_task(status.run(agent.changed, agent.urgent), name="status"),
    ]
    logs.log("started", node=options.node_name, namespace=options.namespace)
    asked = await life.lived(work)
    here = agent.announcer.node.labels if agent.announcer.node is not None else None
    if asked and await must_drain(client, options, here):
        logs.log("draining", why="the DaemonSet no longer wants a speaker here")
        agent.link.drain()
    await life.finish(work, servers=servers, client=client)


def intents(agent: Agent) -> Mapping[Intent, Detail]:
    """What this node means to announce, by Service: sorted peers, or interfaces (all: none listed)."""
    found: dict[Intent, set[str]] = {}
    for route, why in agent.announcer.table.routes():
        for service in why.services:
            found.setdefault(("bgp", service), set()).add(route.peer)
    for address in agent.reflex.owned:
        for service in services_of(agent.announcer, address):
            interfaces = agent.announcer.table.interfaces(address)
            found.setdefault(("layer2", service), set()).update(interfaces or ())
    return {intent: tuple(sorted(detail)) for intent, detail in found.items()}


def owners(agent: Agent) -> list[dict[str, str]]:
    """The Node, and not the Pod: a state outlives a Pod that is replaced, not a Node that is removed."""
    node = agent.announcer.node
    if node is None or not node.uid:
        return []
    return [{"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid}]


def uids(agent: Agent) -> dict[str, str]:
    """The uid of every Service behind an address, for Events that say "announcing"."""
    return {key: holder.uid for vip in agent.announcer.vips.values() for key, holder in vip.holders.items()}


class _Meta(msgspec.Struct, frozen=True):
    deletionTimestamp: str | None = None


class _PodSpec(msgspec.Struct, frozen=True):
    nodeSelector: dict[str, str] | None = None


class _Template(msgspec.Struct, frozen=True):
    spec: _PodSpec = _PodSpec()


class _DaemonSetSpec(msgspec.Struct, frozen=True):
    template: _Template = _Template()


class _DaemonSet(msgspec.Struct, frozen=True):
    metadata: _Meta
    spec: _DaemonSetSpec = _DaemonSetSpec()


async def must_drain(
    client: Client, options: argparse.Namespace, labels: Mapping[str, str] | None = None
) -> bool:
    """Whether this speaker does not come back. No answer means that it does: restarts are the common case.

    `labels`: of this node, against the DaemonSet's nodeSelector. Its affinity is not judged.
    """
    try:
        async with asyncio.timeout(ASK):
            answer = await client.get(DAEMON_SETS, DAEMON_SET, options.namespace)
    except (NotFound, Forbidden, Unauthorized):
        # Without its rights as well: `kubectl delete -f` takes them before the DaemonSet.
        return True
    except (ClusterError, TimeoutError):
        return False
    found = msgspec.json.decode(answer, type=_DaemonSet)
    selector = found.spec.template.spec.nodeSelector or {}
    elsewhere = labels is not None and any(labels.get(key) != value for key, value in selector.items())
    return elsewhere or found.metadata.deletionTimestamp is not None


def version() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("metalbgp")
    except PackageNotFoundError:
        return "dev"


def now(ago: float = 0.0) -> str:
    """ "" for longer ago than anything can be."""
    if ago == inf:
        return ""
    return (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(text: str) -> float:
    try:
        return nanoseconds(text) / SECOND
    except Mistake as error:
        raise argparse.ArgumentTypeError(f"{error}; {error.fix} (METALBGP_SNAPSHOT_MAX_AGE)") from error


def main() -> None:
    options = parse()
    logs.setup("agent", options.log_level)
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
