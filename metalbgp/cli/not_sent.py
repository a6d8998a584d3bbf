"""`metalbgp routes --not-sent`: what is not announced, and why.

In:  what select() refuses, node by node. Out: one row a reason; what holds on every node is one row.
Elsewhere: the reasons and their words are model/reasons.py.
"""

from collections.abc import Iterator

from msgspec import Struct

from metalbgp.cli.options import Look, Wish
from metalbgp.cli.render import Answer, Table
from metalbgp.cli.route_rows import Scene
from metalbgp.model.configuration import Configuration
from metalbgp.model.reasons import NoCandidate, NoMatchingAdvertisement, NotAnnounced

COLUMNS = ("ADDRESS", "SERVICE", "NODE", "PEER", "PROTOCOL", "ADVERTISEMENT", "WHY")
EVERY = "every node"


class NotSent(Struct, frozen=True):
    address: str
    service: str
    node: str  # or "every node"
    peer: str  # "": whichever
    protocol: str
    advertisement: str
    reason: NotAnnounced


def not_sent_answer(look: Look, scene: Scene) -> Answer:
    wish = look.wish
    prefix = f"{wish.namespace}/" if wish.namespace else ""
    found = tuple(one for one in not_sent(scene, wish) if one.service.startswith(prefix))
    return Answer(
        kind="NotSentList",
        items=found,
        names=tuple(dict.fromkeys(one.service for one in found)),
        table=Table(COLUMNS, tuple(cells(one) for one in found)),
        empty="everything that has an address is announced from every node to every peer",
        notes=look.cluster.notes,
    )


def not_sent(scene: Scene, wish: Wish) -> list[NotSent]:
    names = [name for name in sorted(scene.nodes) if wish.node(name)]
    by_reason: dict[NotSent, list[str]] = {}
    for name in names:
        for one in _on_node(scene, name, wish):
            by_reason.setdefault(one, []).append(name)
    found: list[NotSent] = []
    for one, nodes in by_reason.items():
        everywhere = len(nodes) == len(names) > 1
        shown = [EVERY] if everywhere else nodes
        found += [
            NotSent(one.address, one.service, node, one.peer, one.protocol, one.advertisement, one.reason)
            for node in shown
        ]
    return sorted(found, key=lambda one: (one.service, one.address, one.protocol, one.node, one.peer))


def _on_node(scene: Scene, name: str, wish: Wish) -> Iterator[NotSent]:
    """With an empty node, so that equal reasons of several nodes are equal."""
    address = {peer.name: peer.key for peer in scene.configuration.peers}
    view = scene.view(name)
    for vip in scene.claims:
        for one in view.select(vip).refused:
            if one.peer and not wish.peer(one.peer, address.get(one.peer, "")):
                continue
            if isinstance(one.reason, NoCandidate) or _never_meant(one.reason, scene.configuration):
                continue
            yield NotSent(one.address, one.service, "", one.peer, one.protocol, one.advertisement, one.reason)


def _never_meant(reason: NotAnnounced, configuration: Configuration) -> bool:
    """Who has no L2Advertisement at all does not miss L2, and the other way round."""
    if not isinstance(reason, NoMatchingAdvertisement):
        return False
    used, other = configuration.bgp_advertisements, configuration.l2_advertisements
    if reason.kind == "L2Advertisement":
        used, other = other, used  # type: ignore[assignment]  # only their emptiness counts
    return not used and bool(other)


def cells(one: NotSent) -> tuple[str, ...]:
    remedy = one.reason.remedy()
    why = one.reason.explain() + (f" (remedy: {remedy})" if remedy else "")
    return (
        one.address,
        one.service,
        one.node,
        one.peer or "-",
        one.protocol,
        one.advertisement or "-",
        why,
    )
