"""Who holds which address, and the first free one at or after any other.

In:  verbs: hold, release, close, open (one address each), learn (a VirtualIP as it is now); reserve, occupy
     (what the configuration promises, what the cluster itself uses: the whole set each time).
Out: holders, the reason why one request may not have one address, the first free address.
Elsewhere: which pool and which address is chosen is allocate.py; a 409 is claims.py; runs are runs.py; what
     the cluster itself uses is guard.py.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from metalbgp.allocate.guard import Guard, Occupied
from metalbgp.allocate.runs import Runs
from metalbgp.model.addresses import Family, family, parse
from metalbgp.model.configuration import Pool, Reservation
from metalbgp.model.reasons import (
    AddressAnswers,
    AddressCooling,
    AddressReserved,
    AddressTaken,
    NotShared,
    PortTaken,
)
from metalbgp.model.services import Port, Service, identities
from metalbgp.model.virtualips import HELD_PHASES, Holder, VirtualIP

Conflict = AddressTaken | NotShared | PortTaken | AddressReserved | AddressCooling | AddressAnswers


class Use(Struct, frozen=True, gc=False):
    """One Service's hold on an address: what a second one is judged by (metallb.md 2.5)."""

    service: str  # namespace/name
    uid: str
    created: str = ""
    sharing_key: str = ""  # "": never shared
    backend: str = ""  # the selector's text under policy Local, else ""
    ports: tuple[Port, ...] = ()
    identities: tuple[str, ...] = ()  # what a kept address may remember of it

    @property
    def namespace(self) -> str:
        return self.service.partition("/")[0]

    @property
    def age(self) -> tuple[str, str]:
        """Sorts the oldest first; the key makes equal ages comparable."""
        return self.created, self.service


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


def backend_key(local: bool, selector: Mapping[str, str]) -> str:
    """Under Local the traffic stays with the node's own Pods, so sharers must mean the same Pods."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items())) if local else ""


def use_of(service: Service) -> Use:
    return Use(
        service=service.key,
        uid=service.uid,
        created=service.created,
        sharing_key=service.sharing_key,
        backend=backend_key(service.local, service.selector),
        ports=service.ports,
        identities=service.identities,
    )


def use_of_holder(key: str, holder: Holder) -> Use:
    """The same from a claim: all that is known of a Service that is not (or not yet) in view."""
    pieces = (text.partition("/") for text in holder.ports)
    return Use(
        service=key,
        uid=holder.uid,
        created=holder.created,
        sharing_key=holder.sharing_key,
        backend=backend_key(holder.policy == "Local", holder.selector),
        ports=tuple(Port(protocol=protocol, port=int(port)) for protocol, _, port in pieces),
        identities=identities(key, holder.address_id),
    )


def clash(address: str, new: Use, other: Use) -> Conflict | None:
    """Why `new` may not stand beside `other` on the address; None: it may."""
    if not other.sharing_key and not new.sharing_key:
        return AddressTaken(address=address, holder=other.service)
    if new.sharing_key != other.sharing_key:
        return NotShared(address=address, holder=other.service, why="key")
    if new.backend != other.backend:
        why = "policy" if not (new.backend and other.backend) else "selector"
        return NotShared(address=address, holder=other.service, why=why)
    for port in new.ports:
        if port in other.ports:
            return PortTaken(address=address, port=port.port, protocol=port.protocol, holder=other.service)
    return None


class Taken:
    """Every address that cannot be given freely. Adding or removing one costs O(log n) and a memmove."""

    def __init__(self) -> None:
        self._uses: dict[str, dict[str, Use]] = {}  # address → service → use
        self._closed: dict[str, Closed] = {}
        self._kept: dict[str, set[str]] = {}  # identity → closed addresses that it may have
        self._reserved: dict[str, Reservation] = {}  # by the configuration in force, claimed or not
        self._guard = Guard()
        self._by_namespace: dict[str, dict[Family, Runs]] = {}  # addresses that its Services hold
        self._by_service: dict[str, set[str]] = {}
        self._by_key: dict[str, set[str]] = {}  # sharing key → addresses where a holder has it
        self._runs: dict[Family, Runs] = {4: Runs(), 6: Runs()}

    def hold(self, address: str, use: Use) -> None:
        """The Service stands behind the address from now on (if it already did, the newer use counts)."""
        uses = self._uses.setdefault(address, {})
        before = uses.get(use.service)
        uses[use.service] = use
        self._by_service.setdefault(use.service, set()).add(address)
        if before is not None and before.sharing_key != use.sharing_key:
            self._forget_key(address, before.sharing_key)
        if use.sharing_key:
            self._by_key.setdefault(use.sharing_key, set()).add(address)
        self._runs[family(address)].add(int(parse(address)))
        runs = self._by_namespace.setdefault(use.namespace, {4: Runs(), 6: Runs()})
        runs[family(address)].add(int(parse(address)))

    def release(self, address: str, service: str) -> None:
        """The Service holds the address no longer; harmless when it did not."""
        uses = self._uses.get(address, {})
        use = uses.pop(service, None)
        if use is None:
            return
        mine = self._by_service[service]
        mine.discard(address)
        if not mine:
            del self._by_service[service]
        self._forget_key(address, use.sharing_key)
        if all(other.namespace != use.namespace for other in uses.values()):
            self._by_namespace[use.namespace][family(address)].remove(int(parse(address)))
        if not uses:
            del self._uses[address]
            self._free_if_unused(address)

    def close(self, address: str, by: str, keep_for: str = "") -> None:
        """Nobody may have it (foreign, on its way out), but for the Service it is kept for."""
        why = AddressTaken(address=address, holder=by)
        self._close(address, Closed(why, kept_for=(keep_for,) if keep_for else ()))

    def answers(self, address: str, mac: str, node: str) -> None:
        """Somebody on the segment uses it (a probe found out): nobody of ours may have it."""
        self._close(address, Closed(AddressAnswers(address=address, mac=mac, node=node)))

    def _close(self, address: str, closed: Closed) -> None:
        self.open(address)
        self._closed[address] = closed
        for identity in closed.kept_for:
            self._kept.setdefault(identity, set()).add(address)
        self._runs[family(address)].add(int(parse(address)))

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
        self._free_if_unused(address)

    def reserve(self, reservations: Sequence[Reservation]) -> None:
        """The reservations in force, all of them: their addresses are not free, claimed or not."""
        before, self._reserved = self._reserved, {}
        for one in reversed(reservations):  # the first wins, as in Configuration.reservation_of
            for address in one.addresses:
                self._reserved[address] = one
        for address in self._reserved.keys() - before.keys():
            self._runs[family(address)].add(int(parse(address)))
        for address in before.keys() - self._reserved.keys():
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
            only = next(iter(vip.holders)) if len(vip.holders) == 1 else ""
            self.close(address, by=f"VirtualIP {address} ({vip.phase})", keep_for=only)

    def conflict(self, address: str, use: Use, reserved: Sequence[str] = ()) -> Conflict | None:
        """Why this use may not have the address; None: free, its own, or compatible with all who share it.

        `reserved`: addresses whose AddressReservations admit the Service (Request.reserved).
        """
        reservation = self._reserved.get(address)
        if reservation is not None and address not in reserved and not self._holds(use.service, address):
            whose = reservation.whose()
            return AddressReserved(address=address, reservation=reservation.name, whose=whose)
        closed = self._closed.get(address)
        if closed is not None and use.service not in closed.kept_for:
            promised = address in reserved and closed.cooling  # a reservation is stronger than a memory
            if not promised and not set(use.identities) & set(closed.kept_for):
                return closed.why
        for other in self._uses.get(address, {}).values():
            if other.service != use.service:
                reason = clash(address, use, other)
                if reason is not None:
                    return reason
        return None

    def _holds(self, service: str, address: str) -> bool:
        return service in self._uses.get(address, ())

    def first_free(self, version: Family, at: int, *, guarded: bool = True) -> int:
        """The lowest number >= at that is neither held nor closed nor (guarded) the cluster's own."""
        runs = self._runs[version]
        number = runs.next_gap(at)
        while guarded and (past := self._guard.past(version, number)) != number:
            number = runs.next_gap(past)
        return number

    def maybe_usable(self, use: Use) -> Iterable[str]:
        """Taken addresses that this use might have all the same: its own, and those of its sharing key."""
        own = self._by_service.get(use.service, set())
        shared = self._by_key.get(use.sharing_key, set()) if use.sharing_key else set()
        return own | shared

    def kept_for(self, use: Use) -> tuple[tuple[str, str], ...]:
        """(address, identity) of what waits for its return; by its name first, then by its address-id."""
        names = use.identities or (use.service,)
        return tuple((address, name) for name in names for address in sorted(self._kept.get(name, ())))

    def cooling(self, pool: Pool) -> tuple[str, ...]:
        """Addresses of the pool that were given up and are not free yet, the nearest to its end first."""
        found = [(closed.patience, address) for address, closed in self._closed.items() if closed.cooling]
        return tuple(address for _, address in sorted(found) if address in pool)

    def reserved(self, pool: Pool) -> tuple[str, ...]:
        """Reserved addresses of the pool that nobody holds."""
        return tuple(sorted(one for one in self._reserved if one in pool and one not in self._uses))

    def used_by_namespace(self, namespace: str, pool: Pool) -> int:
        """How many addresses of the pool the Services of a namespace hold; a shared one counts once."""
        runs = self._by_namespace.get(namespace)
        if runs is None:
            return 0
        return sum(runs[piece.version].count(piece.first, piece.last) for piece in pool.ranges)

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
        return address in self._uses or address in self._closed or address in self._reserved

    def __len__(self) -> int:
        return len(self._uses.keys() | self._closed.keys() | self._reserved.keys())

    def count(self, version: Family, first: int, last: int) -> int:
        """How many addresses of first..last are taken (for pool status and metrics)."""
        return self._runs[version].count(first, last)

    def _free_if_unused(self, address: str) -> None:
        if address not in self:
            self._runs[family(address)].remove(int(parse(address)))

    def _forget_key(self, address: str, key: str) -> None:
        if key and not any(use.sharing_key == key for use in self._uses.get(address, {}).values()):
            addresses = self._by_key.get(key, set())
            addresses.discard(address)
            if not addresses:
                self._by_key.pop(key, None)
