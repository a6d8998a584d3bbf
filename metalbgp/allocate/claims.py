"""Who keeps an address when two want it: judging a 409, and contradictions found at start.

In:  our Service and the VirtualIP found under that name; at start: all claims and all Services.
Out: Ours, TakeOver, Join, Busy; at start: Taken and who lost what.
Elsewhere: the POST and the compare-and-swap are cluster/ and controller/; rules of sharing are taken.py.
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from metalbgp.allocate.guard import Occupied
from metalbgp.allocate.taken import Conflict, Taken, Use, clash, use_of, use_of_holder
from metalbgp.model.addresses import AddressError, canonical
from metalbgp.model.configuration import Reservation
from metalbgp.model.reasons import AddressCooling, AddressReserved, AddressTaken
from metalbgp.model.services import Service, identities
from metalbgp.model.virtualips import HELD_PHASES, VirtualIP


class Ours(Struct, frozen=True):
    """Our uid stands in it already: a crash between the steps heals itself."""

    found: VirtualIP


class TakeOver(Struct, frozen=True):
    """Made for a Service of our name that is gone: rewrite its uid by compare-and-swap."""

    found: VirtualIP
    instead_of: str  # uid


class Promised(Struct, frozen=True):
    """Nobody stands behind it, and it was reserved or kept for us, or may be given early: make it bound."""

    found: VirtualIP


class Join(Struct, frozen=True):
    """Shared by compatible Services: add ourselves by compare-and-swap."""

    found: VirtualIP


class Busy(Struct, frozen=True):
    """Take the next address."""

    reason: Conflict


Verdict = Ours | TakeOver | Promised | Join | Busy


def judge(
    own: Service,
    found: VirtualIP,
    living: Callable[[str], str | None],
    installation: str = "",
    reservations: Sequence[Reservation] = (),
    *,
    reuse_early: bool = False,
) -> Verdict:
    """Judge the object just read after a 409 (contracts.md, Claiming).

    `living`: namespace/name → uid of the Service that exists now. A found object whose phase is not bound is
    Ours or TakeOver all the same: whoever acts on the verdict writes phase bound with it. `reuse_early`: the
    pool's policy gives cooling addresses to others when nothing else is free (allocate() saw to that).
    """
    if installation and found.installation and installation != found.installation:
        return Busy(AddressTaken(address=found.address, holder=f"installation {found.installation}"))
    if _succeeds(own, found):
        return Promised(found)
    mine = found.holders.get(own.key)
    for key, holder in found.holders.items():
        if key != own.key:
            reason: Conflict | None = clash(found.address, use_of(own), use_of_holder(key, holder))
            if reason is not None and (mine is None or mine.uid != own.uid):
                return Busy(reason)
    if mine is not None:
        if mine.uid == own.uid:
            return Ours(found)
        if living(own.key) == own.uid:
            return TakeOver(found, instead_of=mine.uid)
        return Busy(AddressTaken(address=found.address, holder=own.key))  # our own view is the old one
    if found.phase in HELD_PHASES and found.holders:
        return Join(found)
    reason = _withheld(own, found, reservations, reuse_early)
    return Promised(found) if reason is None else Busy(reason)


def _succeeds(own: Service, found: VirtualIP) -> bool:
    """Renamed within its namespace while the address of its old name is still being withdrawn."""
    return (
        found.phase == "releasing"
        and own.key not in found.holders
        and len(found.holders) == 1
        and any(set(identities(k, h.address_id)) & set(own.identities) for k, h in found.holders.items())
    )


def _withheld(
    own: Service, found: VirtualIP, reservations: Sequence[Reservation], reuse_early: bool
) -> Conflict | None:
    """Why an address that nobody stands behind is not given to the Service."""
    if found.phase not in ("reserved", "cooling"):  # releasing: withdrawn first, then given to others
        return AddressTaken(address=found.address, holder=f"VirtualIP {found.address} ({found.phase})")
    reservation = next((one for one in reservations if found.address in one.addresses), None)
    if reservation is not None:
        if reservation.admits(own.namespace, own.name, own.labels):
            return None
        return AddressReserved(address=found.address, reservation=reservation.name, whose=reservation.whose())
    if found.phase == "cooling":
        if reuse_early or set(own.identities) & set(found.kept_for):
            return None
        return AddressCooling(address=found.address, kept_for=found.kept_for, until=found.until)
    return AddressTaken(address=found.address, holder=f"VirtualIP {found.address} ({found.phase})")


class Lost(Struct, frozen=True):
    """A Service whose claim or status names an address that an older one keeps."""

    service: str
    address: str
    reason: Conflict


def adopt(
    claims: Iterable[VirtualIP],
    services: Iterable[Service],
    reservations: Sequence[Reservation] = (),
    occupied: Iterable[Occupied] = (),
) -> tuple[Taken, tuple[Lost, ...]]:
    """At start: every claim, then every status, is taken before any pending Service is served.

    Contradictions end one way: claims before statuses, and among equals the oldest Service keeps.
    """
    taken = Taken()
    taken.reserve(reservations)
    taken.occupy(occupied)
    lost: list[Lost] = []
    living = {service.key: service for service in services if not service.deleting}
    for vip in claims:
        taken.learn(vip.address, vip)
        if vip.phase not in HELD_PHASES:
            continue
        for key in vip.holders:
            taken.release(vip.address, key)
        uses = (
            use_of(living[key]) if key in living else use_of_holder(key, holder)
            for key, holder in vip.holders.items()
        )
        _settle(taken, ((vip.address, use) for use in sorted(uses, key=lambda use: use.age)), lost)
    for service in sorted(living.values(), key=lambda service: use_of(service).age):
        _settle(taken, ((address, use_of(service)) for address in _ingress(service)), lost)
    return taken, tuple(lost)


def _settle(taken: Taken, wanted: Iterable[tuple[str, Use]], lost: list[Lost]) -> None:
    for address, use in wanted:
        reason = taken.conflict(address, use)
        if isinstance(reason, AddressReserved):
            reason = taken.clash(address, use)  # what is held stays; the reservation waits for its release
        if reason is None:
            taken.hold(address, use)
        else:
            lost.append(Lost(service=use.service, address=address, reason=reason))


def _ingress(service: Service) -> Iterable[str]:
    for text in service.ingress:
        try:
            yield canonical(text)
        except AddressError:
            continue  # other hands wrote it; nobody holds it
