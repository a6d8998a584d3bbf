"""How much of each pool is used: counted for the metrics at scrape time, written to the pool's status.

In:  the inventory's pools and Taken. Out: PoolUse; IPAddressPool status (assigned and available per family).
A pool's status is written at most once a second, and only when it differs.
"""

import asyncio

from metalbgp import logs
from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import ClusterError, NotFound
from metalbgp.cluster.resources import IP_ADDRESS_POOLS
from metalbgp.controller.claims import Claims
from metalbgp.controller.metrics import PoolUse
from metalbgp.inventory.inventory import Inventory
from metalbgp.model.addresses import Family, Range
from metalbgp.model.configuration import Pool

PACE = 1.0  # seconds
INT64 = 2**63 - 1  # what the CRD's field holds; larger pools are shown as this many


class PoolCounters:
    def __init__(self, client: Client, inventory: Inventory, claims: Claims, namespace: str) -> None:
        self._client = client
        self._inventory = inventory
        self._claims = claims
        self._namespace = namespace
        self._due = asyncio.Event()
        self._written: dict[str, tuple[str, dict[str, int]]] = {}  # pool → (uid, status)
        self.leading = False

    def due(self) -> None:
        self._due.set()

    def use(self) -> tuple[PoolUse, ...]:
        return tuple(self._use(pool) for pool in self._inventory.configuration.pools)

    def _use(self, pool: Pool) -> PoolUse:
        def assigned(version: Family) -> int:
            taken = self._claims.taken
            return sum(taken.count(p.version, p.first, p.last) for p in pool.ranges if p.version == version)

        def capacity(version: Family) -> int:
            pieces = [piece for piece in pool.ranges if piece.version == version]
            avoided = sum(buggy(piece) for piece in pieces) if pool.avoid_buggy_ips else 0
            return sum(piece.size for piece in pieces) - avoided

        return PoolUse(
            pool=pool.name,
            assigned_ipv4=assigned(4),
            assigned_ipv6=assigned(6),
            capacity_ipv4=capacity(4),
            capacity_ipv6=capacity(6),
        )

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            if self.leading:
                for pool in self._inventory.configuration.pools:
                    await self._write(pool)
            await asyncio.sleep(PACE)

    async def _write(self, pool: Pool) -> None:
        use = self._use(pool)
        status = {
            "assignedIPv4": min(use.assigned_ipv4, INT64),
            "assignedIPv6": min(use.assigned_ipv6, INT64),
            "availableIPv4": min(use.capacity_ipv4 - use.assigned_ipv4, INT64),
            "availableIPv6": min(use.capacity_ipv6 - use.assigned_ipv6, INT64),
        }
        if self._written.get(pool.name) == (pool.source.uid, status):
            return
        try:
            await self._client.patch(
                IP_ADDRESS_POOLS, pool.name, {"status": status}, self._namespace, subresource="status"
            )
        except NotFound:
            return  # deleted meanwhile
        except ClusterError as error:
            logs.warn("pool-status-failed", pool=pool.name, error=str(error))
            self._due.set()
            return
        self._written[pool.name] = (pool.source.uid, status)


def buggy(piece: Range) -> int:
    """How many addresses of a range avoidBuggyIPs leaves out: IPv4 ones that end in .0 or .255."""
    if piece.version == 6:
        return 0

    def up_to(number: int) -> int:  # of 0..number
        return (number + 256) // 256 + (number + 1) // 256

    return up_to(piece.last) - (up_to(piece.first - 1) if piece.first else 0)
