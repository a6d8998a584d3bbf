"""Who holds which address, and the first free one at or after any other.

In:  verbs: hold, release, close, open (one address each), learn (a VirtualIP as it is now).
Out: holders, the reason why one request may not have one address, the first free address.
Elsewhere: which pool and which address is chosen is allocate.py; a 409 is claims.py; runs are runs.py.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from metalbgp.allocate.runs import Runs
from metalbgp.model.addresses import Family, family, parse
from metalbgp.model.reasons import AddressTaken, NotShared, PortTaken
from metalbgp.model.services import Port, Service
from metalbgp.model.virtualips import Holder, VirtualIP

Conflict = AddressTaken | NotShared | PortTaken


class Use(Struct, frozen=True, gc=False):
    """One Service's hold on an address: what a second one is judged by (metallb.md 2.5)."""

    service: str  # namespace/name
    uid: str
    created: str = ""
    sharing_key: str = ""  # "": never shared
    backend: str = ""  # the selector's text under policy Local, else ""
    ports: tuple[Port, ...] = ()

    @property
    def age(self) -> tuple[str, str]:
        """Sorts the oldest first; the key makes equal ages comparable."""
        return self.created, self.service


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
        self._closed: dict[str, tuple[str, str]] = {}  # address → (by whom, kept for which service)
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
        if not uses:
            del self._uses[address]
            self._free_if_unused(address)

    def close(self, address: str, by: str, keep_for: str = "") -> None:
        """Nobody may have it (reserved, cooling, foreign), but for the Service it is kept for."""
        self._closed[address] = (by, keep_for)
        self._runs[family(address)].add(int(parse(address)))

    def open(self, address: str) -> None:
        """Undo close; holders stay."""
        if self._closed.pop(address, None) is not None:
            self._free_if_unused(address)

    def learn(self, address: str, vip: VirtualIP | None) -> None:
        """Make what is known of one address equal to its claim; None: the claim is gone."""
        self.open(address)
        keep = set(vip.holders) if vip is not None and vip.phase == "bound" else set()
        for service in [key for key in self._uses.get(address, {}) if key not in keep]:
            self.release(address, service)
        if vip is None:
            return
        if vip.phase == "bound" and vip.holders:
            for key, holder in vip.holders.items():
                self.hold(address, use_of_holder(key, holder))
        else:
            # A Service that comes back finds its address again, if it was the only one behind it.
            only = next(iter(vip.holders)) if len(vip.holders) == 1 else ""
            self.close(address, by=f"VirtualIP {address} ({vip.phase})", keep_for=only)

    def conflict(self, address: str, use: Use) -> Conflict | None:
        """Why this use may not have the address; None: free, its own, or compatible with all who share it."""
        closed = self._closed.get(address)
        if closed is not None and closed[1] != use.service:
            return AddressTaken(address=address, holder=closed[0])
        for other in self._uses.get(address, {}).values():
            if other.service != use.service:
                reason = clash(address, use, other)
                if reason is not None:
                    return reason
        return None

    def first_free(self, version: Family, at: int) -> int:
        """The lowest number >= at that nobody holds and that is not closed."""
        return self._runs[version].next_gap(at)

    def maybe_usable(self, use: Use) -> Iterable[str]:
        """Taken addresses that this use might have all the same: its own, and those of its sharing key."""
        own = self._by_service.get(use.service, set())
        shared = self._by_key.get(use.sharing_key, set()) if use.sharing_key else set()
        return own | shared

    def held_by(self, service: str) -> frozenset[str]:
        return frozenset(self._by_service.get(service, ()))

    def holders(self, address: str) -> tuple[Use, ...]:
        """Oldest first."""
        return tuple(sorted(self._uses.get(address, {}).values(), key=lambda use: use.age))

    def __contains__(self, address: str) -> bool:
        return address in self._uses or address in self._closed

    def __len__(self) -> int:
        return len(self._uses.keys() | self._closed.keys())

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
