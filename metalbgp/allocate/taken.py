"""Every address that is not free, who stands behind it or why nobody may, and the next free one.

In:  verbs: hold, release, close, open (one address each), learn (a VirtualIP as it is now); reserve, occupy
     (what the configuration promises, what the cluster itself uses: the whole set each time).
Out: holders, the reason why one request may not have one address, the first free address, counts.
Elsewhere: which pool and which address is chosen is allocate.py; a 409 is claims.py; runs are runs.py; who
     may share is sharing.py; what the cluster itself uses is guard.py.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from metalbgp.allocate.guard import Guard, Occupied
from metalbgp.allocate.runs import Numbers, Runs
from metalbgp.allocate.sharing import Sharers, Use, clash, use_of, use_of_holder
from metalbgp.model.addresses import Family, Range, family, from_int, parse
from metalbgp.model.configuration import Pool, Reservation
from metalbgp.model.reasons import (
    AddressAnswers,
    AddressCooling,
    AddressReserved,
    AddressTaken,
    NotShared,
    PortTaken,
)
from metalbgp.model.services import identities
from metalbgp.model.virtualips import HELD_PHASES, VirtualIP

__all__ = ["Closed", "Conflict", "Taken", "Use", "clash", "use_of", "use_of_holder"]

Conflict = AddressTaken | NotShared | PortTaken | AddressReserved | AddressCooling | AddressAnswers


class Closed(Struct, frozen=True, gc=False):
    """An address that nobody holds and that is not free either."""

    why: Conflict
    kept_for: tuple[str, ...] = ()  # identities that may have it all the same
    cooling: bool = False  # may be given early, if the pool's policy says so
    since: str = ""

    @property
    def patience(self) -> tuple[str, str]:
        """Sorts those first that are nearest to their end; without end comes last."""
        until = self.why.until if isinstance(self.why, AddressCooling) else ""
        return until or "9", self.since


class Taken:
    """Every address that cannot be given freely. Adding or removing one costs O(log n) and a memmove."""

    def __init__(self) -> None:
        self._uses: dict[str, dict[str, Use]] = {}  # address → service → use
        self._closed: dict[str, Closed] = {}
        self._answers: dict[str, AddressAnswers] = {}  # strangers on the segment; outlives claims of ours
        self._kept: dict[str, set[str]] = {}  # identity → closed addresses that it may have
        self._reserved: dict[str, Reservation] = {}  # by the configuration in force, claimed or not
        self._guard = Guard()
        self._by_namespace: dict[tuple[str, Family], Numbers] = {}  # addresses that its Services hold
        self._by_service: dict[str, set[str]] = {}
        self._sharers = Sharers()
        self._runs: dict[Family, Runs] = {4: Runs(), 6: Runs()}
        self._waiting: dict[Family, Numbers] = {4: Numbers(), 6: Numbers()}  # reserved, held by nobody
        self._cooling: dict[Family, Numbers] = {4: Numbers(), 6: Numbers()}
        self._patience: list[tuple[tuple[str, str], Family, int]] = []  # the same, first to end first

    def hold(self, address: str, use: Use) -> None:
        """The Service stands behind the address from now on (if it already did, the newer use counts)."""
        version, number = family(address), int(parse(address))
        uses = self._uses.setdefault(address, {})
        before = uses.get(use.service)
        uses[use.service] = use
        if before is not None:
            self._sharers.drop(version, number, before, (one for one in uses.values() if one is not use))
        self._sharers.put(version, number, use)
        self._by_service.setdefault(use.service, set()).add(address)
        self._by_namespace.setdefault((use.namespace, version), Numbers()).add(number)
        self._waiting[version].remove(number)
        self._runs[version].add(number)

    def release(self, address: str, service: str) -> None:
        """The Service holds the address no longer; harmless when it did not."""
        uses = self._uses.get(address, {})
        use = uses.pop(service, None)
        if use is None:
            return
        version, number = family(address), int(parse(address))
        self._sharers.drop(version, number, use, uses.values())
        mine = self._by_service[service]
        mine.discard(address)
        if not mine:
            del self._by_service[service]
        if all(other.namespace != use.namespace for other in uses.values()):
            self._by_namespace[use.namespace, version].remove(number)
        if not uses:
            del self._uses[address]
            if address in self._reserved:
                self._waiting[version].add(number)
            self._free_if_unused(address)

    def close(self, address: str, by: str, kept_for: tuple[str, ...] = ()) -> None:
        """Nobody may have it (foreign, on its way out), but for the Service it is kept for."""
        self._close(address, Closed(AddressTaken(address=address, holder=by), kept_for=kept_for))

    def answers(self, found: AddressAnswers) -> None:
        """Somebody on the segment uses it (a probe found out): nobody of ours may have it anew."""
        self._answers[found.address] = found
        self._runs[family(found.address)].add(int(parse(found.address)))

    def silent(self, address: str) -> None:
        """Undo answers: whoever wants it asks again."""
        if self._answers.pop(address, None) is not None:
            self._free_if_unused(address)

    def _close(self, address: str, closed: Closed) -> None:
        self.open(address)
        version, number = family(address), int(parse(address))
        self._closed[address] = closed
        for identity in closed.kept_for:
            self._kept.setdefault(identity, set()).add(address)
        if closed.cooling:
            self._cooling[version].add(number)
            insort(self._patience, (closed.patience, version, number))
        self._runs[version].add(number)

    def open(self, address: str) -> None:
        """Undo close; holders stay."""
        closed = self._closed.pop(address, None)
        if closed is None:
            return
        for identity in closed.kept_for:
            kept = self._kept.get(identity, set())
            kept.discard(address)
            if not kept:
                self._kept.pop(identity, None)
        if closed.cooling:
            version, number = family(address), int(parse(address))
            self._cooling[version].remove(number)
            del self._patience[bisect_left(self._patience, (closed.patience, version, number))]
        self._free_if_unused(address)

    def reserve(self, reservations: Sequence[Reservation]) -> None:
        """The reservations in force, all of them: their addresses are not free, claimed or not."""
        before, self._reserved = self._reserved, {}
        for one in reversed(reservations):  # the first wins, as in Configuration.reservation_of
            for address in one.addresses:
                self._reserved[address] = one
        for address in self._reserved.keys() - before.keys():
            self._runs[family(address)].add(int(parse(address)))
            if address not in self._uses:
                self._waiting[family(address)].add(int(parse(address)))
        for address in before.keys() - self._reserved.keys():
            self._waiting[family(address)].remove(int(parse(address)))
            self._free_if_unused(address)

    def occupy(self, occupied: Iterable[Occupied]) -> None:
        """What Nodes and the cluster's own networks use, all of it."""
        self._guard = Guard(occupied)

    def owner(self, address: str) -> str:
        """The Node or network of the cluster that uses the address; "": none."""
        return self._guard.owner(family(address), int(parse(address)))

    def learn(self, address: str, vip: VirtualIP | None) -> None:
        """Make what is known of one address equal to its claim; None: the claim is gone."""
        self.open(address)
        keep = set(vip.holders) if vip is not None and vip.phase in HELD_PHASES else set()
        for service in [key for key in self._uses.get(address, {}) if key not in keep]:
            self.release(address, service)
        if vip is None:
            return
        if vip.phase in HELD_PHASES and vip.holders:
            for key, holder in vip.holders.items():
                self.hold(address, use_of_holder(key, holder))
        elif vip.phase == "cooling":
            why = AddressCooling(address=address, kept_for=vip.kept_for, until=vip.until)
            self._close(address, Closed(why, kept_for=vip.kept_for, cooling=True, since=vip.since))
        elif vip.phase != "reserved" or address not in self._reserved:
            # A Service that comes back finds its address again, if it was the only one behind it.
            only = [identities(key, holder.address_id) for key, holder in vip.holders.items()]
            kept_for = only[0] if len(only) == 1 else ()
            self.close(address, by=f"VirtualIP {address} ({vip.phase})", kept_for=kept_for)

    def conflict(self, address: str, use: Use, reserved: Sequence[str] = ()) -> Conflict | None:
        """Why this use may not have the address; None: free, its own, or compatible with all who share it.

        `reserved`: addresses whose AddressReservations admit the Service (Request.reserved).
        """
        reservation = self._reserved.get(address)
        if reservation is not None and address not in reserved and not self._holds(use.service, address):
            whose = reservation.whose()
            return AddressReserved(address=address, reservation=reservation.name, whose=whose)
        if address in self._answers and not self._holds(use.service, address):
            return self._answers[address]
        closed = self._closed.get(address)
        if closed is not None and use.service not in closed.kept_for:
            promised = address in reserved and closed.cooling  # a reservation is stronger than a memory
            if not promised and not set(use.identities) & set(closed.kept_for):
                return closed.why
        return self.clash(address, use)

    def clash(self, address: str, use: Use) -> Conflict | None:
        """Why the use may not stand beside those who hold the address, promised to others or not."""
        found = (
            clash(address, use, other)
            for other in self._uses.get(address, {}).values()
            if other.service != use.service
        )
        return next((reason for reason in found if reason is not None), None)

    def _holds(self, service: str, address: str) -> bool:
        return service in self._uses.get(address, ())

    def first_free(self, version: Family, at: int, *, guarded: bool = True) -> int:
        """The lowest number >= at that is neither held nor closed nor (guarded) the cluster's own."""
        runs = self._runs[version]
        number = runs.next_gap(at)
        while guarded and (past := self._guard.past(version, number)) != number:
            number = runs.next_gap(past)
        return number

    def joinable(self, version: Family, use: Use, at: int) -> int | None:
        """The lowest held address >= at that the use might share; conflict() has the last word."""
        return self._sharers.lowest(version, use, at)

    def kept_for(self, use: Use) -> tuple[tuple[str, str], ...]:
        """(address, identity) of what waits for its return; by its name first, then by its address-id."""
        names = use.identities or (use.service,)
        return tuple(
            (address, name) for name in names for address in sorted(self._kept.get(name, ()), key=_place)
        )

    def cooling(self, pool: Pool) -> Iterator[str]:
        """Addresses of the pool that were given up and are not free yet, the nearest to its end first."""
        found = (from_int(version, number) for _, version, number in self._patience)
        return (address for address in found if address in pool)

    def reserved(self, pool: Pool) -> tuple[str, ...]:
        """Reserved addresses of the pool that nobody holds."""
        found = (
            (piece, self._waiting[piece.version].between(piece.first, piece.last)) for piece in pool.ranges
        )
        return tuple(from_int(piece.version, number) for piece, numbers in found for number in numbers)

    def count_cooling(self, piece: Range) -> int:
        return self._cooling[piece.version].count(piece.first, piece.last)

    def count_reserved(self, piece: Range) -> int:
        """Of those that nobody holds."""
        return self._waiting[piece.version].count(piece.first, piece.last)

    def is_reserved(self, address: str) -> bool:
        return address in self._reserved

    def used_by_namespace(self, namespace: str, pool: Pool) -> int:
        """How many addresses of the pool the Services of a namespace hold; a shared one counts once."""
        found = ((piece, self._by_namespace.get((namespace, piece.version))) for piece in pool.ranges)
        return sum(numbers.count(piece.first, piece.last) for piece, numbers in found if numbers is not None)

    def namespace_holds(self, namespace: str, address: str, *, but: str = "") -> bool:
        """Whether a Service of the namespace, other than `but`, holds the address."""
        uses = self._uses.get(address, {}).values()
        return any(use.namespace == namespace and use.service != but for use in uses)

    def held_by(self, service: str) -> frozenset[str]:
        return frozenset(self._by_service.get(service, ()))

    def holders(self, address: str) -> tuple[Use, ...]:
        """Oldest first."""
        return tuple(sorted(self._uses.get(address, {}).values(), key=lambda use: use.age))

    def __contains__(self, address: str) -> bool:
        known = self._uses, self._closed, self._reserved, self._answers
        return any(address in one for one in known)

    def __len__(self) -> int:
        return len(self._uses.keys() | self._closed.keys() | self._reserved.keys() | self._answers.keys())

    def count(self, version: Family, first: int, last: int) -> int:
        """How many addresses of first..last are taken (for pool status and metrics)."""
        return self._runs[version].count(first, last)

    def _free_if_unused(self, address: str) -> None:
        if address not in self:
            self._runs[family(address)].remove(int(parse(address)))


def _place(address: str) -> tuple[Family, int]:
    """Sorts IPv4 before IPv6, and each by number."""
    return family(address), int(parse(address))
