"""One Service from what it asks for to its claims, its status, and back to nothing.

In:  a key of the work queue; the inventory (everything is decided on it, nothing is read on the way).
Out: writes, in the order that makes double allocation impossible: claim (POST), then status.
Elsewhere: which address is allocate/; what is announced is plan/; what becomes of an address that a Service
     leaves is addresses.py; who calls is controller.py.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import structs

from metalbgp import logs
from metalbgp.allocate.allocate import Allocation, Refusal, allocate, objection
from metalbgp.allocate.claims import Busy, judge
from metalbgp.allocate.request import request_of
from metalbgp.allocate.taken import use_of
from metalbgp.cluster.errors import ClusterError, Conflict
from metalbgp.controller import memory
from metalbgp.controller.addresses import Addresses
from metalbgp.controller.claims import Claims
from metalbgp.controller.contest import Contest
from metalbgp.controller.probes import Asking, Probes, Unasked
from metalbgp.controller.queue import Done, Outcome, Retry
from metalbgp.controller.tell import LONGEST_CONDITION, Tell, cut, in_lines
from metalbgp.controller.writes import Writes, is_marked
from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import Touched
from metalbgp.model.configuration import Pool
from metalbgp.model.names import ADDRESS_ALLOCATED
from metalbgp.model.reasons import AddressAnswers, ClaimTooLarge, Kept, NoAddress, WhyAddress
from metalbgp.model.services import Condition, Service
from metalbgp.model.virtualips import HELD_PHASES, Phase, VirtualIP
from metalbgp.plan.plan import given_by, plan

LARGEST = 256 << 10  # bytes of a VirtualIP (contracts.md)
ANSWERS = 600.0  # seconds before an address that a stranger had is asked for again
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
        addresses: Addresses,
        *,
        touched: Callable[[Touched], None],  # who else is concerned by what was learned
        now: Callable[[], datetime],
        later: Callable[[str, float], None],  # work on a key again after some seconds
        shown: Callable[[Service], None],  # the status has the address now
        probes: Probes,
        ask: Callable[[], None],  # somebody waits for what the speakers find on their segments
    ) -> None:
        self._inventory = inventory
        self._claims = claims
        self._writes = writes
        self._tell = tell
        self._addresses = addresses
        self._touched = touched
        self._now = now
        self._later = later
        self._shown = shown
        self._probes, self._ask = probes, ask
        self._contest = Contest()
        # Service → the version of it that we wrote a status upon, and what: the watch may lag behind.
        self._written: dict[str, tuple[str, str, tuple[str, ...], str]] = {}
        self._chosen: dict[str, WhyAddress] = {}  # why, when it was asked for on the segment first
        self._quiet: dict[str, float] = {}  # contested Services → not written before (seconds, monotonic)

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
        except Exception as error:  # a bug: said on the Service that meets it; the queue logs it and goes on
            if service is not None:
                self._tell.bug(service, error)
            raise
        return Done()

    async def _serve(self, service: Service) -> None:
        await self._leave_what_answers(service)
        refused: set[str] = set()
        for _ in range(TRIES):
            answer = self._allocate(service, refused)
            if isinstance(answer, Refusal):
                await self._refuse(service, answer)
                return
            # Held in memory before the first await: no other worker of ours can choose it meanwhile.
            for address in answer.addresses:
                self._claims.taken.hold(address, use_of(service))
            self._claims.spread.planning(service.key, answer.addresses)
            results = await asyncio.gather(
                *(self._claim(service, address, answer) for address in answer.addresses),
                return_exceptions=True,  # the other claim ends before we judge
            )
            if moved := self._claims.spread.planned(service.key, answer.addresses):
                self._touched(moved)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            busy = [address for address, got in zip(answer.addresses, results, strict=True) if not got]
            if not busy:
                left = self._still_asking(answer)
                if left is not None:  # it keeps and shows what it had so far, if anything
                    if not isinstance(answer.why, Kept):
                        self._chosen[service.key] = answer.why
                    self._later(f"service:{service.key}", left)
                    return
                why = self._chosen.pop(service.key, answer.why)
                await self._settle(service, structs.replace(answer, why=why))
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
                await self._addresses.leave(vip.address, service.key)
        self._free_the_rest(service.key, answer)
        self._tell.misread(service)
        if answer.unread is not None:
            self._tell.refused(service, answer.unread)
        written = (service.uid, service.resource_version, answer.addresses, answer.pools)
        before = self._written.get(service.key)
        if before == written:
            return  # on its way back to us
        if before is not None and await self._contested(service, before, written):
            return
        lost = self._lost(service, answer)
        if await self._writes.show(service, answer.addresses, answer.pools):
            self._written[service.key] = written
            if lost is not None:
                self._tell.cleared(service, lost)
            self._shown(service)
            self._tell.allocated(service, answer)

    def _lost(self, service: Service, answer: Allocation) -> NoAddress | None:
        """Why an address that its status shows is not among those it has now."""
        gone = [address for address in service.ingress if address not in answer.addresses]
        if not gone or service.pool_annotation is None:
            return None  # what other hands wrote there was never ours to give up
        return objection(
            gone[0],
            request_of(service, self._inventory.held(service.key)),
            self._inventory.configuration,
            self._claims.taken,
            self._inventory.namespaces,
        )

    async def _contested(
        self,
        service: Service,
        before: tuple[str, str, tuple[str, ...], str],
        wanted: tuple[str, str, tuple[str, ...], str],
    ) -> bool:
        """Whether somebody else keeps writing this status, so that ours waits for a while."""
        now = asyncio.get_running_loop().time()
        standing = (service.ingress, service.pool_annotation) == (wanted[2], wanted[3])
        if (before[0], before[2:]) != (wanted[0], wanted[2:]) or standing:
            return False  # another decision of ours, or ours stands
        left = self._quiet.get(service.key, now) - now
        if left <= 0:
            wait = self._contest.replaced(service.key, service.resource_version, now)
            if wait is None:
                return False
            if not wait.tell:
                # Written once after each pause: if the other one is gone, ours stands again.
                self._quiet[service.key] = now + wait.seconds
                return False
            self._quiet[service.key] = now + wait.seconds
            left = wait.seconds
            self._tell.contested(service, await self._writes.other_writers(service))
        self._later(f"service:{service.key}", left)
        return True

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
        held = self._claims.of(service.key)
        for vip in held:
            await self._addresses.leave(vip.address, service.key)
        self._claims.drop_service(service.key)
        self._written.pop(service.key, None)
        why = Condition(
            type=ADDRESS_ALLOCATED,
            status="False",
            reason=answer.reason.name,
            message=cut(in_lines(answer.reason), service.key, LONGEST_CONDITION),
            last_transition_time=memory.written(self._now()),
        )
        if held or service.pool_annotation is not None:
            if service.ingress:
                self._tell.cleared(service, answer.reason)
            await self._writes.show(service, (), None, why)
        elif not service.ingress and not service.foreign_ingress:
            await self._writes.explain(service, why)
        # Else its status is another load balancer's, and no pool of ours can serve it: it is left alone.
        self._tell.refused(service, answer.reason)

    async def _give_up(self, key: str, service: Service | None) -> None:
        """Gone, or no longer a load balancer of ours."""
        for vip in self._claims.of(key):
            await self._addresses.leave(vip.address, key)
        self._claims.drop_service(key)
        self._tell.forget(key)
        self._written.pop(key, None)
        self._chosen.pop(key, None)
        self._contest.forget(key)
        self._quiet.pop(key, None)
        if service is not None and is_marked(service) and service.type != "LoadBalancer":
            await self._writes.show(service, (), None)

    # ------------------------------------------------------------------ is the address in use elsewhere?

    async def _leave_what_answers(self, service: Service) -> None:
        for vip in self._claims.of(service.key):
            if vip.phase != "probing":
                continue
            found = self._probes.judge(vip, asyncio.get_running_loop().time())
            if isinstance(found, AddressAnswers):
                self._claims.taken.answers(found)
                self._tell.answers(service, found)
                self._later(f"answers:{vip.address}", ANSWERS)
                await self._addresses.leave(vip.address, service.key)

    def _still_asking(self, answer: Allocation) -> float | None:
        """Seconds until the next look; None: every address may be used."""
        claims = (self._claims.get(address) for address in answer.addresses)
        now = asyncio.get_running_loop().time()
        waits = [
            found.seconds if isinstance(found := self._probes.judge(vip, now), Asking) else 0.0
            for vip in claims
            if vip is not None and vip.phase == "probing"
        ]
        return min(waits, default=None)

    def _phase(self, service: Service, address: str, pool: Pool, known: VirtualIP | None) -> Phase:
        """What is in use already is not asked for: nobody would gain by it."""
        if not self._inventory.configuration.policy_of(pool.name).probe or address in service.ingress:
            return "bound"
        if known is not None and (known.phase == "bound" or _just_left(service, known)):
            return "bound"
        self._ask()
        if known is None or known.phase != "probing":
            return "probing"
        found = self._probes.judge(known, asyncio.get_running_loop().time())
        if isinstance(found, Asking | AddressAnswers):
            return "probing"
        self._probes.forget(address)
        if isinstance(found, Unasked):
            self._tell.unasked(service, address, found.why)
        return "bound"

    # ------------------------------------------------------------------ one address

    async def _claim(self, service: Service, address: str, answer: Allocation) -> bool:
        """Make the VirtualIP of the address ours, and what it says current. False: somebody else's."""
        known = self._claims.get(address)
        while True:
            if known is None:
                made = await self._writes.claim(self._desired(service, address, answer, None))
                if made is not None:
                    self._addresses.learn(made, by=service.key)
                    return True
                try:
                    known = await self._writes.read(address)
                except ValueError as error:  # other hands wrote it; whoever holds it, it is not ours
                    logs.warn("claim-unreadable", address=address, error=str(error))
                    self._addresses.close(address, "a VirtualIP that cannot be read")
                    return False
                if known is None:
                    continue  # deleted between the two requests: the next POST decides
            configuration = self._inventory.configuration
            verdict = judge(
                service,
                known,
                self._inventory.uid,
                configuration.installation,
                configuration.reservations,
                reuse_early=configuration.policy_of(known.pool).reuse_early,
            )
            if isinstance(verdict, Busy):
                self._addresses.learn_busy(address, known)
                logs.log("address-busy", service=service.key, address=address, why=verdict.reason.explain())
                return False
            desired = self._desired(service, address, answer, known)
            try:
                self._addresses.learn(await self._writes.rewrite(known, desired), by=service.key)
            except Conflict:
                known = await self._writes.read(address)
                continue
            return True

    def _desired(
        self, service: Service, address: str, answer: Allocation, known: VirtualIP | None
    ) -> VirtualIP:
        """The VirtualIP as it should be: our part planned anew, the parts of others as they stand."""
        inventory = self._inventory
        pool = inventory.configuration.pool_of(address)
        if pool is None or pool.name not in (
            answer.pool,
            answer.second,
        ):  # a new configuration came while we waited for an answer
            raise Conflict(f"IPAddressPool {answer.pool}", "it went while its address was claimed")
        holders = {} if known is None or known.phase not in HELD_PHASES else dict(known.holders)
        mine = plan(service, inventory.endpoints(service.key), pool, inventory.configuration)
        holders[service.key] = structs.replace(mine, why=given_by(service, address, answer.why, known))
        phase = self._phase(service, address, pool, known)
        wanted = self._addresses.planned(address, pool, holders, known, phase=phase)
        size = len(msgspec.json.encode(wanted))
        if size > LARGEST:
            raise TooLarge(service, ClaimTooLarge(address=address, size=size, limit=LARGEST))
        return wanted


def _just_left(service: Service, known: VirtualIP) -> bool:
    """It was ours a moment ago, so a node of ours may still answer."""
    return known.phase == "releasing" and service.key in known.holders
