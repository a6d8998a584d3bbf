"""The claims as this controller knows them: its own writes and the watch, whichever is newer.

In:  learn() with every VirtualIP seen (an answer to a write, a read, a watch event), forget() on deletion.
Out: Inventory, Taken and Spread kept equal to it; Touched says who is concerned.
Elsewhere: the objects themselves are written in writes.py.

An answer to a write is often seen before or after the watch's event of the same or an older version; going
back to an older version would undo a decision in memory, so versions only grow. (resourceVersions of one
kind are ordered integers: Kubernetes promises it since 1.35 and has kept it always.)

A restored etcd goes back, though, and is right: start_over() forgets versions and takes what is listed.
"""

from collections.abc import Iterable

from metalbgp.allocate.taken import Taken
from metalbgp.controller.spread import Spread
from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import NOTHING, Touched
from metalbgp.model.virtualips import VirtualIP


class Claims:
    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._seen: dict[str, int] = {}  # address → the newest version seen, kept after deletion
        self.taken = Taken()
        self.spread = Spread(inventory)

    def get(self, address: str) -> VirtualIP | None:
        return self._inventory.claims.get(address)

    def of(self, service: str) -> tuple[VirtualIP, ...]:
        """The claims that name the Service, whatever their phase."""
        return tuple(self._inventory.claims[address] for address in self._inventory.held(service))

    def learn(self, vip: VirtualIP) -> Touched:
        version = int(vip.resource_version or 0)
        if version <= self._seen.get(vip.address, -1):
            return NOTHING
        self._seen[vip.address] = version
        self.taken.learn(vip.address, vip)
        touched = self._inventory.put_claim(vip)
        return touched | self.spread.claimed(vip.address)

    def forget(self, vip: VirtualIP) -> Touched:
        """It is deleted: at the version given or later, so that version and older ones count no more."""
        known = self._inventory.claims.get(vip.address)
        self._seen[vip.address] = max(self._seen.get(vip.address, -1), int(vip.resource_version or 0))
        if known is None or known.uid != vip.uid:
            # Made anew meanwhile, or deleted by us: who tries to claim it now must not be forgotten.
            return NOTHING
        self.taken.learn(vip.address, None)
        touched = self._inventory.drop_claim(vip.address)
        return touched | self.spread.claimed(vip.address)

    def start_over(self, listed: Iterable[VirtualIP]) -> Touched:
        """The API server was restored from a backup: what it lists now is true, however old it is."""
        self._seen.clear()
        found = {vip.address: vip for vip in listed}
        touched = NOTHING
        for address, known in tuple(self._inventory.claims.items()):
            if address not in found:
                touched |= self.forget(known)
        self._seen.clear()
        for vip in found.values():
            touched |= self.learn(vip)
        return touched

    def replace_taken(self, taken: Taken) -> None:
        """What adopt() made of all claims and statuses when this replica began to lead."""
        self.taken = taken

    def drop_service(self, service: str) -> None:
        """The Service holds nothing any more, not even what only its status said."""
        for address in self.taken.held_by(service):
            self.taken.release(address, service)
