"""All EndpointSlices of a Service as one Endpoints.

In:  slices, as many as there are.
Out: how many endpoints serve, and on which nodes.
Elsewhere: what counts as serving was decided in cluster/decode.py (metallb.md 2.10).

A Pod is counted once: it may stand in two slices for a moment (it moves), and a dual-stack Service has a
slice for each family. So within one family an endpoint is its address and node, and the larger family counts.
"""

from collections.abc import Iterable

from metalbgp.model.addresses import family
from metalbgp.model.services import Endpoints, EndpointSlice


def fold(slices: Iterable[EndpointSlice]) -> Endpoints:
    seen: dict[tuple[int, str, str], bool] = {}  # (family, node, address) → serving, by any of its entries
    for piece in slices:
        for endpoint in piece.endpoints:
            if endpoint.addresses:
                key = (family(endpoint.addresses[0]), endpoint.node, endpoint.addresses[0])
                seen[key] = seen.get(key, False) or endpoint.serving
    total: dict[str, dict[int, int]] = {}
    serving: dict[str, dict[int, int]] = {}
    for (version, node, _), serves in seen.items():
        _count(total, node, version)
        if serves:
            _count(serving, node, version)
    by_node = {node: max(counts.values()) for node, counts in serving.items()}
    return Endpoints(
        serving=sum(by_node.values()),
        total=sum(max(counts.values()) for counts in total.values()),
        by_node=tuple(sorted((node, count) for node, count in by_node.items() if node)),
    )


def _count(counts: dict[str, dict[int, int]], node: str, version: int) -> None:
    of_node = counts.setdefault(node, {})
    of_node[version] = of_node.get(version, 0) + 1
