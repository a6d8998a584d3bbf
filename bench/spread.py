"""How even MetalLB's order of L2 candidates spreads addresses over nodes: python -m bench spread; pure.

In:  nothing; a pool's first addresses, one Service each, over nodes that are equally preferred. Names of
     nodes of several clusters, for what one cluster gets is chance.
Out: a table: how many addresses the node with the fewest and the one with the most is first for.
"""

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from metalbgp.plan.ranking import order

ADDRESSES: Final = (10, 100, 1_000, 10_000)
NODES: Final = (3, 5, 10)
CLUSTERS: Final = 20  # of other names
POOL: Final = int(IPv4Address("10.20.0.0"))


def main(console: Console) -> int:
    """Exit code 0: there is nothing to fail."""
    table = Table("addresses", "nodes", "even", "fewest … most, median", "the worst cluster")
    for addresses in ADDRESSES:
        for nodes in NODES:
            found = list(_clusters(addresses, nodes))
            low, high = median(least for least, _ in found), median(most for _, most in found)
            worst = max(found, key=lambda one: one[1] - one[0])
            even = addresses / nodes
            table.add_row(
                f"{addresses:,}", str(nodes), f"{even:,.0f}", f"{low:,.0f} … {high:,.0f}", _text(worst, even)
            )
    console.print(table)
    return 0


def _clusters(addresses: int, nodes: int) -> Iterator[tuple[int, int]]:
    texts = [str(IPv4Address(POOL + number)) for number in range(addresses)]
    for cluster in range(CLUSTERS):
        names = [f"cluster-{cluster}-node-{number}" for number in range(nodes)]
        firsts = Counter(order(names, text)[0] for text in texts)
        yield min(firsts[name] for name in names), max(firsts.values())


def _text(shares: tuple[int, int], even: float) -> str:
    return f"{shares[0]:,} … {shares[1]:,} ({shares[0] / even:.0%} … {shares[1] / even:.0%})"
