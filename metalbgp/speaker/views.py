"""What the agent watches: its part of the cluster, and nothing that is of no concern to this node.

In:  a client, and the Options of the process. Out: Reflectors; loop.py runs them.
Elsewhere: what follows from an event is loop.py; a view that stands in for another, snapshot.py.
"""

from pathlib import Path

from msgspec import Struct

from metalbgp.cluster import decode
from metalbgp.cluster.client import Client
from metalbgp.cluster.reflector import Reflector
from metalbgp.cluster.resources import (
    NODES,
    PODS,
    SECRETS,
    SPEAKER_CONFIGURATIONS,
    SPEAKER_ORDERS,
    VIRTUAL_IPS,
)
from metalbgp.config import compiled, orders, virtualip
from metalbgp.model.configuration import Configuration
from metalbgp.model.names import INSTALLATION, SPEAKER_SECRET
from metalbgp.model.orders import Order
from metalbgp.model.services import Node, Pod
from metalbgp.model.virtualips import WATCHED_PHASES, VirtualIP
from metalbgp.speaker.secret import SpeakerSecret, secret
from metalbgp.speaker.snapshot import LIMIT


class Options(Struct, frozen=True):
    node: str
    namespace: str
    installation: str
    run_dir: Path
    snapshot_limit: float = LIMIT  # seconds that a snapshot counts


class Views:
    def __init__(self, client: Client, options: Options) -> None:
        node, namespace, installation = options.node, options.namespace, options.installation
        self.vips: Reflector[VirtualIP] = Reflector(
            client,
            VIRTUAL_IPS,
            virtualip.decode,
            label_selector=f"{INSTALLATION}={installation},metalbgp.io/phase in ({','.join(WATCHED_PHASES)})",
            spread=2.0,
        )
        self.configuration: Reflector[Configuration] = Reflector(
            client,
            SPEAKER_CONFIGURATIONS,
            compiled.decode,
            namespace=namespace,
            field_selector=f"metadata.name={installation}",
        )
        self.node: Reflector[Node] = Reflector(
            client, NODES, decode.node, field_selector=f"metadata.name={node}"
        )
        self.secret: Reflector[SpeakerSecret] = Reflector(
            client,
            SECRETS,
            secret,
            namespace=namespace,
            field_selector=f"metadata.name={SPEAKER_SECRET}",
        )
        # The last two can only say no. While an upgrade brings the kind or the right to read it, and whenever
        # they are away, everything else goes on.
        self.orders: Reflector[Order] = Reflector(
            client, SPEAKER_ORDERS, orders.decode, namespace=namespace, optional=True
        )
        self.pods: Reflector[Pod] = Reflector(
            client, PODS, decode.pod, field_selector=f"spec.nodeName={node}", optional=True
        )
