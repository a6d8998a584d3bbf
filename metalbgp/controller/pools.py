"""How much of each pool is used: counted for the metrics at scrape time, written to the pool's status.

In:  the inventory's pools and Taken. Out: PoolUse; IPAddressPool status (assigned and available per family).
A pool's status is written at most once a second, and only when it differs; what the API server does not take
is tried ever more slowly.

Assigned are the addresses that Services have, as in MetalLB; available are those that anybody may be given.
Reserved and cooling ones are neither, so the two need not add up to the capacity.
"""

import asyncio

from msgspec import Struct

from metalbgp import logs
from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import ClusterError, NotFound
from metalbgp.cluster.resources import IP_ADDRESS_POOLS
from metalbgp.controller.claims import Claims
from metalbgp.controller.metrics import PoolUse
from metalbgp.inventory.inventory import Inventory
from metalbgp.model.addresses import Family, buggy
from metalbgp.model.configuration import Pool

PACE = 1.0  # seconds
AGAIN_AT_MOST = 60.0  # seconds between two tries of a write that keeps failing
INT64 = 2**63 - 1  # what the CRD's field holds; larger pools are shown as this many


class PoolCounters:
    def __init__(self, client: Client, inventory: Inventory, claims: Claims, namespace: str) -> None:
        self._client = client
        self._inventory = inventory
        self._claims = claims
        self._namespace = namespace
        self._due = asyncio.Event()
        self._written: dict[str, tuple[str, dict[str, int]]] = {}  # pool → (uid, status)
        self._failed: dict[str, tuple[float, float]] = {}  # pool → (seconds to wait, not before)
        self.leading = False

    def due(self) -> None:
        self._due.set()

    def use(self) -> tuple[PoolUse, ...]:
        return tuple(self._use(pool) for pool in self._inventory.configuration.pools)

    def _use(self, pool: Pool) -> PoolUse:
        four, six = self._family(pool, 4), self._family(pool, 6)
        return PoolUse(
            pool=pool.name,
            assigned_ipv4=four.assigned,
            assigned_ipv6=six.assigned,
            capacity_ipv4=four.capacity,
            capacity_ipv6=six.capacity,
            reserved=four.reserved + six.reserved,
            cooling=four.cooling + six.cooling,
            available_ipv4=four.available,
            available_ipv6=six.available,
        )

    def _family(self, pool: Pool, version: Family) -> "Counts":
        taken = self._claims.taken
        pieces = [piece for piece in pool.ranges if piece.version == version]
        avoided = sum(buggy(piece) for piece in pieces) if pool.avoid_buggy_ips else 0
        return Counts(
            capacity=sum(piece.size for piece in pieces) - avoided,
            taken=sum(taken.count(piece.version, piece.first, piece.last) for piece in pieces),
            reserved=sum(taken.count_reserved(piece) for piece in pieces),
            cooling=sum(taken.count_cooling(piece) for piece in pieces),
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
            "availableIPv4": min(use.available_ipv4, INT64),
            "availableIPv6": min(use.available_ipv6, INT64),
        }
        if self._written.get(pool.name) == (pool.source.uid, status):
            return
        loop = asyncio.get_running_loop()
        pause, not_before = self._failed.get(pool.name, (0.0, 0.0))
        if loop.time() < not_before:
            return  # its timer asks again
        try:
            await self._client.patch(
                IP_ADDRESS_POOLS, pool.name, {"status": status}, self._namespace, subresource="status"
            )
        except NotFound:
            return  # deleted meanwhile
        except ClusterError as error:
            pause = min(max(pause * 2, PACE), AGAIN_AT_MOST)
            self._failed[pool.name] = (pause, loop.time() + pause)
            loop.call_later(pause, self._due.set)
            logs.warn("pool-status-failed", pool=pool.name, error=str(error), again_in=pause)
            return
        self._failed.pop(pool.name, None)
        self._written[pool.name] = (pool.source.uid, status)


class Counts(Struct, frozen=True):
    """Addresses of one family of a pool."""

    capacity: int
    taken: int  # whatever the reason
    reserved: int  # for others, nobody holds them yet
    cooling: int  # given up, not given again yet

    @property
    def assigned(self) -> int:
        # One that is reserved while it still cools counts as both, until its VirtualIP says reserved.
        return max(0, self.taken - self.reserved - self.cooling)

    @property
    def available(self) -> int:
        return max(0, self.capacity - self.taken)
