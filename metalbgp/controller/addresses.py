"""One address and its VirtualIP: left, released, remembered (reserved, cooling), ranked anew.

In:  an address; what the inventory holds.
Out: writes of its VirtualIP, each a compare-and-swap, safe to repeat. A released address is first announced
     nowhere (phase releasing); then it is reserved again, cools down, or its VirtualIP is deleted, so nobody
     gets it while routes stand.
Elsewhere: which Service gets which address is reconcile.py; how long it is remembered is memory.py.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import structs

from metalbgp import logs
from metalbgp.cluster.errors import ClusterError, Conflict
from metalbgp.controller import memory
from metalbgp.controller.claims import Claims
from metalbgp.controller.queue import Done, Outcome, Retry
from metalbgp.controller.writes import Writes
from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import Touched
from metalbgp.model.configuration import Pool
from metalbgp.model.virtualips import HELD_PHASES, Holder, Phase, VirtualIP
from metalbgp.plan.plan import virtual_ip
from metalbgp.plan.ranking import Claimant
from metalbgp.plan.scene import Scene

QUIET = 1.0  # seconds between "announced nowhere" and the deletion: speakers withdraw within milliseconds
FOREIGN = 60.0  # seconds before an address that is not ours to watch is tried again


class Addresses:
    def __init__(
        self,
        inventory: Inventory,
        claims: Claims,
        writes: Writes,
        *,
        touched: Callable[[Touched], None],  # who else is concerned by what was learned
        now: Callable[[], datetime],
        later: Callable[[str, float], None],  # work on a key again after some seconds
    ) -> None:
        self._inventory = inventory
        self._claims = claims
        self._writes = writes
        self._touched = touched
        self._now = now
        self._later = later

    # ------------------------------------------------------------------ what is known

    def learn(self, vip: VirtualIP, by: str = "") -> None:
        """`by`: the Service that we write it for. It need not be told: its pass is not over yet."""
        touched = self._claims.learn(vip)
        self._touched(structs.replace(touched, services=touched.services - {by}) if by else touched)

    def learn_busy(self, address: str, found: VirtualIP) -> None:
        if found.installation == self._inventory.configuration.installation:
            self.learn(found)
        else:  # outside our watch
            self.close(address, f"installation {found.installation or 'unknown'}")

    def close(self, address: str, by: str) -> None:
        """Known as taken only, and asked again after a while, for no watch tells us when it is free."""
        self._claims.taken.close(address, by=by)
        self._later(f"foreign:{address}", FOREIGN)

    # ------------------------------------------------------------------ as it should stand

    def planned(
        self,
        address: str,
        pool: Pool,
        holders: Mapping[str, Holder],
        known: VirtualIP | None,
        *,
        phase: Phase = "bound",
    ) -> VirtualIP:
        """The VirtualIP with these holders."""
        claimants = [
            Claimant(service=key, holder=holder, first=self._claims.spread.first(key, address))
            for key, holder in holders.items()
        ]
        inventory, spread = self._inventory, self._claims.spread
        if phase == "bound" and (moved := spread.place(address, claimants)):
            self._touched(moved)
        scene = Scene(inventory.configuration, inventory.nodes, inventory.live_speakers, spread.firsts)
        wanted = virtual_ip(address, pool, claimants, scene, known, phase=phase)
        return wanted if wanted.since else structs.replace(wanted, since=self._stamp())

    def _stamp(self) -> str:
        return memory.written(self._now())

    # ------------------------------------------------------------------ verbs

    async def leave(self, address: str, key: str) -> None:
        """The Service no longer stands behind the address; without another holder it is released."""
        vip = self._claims.get(address)
        while vip is not None and key in vip.holders:
            rest = {name: holder for name, holder in vip.holders.items() if name != key}
            if rest:
                left = structs.replace(vip, holders=rest)
            elif vip.phase == "probing":  # announced nowhere and never used: nothing to withdraw or remember
                promised = memory.reserved(address, self._inventory.configuration, self._now())
                kept = None if promised is None else memory.emptied(vip, promised)
                if isinstance(outcome := await self._become(vip, kept), Retry):
                    raise Conflict(f"VirtualIP {address}", outcome.why)
                return
            elif vip.phase != "releasing":
                left = structs.replace(vip, phase="releasing", since=self._stamp())
            else:  # by a predecessor of ours, or by us a moment ago
                self._later(f"release:{address}", QUIET)
                break
            try:
                self.learn(await self._writes.rewrite(vip, left), by=key)
            except Conflict:
                vip = await self._writes.read(address)
                continue
            logs.log("address-left", service=key, address=address, shared=bool(rest))
            if not rest:
                self._later(f"release:{address}", QUIET)
            return

    async def release(self, address: str) -> Outcome:
        """It was announced nowhere for a while: remember it, or delete the claim, so that it is free."""
        vip = self._claims.get(address)
        if vip is None or vip.phase != "releasing":
            return Done()
        return await self._become(vip, memory.after_release(vip, self._inventory.configuration, self._now()))

    async def remember(self, address: str) -> Outcome:
        """Reserved or cooling: bring the VirtualIP of an address that nobody holds to what it should be."""
        vip, configuration = self._claims.get(address), self._inventory.configuration
        if vip is None:
            wanted = memory.reserved(address, configuration, self._now())
            return Done() if wanted is None else await self._reserve(wanted)
        if vip.phase in HELD_PHASES:
            return await self.rerank(address)  # it names its reservation
        if vip.phase not in ("reserved", "cooling"):
            return Done()
        wanted = memory.still(vip, configuration, self._now())
        left = memory.seconds_left(wanted, self._now()) if wanted else None
        if left is not None:
            self._later(f"memory:{address}", left)
        return await self._become(vip, wanted)

    async def _reserve(self, wanted: VirtualIP) -> Outcome:
        try:
            made = await self._writes.claim(wanted)
            if made is None:
                found = await self._writes.read(wanted.address)
                if found is None:
                    return Retry(why="it was deleted between two requests")
                self.learn_busy(wanted.address, found)
                return Done()
        except (ClusterError, ValueError) as error:
            return Retry(why=str(error))
        self.learn(made)
        logs.log("address-reserved", address=made.address, reservation=made.reservation)
        return Done()

    async def _become(self, vip: VirtualIP, wanted: VirtualIP | None) -> Outcome:
        """None: gone, and free for everybody."""
        try:
            if wanted is None:
                await self._writes.delete(vip)
            elif wanted != vip:
                self.learn(await self._writes.rewrite(vip, wanted))
        except Conflict:
            fresh = await self._writes.read(vip.address)
            if fresh is not None:
                self.learn(fresh)
            return Retry(why="it changed meanwhile")
        except ClusterError as error:
            return Retry(why=str(error))
        if wanted is None:
            self._touched(self._claims.forget(vip))
            logs.log("address-released", address=vip.address)
        elif wanted.phase != vip.phase:
            logs.log(
                "address-kept",
                address=vip.address,
                phase=wanted.phase,
                kept_for=list(wanted.kept_for),
                until=wanted.until,
            )
            self._later(f"memory:{vip.address}", 0.0)  # arms its timer
        return Done()

    async def rerank(self, address: str) -> Outcome:
        """The nodes that may serve an address changed: one write if their ranking did (plan/ranking.py)."""
        vip = self._claims.get(address)
        pool = self._inventory.configuration.pool_of(address)
        if vip is None or vip.phase not in HELD_PHASES or pool is None:
            return Done()
        wanted = self.planned(address, pool, vip.holders, vip, phase=vip.phase)
        if wanted == vip:
            return Done()
        try:
            self.learn(await self._writes.rewrite(vip, wanted))
        except ClusterError as error:
            return Retry(why=str(error))
        return Done()
