"""One Service from what it asks for to its claims, its status, and back to nothing.

In:  a key of the work queue; the inventory (everything is decided on it, nothing is read on the way).
Out: writes, in the order that makes double allocation impossible: claim (POST), then status. A released
     address is first announced nowhere (phase releasing), then deleted, so nobody gets it while routes stand.
Elsewhere: which address is allocate/; what is announced is plan/; who calls is controller.py.
"""

import asyncio
from collections.abc import Callable, Mapping

import msgspec
from msgspec import structs

from metalbgp import logs
from metalbgp.allocate.allocate import Allocation, Refusal, allocate
from metalbgp.allocate.claims import Busy, judge
from metalbgp.allocate.request import request_of
from metalbgp.allocate.taken import use_of
from metalbgp.cluster.errors import ClusterError, Conflict
from metalbgp.controller.claims import Claims
from metalbgp.controller.queue import Done, Outcome, Retry
from metalbgp.controller.tell import Tell
from metalbgp.controller.writes import Writes
from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import Touched
from metalbgp.model.configuration import Pool
from metalbgp.model.reasons import ClaimTooLarge
from metalbgp.model.services import Service
from metalbgp.model.virtualips import Holder, VirtualIP
from metalbgp.plan.plan import plan, virtual_ip
from metalbgp.plan.ranking import Claimant
from metalbgp.plan.scene import Scene

QUIET = 1.0  # seconds between "announced nowhere" and the deletion: speakers withdraw within milliseconds
FOREIGN = 60.0  # seconds before an address that is not ours to watch is tried again
LARGEST = 256 << 10  # bytes of a VirtualIP (contracts.md)
TRIES = 64  # addresses in a row that others hold without our knowing, before we wait for the watch


class TooLarge(Exception):
    """The VirtualIP would be refused by its own limit; the Service is told, and nobody else is disturbed."""

    def __init__(self, service: Service, reason: ClaimTooLarge) -> None:
        super().__init__(reason.explain())
        self.service, self.reason = service, reason


class Reconciler:
    def __init__(
        self,
        inventory: Inventory,
        claims: Claims,
        writes: Writes,
        tell: Tell,
        *,
        touched: Callable[[Touched], None],  # who else is concerned by what was learned
        now: Callable[[], str],  # RFC 3339
        later: Callable[[str, float], None],  # work on a key again after some seconds
        shown: Callable[[Service], None],  # the status has the address now
    ) -> None:
        self._inventory = inventory
        self._claims = claims
        self._writes = writes
        self._tell = tell
        self._touched = touched
        self._now = now
        self._later = later
        self._shown = shown
        # Service → the version of it that we wrote a status upon, and what: the watch may lag behind.
        self._written: dict[str, tuple[str, str, tuple[str, ...], str]] = {}

    # ------------------------------------------------------------------ one Service

    async def service(self, key: str) -> Outcome:
        """Bring one Service to what it should be. Safe to repeat."""
        service = self._inventory.services.get(key)
        try:
            if service is None or not self._inventory.is_ours(service):
                await self._give_up(key, service)
            else:
                await self._serve(service)
        except TooLarge as error:
            try:
                await self._refuse(error.service, Refusal(error.reason))
            except ClusterError as failed:
                return Retry(why=str(failed))
        except Conflict as error:
            return Retry(why=str(error))
        except ClusterError as error:
            logs.warn("write-failed", service=key, error=str(error))
            return Retry(why=str(error))
        return Done()

    async def _serve(self, service: Service) -> None:
        refused: set[str] = set()
        for _ in range(TRIES):
            answer = self._allocate(service, refused)
            if isinstance(answer, Refusal):
                await self._refuse(service, answer)
                return
            # Held in memory before the first await: no other worker of ours can choose it meanwhile.
            for address in answer.addresses:
                self._claims.taken.hold(address, use_of(service))
            results = await asyncio.gather(
                *(self._claim(service, address, answer) for address in answer.addresses),
                return_exceptions=True,  # the other claim ends before we judge
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            busy = [address for address, got in zip(answer.addresses, results, strict=True) if not got]
            if not busy:
                await self._settle(service, answer)
                return
            # All or none is settled at the end of this loop: giving back what the other family got before the
            # next try would only withdraw and announce it again.
            refused.update(busy)
            for address in busy:
                self._claims.taken.release(address, service.key)
        raise Conflict(f"Service {service.key}", f"{TRIES} addresses in a row are held by others")

    def _allocate(self, service: Service, refused: set[str]) -> Allocation | Refusal:
        return allocate(
            request_of(
                service, self._inventory.held(service.key), self._inventory.configuration.reservations
            ),
            self._inventory.configuration,
            self._claims.taken,
            self._inventory.namespaces,
            frozenset(refused),
        )

    async def _settle(self, service: Service, answer: Allocation) -> None:
        """The claims stand: give back what is no longer wanted, then show the addresses."""
        for vip in self._claims.of(service.key):
            if vip.address not in answer.addresses:
                await self._leave(vip.address, service.key)
        self._free_the_rest(service.key, answer)
        written = (service.uid, service.resource_version, answer.addresses, answer.pool)
        if self._written.get(service.key) == written:
            return  # on its way back to us
        if await self._writes.show(service, answer.addresses, answer.pool):
            self._written[service.key] = written
            self._shown(service)
            self._tell.allocated(service, answer)

    def _free_the_rest(self, key: str, answer: Allocation) -> None:
        """Held in memory without a claim: tried in vain, or named by a status alone."""
        taken = self._claims.taken
        rest = [
            address
            for address in taken.held_by(key) - set(answer.addresses)
            if (vip := self._claims.get(address)) is None or key not in vip.holders
        ]
        for address in rest:
            taken.release(address, key)
        if rest:
            self._touched(Touched(services=frozenset(self._inventory.pending)))

    async def _refuse(self, service: Service, answer: Refusal) -> None:
        for vip in self._claims.of(service.key):
            await self._leave(vip.address, service.key)
        self._claims.drop_service(service.key)
        self._written.pop(service.key, None)
        if service.ingress or service.pool_annotation is not None:
            self._tell.cleared(service, answer.reason)
            await self._writes.show(service, (), None)
        self._tell.refused(service, answer.reason)

    async def _give_up(self, key: str, service: Service | None) -> None:
        """Gone, or no longer a load balancer of ours."""
        for vip in self._claims.of(key):
            await self._leave(vip.address, key)
        self._claims.drop_service(key)
        self._tell.forget(key)
        self._written.pop(key, None)
        ours = service is not None and service.pool_annotation is not None
        if service is not None and ours and service.type != "LoadBalancer":
            await self._writes.show(service, (), None)

    # ------------------------------------------------------------------ one address

    async def _claim(self, service: Service, address: str, answer: Allocation) -> bool:
        """Make the VirtualIP of the address ours, and what it says current. False: somebody else's."""
        known = self._claims.get(address)
        while True:
            if known is None:
                made = await self._writes.claim(self._desired(service, address, answer, None))
                if made is not None:
                    self._learn(made, by=service.key)
                    return True
                try:
                    known = await self._writes.read(address)
                except ValueError as error:  # other hands wrote it; whoever holds it, it is not ours
                    logs.warn("claim-unreadable", address=address, error=str(error))
                    self._close(address, "a VirtualIP that cannot be read")
                    return False
                if known is None:
                    continue  # deleted between the two requests: the next POST decides
            verdict = judge(service, known, self._inventory.uid, self._inventory.configuration.installation)
            if isinstance(verdict, Busy):
                self._learn_busy(address, known)
                logs.log("address-busy", service=service.key, address=address, why=verdict.reason.explain())
                return False
            desired = self._desired(service, address, answer, known)
            try:
                self._learn(await self._writes.rewrite(known, desired), by=service.key)
            except Conflict:
                known = await self._writes.read(address)
                continue
            return True

    def _learn_busy(self, address: str, found: VirtualIP) -> None:
        if found.installation == self._inventory.configuration.installation:
            self._learn(found)
        else:  # outside our watch
            self._close(address, f"installation {found.installation or 'unknown'}")

    def _close(self, address: str, by: str) -> None:
        """Known as taken only, and asked again after a while, for no watch tells us when it is free."""
        self._claims.taken.close(address, by=by)
        self._later(f"foreign:{address}", FOREIGN)

    def _learn(self, vip: VirtualIP, by: str = "") -> None:
        """`by`: the Service that we write it for. It need not be told: its pass is not over yet."""
        touched = self._claims.learn(vip)
        self._touched(structs.replace(touched, services=touched.services - {by}) if by else touched)

    def _desired(
        self, service: Service, address: str, answer: Allocation, known: VirtualIP | None
    ) -> VirtualIP:
        """The VirtualIP as it should be: our part planned anew, the parts of others as they stand."""
        inventory = self._inventory
        pool = next((pool for pool in inventory.configuration.pools if pool.name == answer.pool), None)
        if pool is None:  # a new configuration came while we waited for an answer
            raise Conflict(f"IPAddressPool {answer.pool}", "it went while its address was claimed")
        holders = {} if known is None or known.phase != "bound" else dict(known.holders)
        holders[service.key] = plan(service, inventory.endpoints(service.key), pool, inventory.configuration)
        wanted = self._planned(address, pool, holders, known, {service.key: answer.addresses[0]})
        size = len(msgspec.json.encode(wanted))
        if size > LARGEST:
            raise TooLarge(service, ClaimTooLarge(address=address, size=size, limit=LARGEST))
        return wanted

    def _planned(
        self,
        address: str,
        pool: Pool,
        holders: Mapping[str, Holder],
        known: VirtualIP | None,
        first: Mapping[str, str],
    ) -> VirtualIP:
        claimants = [
            Claimant(service=key, holder=holder, first=first.get(key) or self._first(key, address))
            for key, holder in holders.items()
        ]
        inventory = self._inventory
        scene = Scene(
            configuration=inventory.configuration, nodes=inventory.nodes, live=inventory.live_speakers
        )
        wanted = virtual_ip(address, pool, claimants, scene, known)
        return wanted if wanted.since else structs.replace(wanted, since=self._now())

    def _first(self, key: str, address: str) -> str:
        """The first address of a Service, which MetalLB's order of L2 candidates hashes."""
        held = self._inventory.held(key)  # IPv4 first; survives a status that was wiped
        return held[0] if held else address

    async def _leave(self, address: str, key: str) -> None:
        """The Service no longer stands behind the address; without another holder it is released."""
        vip = self._claims.get(address)
        while vip is not None and key in vip.holders:
            rest = {name: holder for name, holder in vip.holders.items() if name != key}
            if rest:
                left = structs.replace(vip, holders=rest)
            elif vip.phase != "releasing":
                left = structs.replace(vip, phase="releasing", since=self._now())
            else:  # by a predecessor of ours, or by us a moment ago
                self._later(f"release:{address}", QUIET)
                break
            try:
                self._learn(await self._writes.rewrite(vip, left), by=key)
            except Conflict:
                vip = await self._writes.read(address)
                continue
            logs.log("address-left", service=key, address=address, shared=bool(rest))
            if not rest:
                self._later(f"release:{address}", QUIET)
            return

    async def release(self, address: str) -> Outcome:
        """Delete a claim that was announced nowhere for a while; its address may be given again."""
        vip = self._claims.get(address)
        if vip is None or vip.phase != "releasing":
            return Done()
        try:
            await self._writes.delete(vip)
        except Conflict:
            fresh = await self._writes.read(address)
            if fresh is not None:
                self._learn(fresh)
            return Retry(why="it changed meanwhile")
        except ClusterError as error:
            return Retry(why=str(error))
        self._touched(self._claims.forget(vip))
        logs.log("address-released", address=address)
        return Done()

    async def rerank(self, address: str) -> Outcome:
        """The nodes that may own an address in L2 changed: one write if their order did."""
        vip = self._claims.get(address)
        pool = self._inventory.configuration.pool_of(address)
        if vip is None or vip.phase != "bound" or pool is None:
            return Done()
        wanted = self._planned(address, pool, vip.holders, vip, {})
        if wanted == vip:
            return Done()
        try:
            self._learn(await self._writes.rewrite(vip, wanted))
        except ClusterError as error:
            return Retry(why=str(error))
        return Done()
