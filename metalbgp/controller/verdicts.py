"""What each configuration object is told in its own status: valid or not, in force or not, who holds it.

In:  the objects as they are seen, with what stands in their status; what compile() found; the claims.
Out: status patches (condition metalbgp.io/Valid; of an AddressReservation also who holds its addresses),
     where something changed, and at most one round a second.
Elsewhere: events and log lines are tell.py; the counters of pools are pools.py.

A status is for people. One that the API server refuses or prunes is not sent again until it says something
else; only what did not arrive is, ever more slowly.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field
from msgspec.structs import replace

from metalbgp import logs
from metalbgp.allocate.taken import Use
from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import ClusterError, Refused
from metalbgp.config.objects import Meta
from metalbgp.controller.claims import Claims
from metalbgp.controller.tell import KINDS
from metalbgp.inventory.inventory import Inventory
from metalbgp.model.configuration import Reservation
from metalbgp.model.names import VALID
from metalbgp.model.reasons import Invalid, NotInForce
from metalbgp.model.services import Condition
from metalbgp.model.virtualips import HELD_PHASES

PACE = 1.0  # seconds between two rounds
AGAIN_AT_MOST = 60.0  # seconds between two tries of what does not arrive
KEPT: Final = "metalbgp.io/Kept"  # of an AddressReservation: nobody else has its addresses
Key = tuple[str, str]  # kind, name


class Status(Struct, frozen=True):
    """The part of an object's status that is written here."""

    conditions: tuple[Condition, ...] = ()
    whose: str = field(default="", name="for")  # AddressReservation
    holder: str = ""  # AddressReservation

    def same(self, other: "Status") -> bool:
        return self._timeless() == other._timeless()

    def _timeless(self) -> "Status":
        known = (one for one in self.conditions if one.type in (VALID, KEPT))
        ours = sorted((replace(one, last_transition_time="") for one in known), key=lambda one: one.type)
        return replace(self, conditions=tuple(ours))

    def condition(self, type_: str) -> Condition | None:
        return next((one for one in self.conditions if one.type == type_), None)


class _Object(Struct):
    status: Status | None = None


class _Seen(Struct):
    uid: str
    generation: int
    stands: Status


_decode = msgspec.json.Decoder(_Object).decode


class Verdicts:
    def __init__(
        self,
        client: Client,
        inventory: Inventory,
        claims: Claims,
        namespace: str,
        now: Callable[[], str] = lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    ) -> None:
        self._client = client
        self._inventory = inventory
        self._claims = claims
        self._namespace = namespace
        self._now = now
        self._seen: dict[Key, _Seen] = {}
        self._said: dict[Key, tuple[str, Status]] = {}  # (uid, what was sent)
        self._invalid: dict[Key, list[Invalid]] = {}
        self._not_in_force: dict[Key, list[NotInForce]] = {}
        self._judged = False
        self._due = asyncio.Event()
        self.leading = False

    # ------------------------------------------------------------------ what is known

    def seen(self, kind: str, meta: Meta, data: bytes | Raw) -> None:
        try:
            stands = _decode(data).status or Status()
        except msgspec.ValidationError:  # other hands wrote it; it is overwritten
            stands = Status()
        self._seen[kind, meta.name] = _Seen(meta.uid, meta.source.generation, stands)
        self._due.set()

    def gone(self, kind: str, name: str) -> None:
        self._seen.pop((kind, name), None)
        self._said.pop((kind, name), None)

    def judged(self, invalid: Iterable[Invalid], not_in_force: Iterable[NotInForce]) -> None:
        self._invalid, self._not_in_force = {}, {}
        for wrong in invalid:
            self._invalid.setdefault((wrong.kind, wrong.object), []).append(wrong)
        for idle in not_in_force:
            self._not_in_force.setdefault((idle.kind, idle.object), []).append(idle)
        self._judged = True
        self._due.set()

    def due(self) -> None:
        """Claims changed: the holders of reservations may be others."""
        if self._inventory.configuration.reservations:
            self._due.set()

    # ------------------------------------------------------------------ writing

    async def run(self) -> None:
        """Until cancelled."""
        pause = PACE
        while True:
            await self._due.wait()
            self._due.clear()
            if self.leading and self._judged:
                if await self._round():
                    pause = PACE
                else:
                    self._due.set()
                    pause = min(pause * 2, AGAIN_AT_MOST)
            await asyncio.sleep(pause)

    async def _round(self) -> bool:
        """Whether everything arrived that was to be said."""
        reservations = {one.name: one for one in self._inventory.configuration.reservations}
        arrived = True
        for key in sorted(self._seen):
            found = self._seen.get(key)
            if found is None:
                continue  # it went while we wrote
            said = self._said.get(key)
            standing = said[1] if said is not None and said[0] == found.uid else found.stands
            wanted = self._wanted(key, found, standing, reservations.get(key[1]))
            if not wanted.same(standing):
                arrived = await self._write(key, found, wanted) and arrived
        return arrived

    async def _write(self, key: Key, found: _Seen, wanted: Status) -> bool:
        kind, name = key
        others = [one for one in found.stands.conditions if wanted.condition(one.type) is None]
        status: dict[str, Any] = {"conditions": msgspec.to_builtins([*others, *wanted.conditions])}
        if kind == "AddressReservation":
            status |= {"for": wanted.whose, "holder": wanted.holder}
        try:
            await self._client.patch(
                KINDS[kind], name, {"status": status}, self._namespace, subresource="status"
            )
        except Refused as error:
            logs.warn("verdict-refused", kind=kind, object=name, error=str(error))
            if error.retry_after is not None:
                return False
        except ClusterError as error:
            logs.warn("verdict-failed", kind=kind, object=name, error=str(error))
            return False
        self._said[key] = (found.uid, wanted)
        return True

    # ------------------------------------------------------------------ what is to be said

    def _wanted(self, key: Key, found: _Seen, standing: Status, reservation: Reservation | None) -> Status:
        conditions = [self._valid(key)]
        whose = holder = ""
        if reservation is not None and key[0] == "AddressReservation":
            whose, (holder, kept) = reservation.whose(), self._kept(reservation)
            conditions.append(kept)
        return Status(
            conditions=tuple(self._stamped(one, found.generation, standing) for one in conditions),
            whose=whose,
            holder=holder,
        )

    def _stamped(self, one: Condition, generation: int, standing: Status) -> Condition:
        before = standing.condition(one.type)
        since = before.last_transition_time if before and before.status == one.status else ""
        return replace(one, observed_generation=generation, last_transition_time=since or self._now())

    def _valid(self, key: Key) -> Condition:
        if wrong := self._invalid.get(key):
            words = (f"{one.field}: {one.why}" + (f". Remedy: {one.fix}" if one.fix else "") for one in wrong)
            return Condition(type=VALID, status="False", reason="Invalid", message="\n".join(words))
        if idle := self._not_in_force.get(key):
            words = (f"{one.field} is not in force: {one.why}" for one in idle)
            return Condition(type=VALID, status="True", reason="NotInForce", message="\n".join(words))
        return Condition(type=VALID, status="True", reason="Valid", message="in force")

    def _kept(self, one: Reservation) -> tuple[str, Condition]:
        """Who holds the addresses, in one line, and whether they are kept for whom they are reserved."""
        own: dict[str, None] = {}
        others: dict[str, None] = {}
        wrong: list[str] = []
        reason = ""
        for address in one.addresses:
            claim = self._inventory.claims.get(address)
            if claim is not None and claim.phase in HELD_PHASES and claim.holders:
                strangers = [key for key in sorted(claim.holders) if not self._admits(one, key)]
                own |= dict.fromkeys(key for key in sorted(claim.holders) if key not in strangers)
                others |= dict.fromkeys(strangers)
                if strangers:
                    reason = "HeldByOther"
                    wrong.append(f"{address}: {' and '.join(strangers)} holds it until it is released")
            elif self._inventory.configuration.pool_of(address) is None:
                reason = reason or "NoPool"
                wrong.append(f"{address} is in no IPAddressPool, so it is not kept")
            elif claim is None:
                foreign = self._claims.taken.conflict(address, Use(service="", uid=""), (address,))
                if foreign is not None:
                    reason = "HeldByOther"
                    wrong.append(foreign.explain())
        holder = ", ".join(own)
        if others:
            stranger = f"other: {' and '.join(others)} holds it until it is released"
            holder = f"{holder}; {stranger}" if holder else stranger
        if wrong:
            return holder, Condition(type=KEPT, status="False", reason=reason, message="\n".join(wrong))
        in_use = "InUse" if own else "Reserved"
        return holder, Condition(type=KEPT, status="True", reason=in_use, message=f"for {one.whose()}")

    def _admits(self, one: Reservation, key: str) -> bool:
        namespace, _, name = key.partition("/")
        service = self._inventory.services.get(key)
        return one.admits(namespace, name, service.labels if service else {})
