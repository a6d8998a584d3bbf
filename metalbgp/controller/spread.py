"""Who is first for which address, where an L2Advertisement spreads them: kept in step with what changes.

In:  a claim as it is about to be written (place), as it was learned or forgotten (claimed), addresses whose
     nodes may have changed (look_again).
Out: `firsts`, for the Scene that VirtualIPs are planned against; Touched names the addresses that must be
     written because another one moved them, or because they stand otherwise than decided.
Elsewhere: where a key goes is plan/spread.py.

Decided here, in memory and at once, and only then written: twelve workers that each looked for the emptiest
node in what was written would all find the same one. Nothing is remembered beyond the claims: who begins to
lead takes every first from its VirtualIP, so a restart moves nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import NOTHING, Touched
from metalbgp.model.configuration import Configuration
from metalbgp.plan.ranking import Claimant, Known, equals
from metalbgp.plan.scene import Scene
from metalbgp.plan.spread import Places, Wish


class Spread:
    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._places = Places()
        # Address → the first address that it follows, often itself, and the nodes that it could be first on.
        self._key: dict[str, tuple[str, frozenset[str]]] = {}
        self._followers: dict[str, set[str]] = {}  # the other way round
        self._planning: dict[str, tuple[str, ...]] = {}  # Service → its addresses, while claims are written
        self._writing: dict[str, Sequence[Claimant]] = {}  # what these say then, newer than what is learned
        self._active = False  # else nothing is kept: another replica decides
        self._read: Configuration | None = None
        self._even: frozenset[str] = frozenset()  # L2Advertisements of that configuration that spread

    @property
    def firsts(self) -> Mapping[str, str]:
        return self._places.firsts

    # ------------------------------------------------------------------ who leads

    def begin(self) -> None:
        """All objects are known: take every address's first from its claim."""
        self._places, self._key, self._followers = Places(), {}, {}
        self._active = True
        self._follow(self._inventory.claims)

    def end(self) -> None:
        """What was decided stays readable for writes under way, which the fence judges."""
        self._active = False

    # ------------------------------------------------------------------ what changes

    def first(self, service: str, address: str) -> str:
        """The first address of a Service, IPv4 before IPv6, which MetalLB's order hashes."""
        held = self._inventory.held(service)  # survives a status that was wiped
        return (self._planning.get(service) or held or (address,))[0]

    def planning(self, service: str, addresses: tuple[str, ...]) -> None:
        """The Service's claims are about to be written, and what they say comes back one by one."""
        self._planning[service] = addresses

    def planned(self, service: str, addresses: Iterable[str]) -> Touched:
        """They were written, or not: what stands counts now."""
        self._planning.pop(service, None)
        for address in addresses:
            self._writing.pop(address, None)
        return self._look(addresses)

    def place(self, address: str, claimants: Sequence[Claimant]) -> Touched:
        """Decide before it is written, so that no other worker decides the same place."""
        spreads = any(self._spreads(one.holder.l2) for one in claimants)
        if not self._active or not (spreads or address in self._key):
            return NOTHING
        if any(address in some for some in self._planning.values()):
            self._writing[address] = claimants
        return self._touched(self._update({address: claimants}), but=address)

    def claimed(self, address: str) -> Touched:
        """Its claim was learned or forgotten."""
        if not self._concerns(address):
            return NOTHING  # most clusters end here
        vip = self._inventory.claims.get(address)
        names = vip.holders if vip is not None else ()
        return self._look({address, *(other for name in names for other in self._inventory.held(name))})

    def look_again(self, addresses: Collection[str]) -> Touched:
        """Other nodes may serve these."""
        return self._look(addresses)

    # ------------------------------------------------------------------

    def _concerns(self, address: str) -> bool:
        if not self._active:
            return False
        vip = self._inventory.claims.get(address)
        return address in self._key or (
            vip is not None and any(self._spreads(holder.l2) for holder in vip.holders.values())
        )

    def _spreads(self, advertisements: Collection[str]) -> bool:
        configuration = self._inventory.configuration
        if self._read is not configuration:
            self._read = configuration
            self._even = frozenset(one.name for one in configuration.l2_advertisements if one.even)
        return not self._even.isdisjoint(advertisements)

    def _look(self, addresses: Iterable[str]) -> Touched:
        found = [address for address in addresses if self._concerns(address)]
        if not found:
            return NOTHING
        moved = self._follow(found)
        return self._touched(moved) | Touched(addresses=frozenset(filter(self._stands_otherwise, found)))

    def _follow(self, addresses: Iterable[str]) -> frozenset[str]:
        """Take these addresses as their claims say; the keys that moved by it."""
        return self._update({address: self._claimants(address) for address in addresses})

    def _claimants(self, address: str) -> Sequence[Claimant]:
        if (writing := self._writing.get(address)) is not None:
            return writing
        vip = self._inventory.claims.get(address)
        if vip is None or vip.phase != "bound":
            return ()
        return [
            Claimant(service=name, holder=holder, first=self.first(name, address))
            for name, holder in vip.holders.items()
        ]

    def _update(self, found: Mapping[str, Sequence[Claimant]]) -> frozenset[str]:
        scene, known = self._scene(), Known()
        wishes: dict[str, Wish | None] = {}
        for address, claimants in found.items():
            wish = equals(claimants, scene, known) if claimants else None
            key = wish[0] if wish is not None else ""
            before, _ = self._key.get(address, ("", None))
            if before and before != key:
                del self._key[address]
                self._followers[before].discard(address)
                if not self._followers[before]:
                    del self._followers[before]
                    wishes[before] = None
            if wish is None:
                continue
            self._key[address] = wish
            followers = self._followers.setdefault(key, set())
            followers.add(address)
            if address == key or key not in followers:  # where the other family may be, its own address says
                wishes[key] = Wish(self._pool(key, address), wish[1], self._present(address))
        return self._places.update(wishes)

    def _scene(self) -> Scene:
        inventory = self._inventory
        return Scene(inventory.configuration, inventory.nodes, inventory.live_speakers, self.firsts)

    def _pool(self, key: str, address: str) -> str:
        pool = self._inventory.configuration.pool_of(key) or self._inventory.configuration.pool_of(address)
        return pool.name if pool is not None else ""

    def _present(self, address: str) -> str:
        vip = self._inventory.claims.get(address)
        return vip.candidates[0] if vip is not None and vip.phase == "bound" and vip.candidates else ""

    def _stands_otherwise(self, address: str) -> bool:
        """Moved while it was being written. Whoever writes it now asks at the end."""
        if address in self._writing:
            return False
        vip, (key, equal) = self._inventory.claims.get(address), self._key.get(address, ("", frozenset()))
        first = self.firsts.get(key)
        return vip is not None and first in equal and vip.candidates[:1] != (first,)

    def _touched(self, keys: Collection[str], but: str = "") -> Touched:
        addresses = {address for key in keys for address in self._followers.get(key, ())}
        return Touched(addresses=frozenset(addresses - {but}))
