"""BGPPeers as a user writes them → what a node's agent tells its parent, by the code of the product.

So a test of the wire begins with the field of the object, not with our own word for it.
"""

import base64
from typing import Any

import msgspec
from msgspec.structs import replace

from metalbgp.config import objects
from metalbgp.config.compile import Compiled
from metalbgp.config.compile import compile as compile_objects
from metalbgp.config.objects import BGPPeer
from metalbgp.model.configuration import Configuration
from metalbgp.model.services import Node
from metalbgp.speaker.announcer import Announcer
from metalbgp.speaker.neighbors import RefusedPeer, neighbors
from tests.values import bgp, pool, vip

NAMESPACE = "metallb-system"


def bgppeer(name: str, *, age: int = 0, notes: dict[str, str] | None = None, **spec: Any) -> BGPPeer:
    """`age`: the higher, the older."""
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "generation": 1,
        "creationTimestamp": f"2026-01-01T00:{59 - age:02}:00Z",
        "annotations": notes or {},
    }
    document = {"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": metadata, "spec": spec}
    return objects.from_mapping(document)  # type: ignore[return-value]  # by its kind


class Cluster:
    """The controller's side and one node's, without an API server between them."""

    def __init__(self, *addresses: str) -> None:
        self.node = Node(name="n1", addresses=addresses)
        self.compiled = Compiled(configuration=Configuration(installation=NAMESPACE))
        self.passwords: dict[str, str] = {}
        self.refused: tuple[RefusedPeer, ...] = ()

    def apply(self, *peers: BGPPeer) -> list[dict[str, Any]]:
        """All objects as they are now; the messages for the parent."""
        before = self.compiled.configuration
        self.compiled = compile_objects(objects.Objects(peers=tuple(peers)), before)
        return self.messages()

    def messages(self) -> list[dict[str, Any]]:
        wanted, self.refused = neighbors(self.compiled.configuration, self.node, self.passwords)
        return [msgspec.to_builtins(one) for one in wanted]

    def routes(self, *addresses: str) -> dict[tuple[str, str], Any]:
        """What the agent of the node wants for addresses that everybody advertises, by session and prefix."""
        announcer = Announcer()
        announcer.set_node(self.node)
        everything = pool(
            "production", "0.0.0.0-255.255.255.255", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        )
        now = self.compiled.configuration
        announcer.set_configuration(
            replace(now, sequence=1, pools=(everything,), bgp_advertisements=(bgp(),))
        )
        for address in addresses:
            announcer.set_vip(address, vip(address))
        return {key: msgspec.to_builtins(one) for key, one in announcer.wanted().items()}

    def secret(self, peer: str, word: str | None) -> None:
        """What the controller copied for this peer."""
        self.passwords.pop(peer, None)
        if word is not None:
            self.passwords[peer] = base64.b64encode(word.encode()).decode()

    def invalid(self) -> dict[str, str]:
        return {one.object: one.why for one in self.compiled.invalid}
