"""Whether a node leaves, as far as one advertisement is concerned, and why. Pure.

In:  the Node as its object stands, what the advertisement says of leaving (annotation metalbgp.io/drain), an
     order to drain the node.
Out: words for people; "" when it does not. In L2 the order of candidates without those who leave.
Elsewhere: what follows for routes, and when, is speaker/draining.py; docs/drain.md.
"""

from collections.abc import Collection, Sequence

from metalbgp.model.configuration import CORDON, SHUTDOWN, TAINTS, Leaving
from metalbgp.model.orders import Order
from metalbgp.model.services import Node

CORDONED = "node.kubernetes.io/unschedulable"  # the taint that stands beside spec.unschedulable
SHUTTING_DOWN = ("node.cloudprovider.kubernetes.io/shutdown", "node.kubernetes.io/out-of-service")
ROLES = "node-role.kubernetes.io/"  # a taint of this kind says what a node is, not that it goes
EFFECTS = ("NoSchedule", "NoExecute")


def why(node: Node, on: Leaving, order: Order | None) -> str:
    """An order is a person's word, and counts for advertisements that did not ask for any of it."""
    if order is not None:
        by = f" by {order.author}" if order.author else ""
        return f"drained{by}{f': {order.reason}' if order.reason else ''}"
    if CORDON in on.when and node.unschedulable:
        return "cordoned"
    if SHUTDOWN in on.when:
        if node.shutting_down:
            return "shutting down"
        for taint in node.taints:
            if _key(taint) in SHUTTING_DOWN:
                return f"tainted {taint}"
    if TAINTS in on.when:
        for taint in node.taints:
            if not _tolerated(taint, on.tolerates):
                return f"tainted {taint}"
    return ""


def _tolerated(taint: str, tolerates: Collection[str]) -> bool:
    """`key=value:Effect` by itself, by `key:Effect`, `key=value` or `key`."""
    pair, _, effect = taint.rpartition(":")
    key = _key(taint)
    if effect not in EFFECTS or key == CORDONED or key.startswith(ROLES):
        return True
    return not {taint, f"{key}:{effect}", pair, key}.isdisjoint(tolerates)


def _key(taint: str) -> str:
    return taint.rpartition(":")[0].partition("=")[0]


def behind(candidates: Sequence[str], leaving: Collection[str], *, revertive: bool) -> tuple[str, ...]:
    """Who leaves stands last: it answers while nobody else lives. A non-revertive owner keeps what it has
    wherever it stands, so there who leaves is taken out, as long as somebody stays."""
    stay = tuple(name for name in candidates if name not in leaving)
    if not stay:
        return tuple(candidates)
    return stay if not revertive else (*stay, *(name for name in candidates if name in leaving))
