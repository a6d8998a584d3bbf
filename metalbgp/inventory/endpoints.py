"""All EndpointSlices of a Service as one Endpoints.

In:  slices, as many as there are.
Out: how many endpoints serve, and on which nodes, by rank.
Elsewhere: the rank of each was decided in cluster/decode.py; what a rank is good for is docs/serving.md.

A Pod is counted once: it may stand in two slices for a moment (it moves; then its better rank counts), and a
dual-stack Service has a slice for each family. So within one family an endpoint is its address and node, and
the larger family counts.
"""

from collections.abc import Iterable, Mapping

from metalbgp.model.addresses import family
from metalbgp.model.services import Endpoints, EndpointSlice, Rank

Counts = dict[str, dict[int, int]]  # node → family → endpoints


def fold(slices: Iterable[EndpointSlice]) -> Endpoints:
    seen: dict[tuple[int, str, str], Rank] = {}  # (family, node, address) → the best of its entries
    for piece in slices:
        for endpoint in piece.endpoints:
            if endpoint.addresses:
                key = (family(endpoint.addresses[0]), endpoint.node, endpoint.addresses[0])
                seen[key] = max(seen.get(key, Rank.NONE), endpoint.rank)
    total = _count(seen, Rank.NONE)
    serving = _count(seen, Rank.TERMINATING)
    ready = _count(seen, Rank.READY)
    return Endpoints(
        serving=sum(serving.values()),
        total=sum(total.values()),
        ready=tuple((node, count) for node, count in sorted(ready.items()) if node),
        terminating=tuple(
            (node, count) for node, count in sorted(serving.items()) if node and node not in ready
        ),
        nameless=serving.get("", 0),
    )


def _count(seen: Mapping[tuple[int, str, str], Rank], least: Rank) -> dict[str, int]:
    """Endpoints of at least this rank, by node; of two families the larger count."""
    counts: Counts = {}
    for (version, node, _), rank in seen.items():
        if rank >= least:
            of_node = counts.setdefault(node, {})
            of_node[version] = of_node.get(version, 0) + 1
    return {node: max(of_node.values()) for node, of_node in counts.items()}
