"""All that a node announces, kept up to date one VirtualIP at a time.

In:  update(address, NodePlan or None): what select() says for the address now.
Out: Delta: only the routes and duties that changed. Cost: the routes that share a prefix with the address.
Elsewhere: the same from scratch is merge.py (a law holds the two together); the diff to the wire is bgp/.
"""

from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from metalbgp.model.addresses import Range, parse
from metalbgp.model.routes import Attributes, Duty, NodePlan, Probe, Provenance
from metalbgp.select.merge import Contribution, combine

Key = tuple[str, str]  # peer, prefix


def covers(prefix: str, addresses: Collection[str]) -> bool:
    """Whether one of the addresses lies in the prefix."""
    if not addresses:
        return False
    network, _, length = prefix.partition("/")
    first = parse(network)
    size = 1 << (first.max_prefixlen - int(length))
    if size == 1:
        return str(first) in addresses
    covered = Range(4 if first.version == 4 else 6, int(first), int(first) + size - 1)
    return any(address in covered for address in addresses)


class Delta(Struct, frozen=True):
    """None: withdraw, or answer no longer. New and changed routes stand before withdrawals."""

    changed: tuple[tuple[str, str, Attributes | None], ...] = ()
    duties_changed: tuple[tuple[str, Duty | None], ...] = ()
    probes_changed: bool = False

    def __bool__(self) -> bool:
        return bool(self.changed or self.duties_changed or self.probes_changed)


class Table:
    def __init__(self) -> None:
        self._behind: dict[Key, dict[str, Contribution]] = {}  # per address, in no particular order
        self._merged: dict[Key, Contribution] = {}
        self._keys: dict[str, tuple[Key, ...]] = {}  # address → where it contributes
        self._duties: dict[str, Duty] = {}
        self._probes: dict[str, Probe] = {}
        self._undecided: set[str] = set()

    def update(self, address: str, plan: NodePlan | None) -> Delta:
        """An undecided address keeps what it has; None: the address is no longer ours to announce."""
        if plan is not None and address in plan.undecided:
            self._undecided.add(address)
            return Delta()
        self._undecided.discard(address)
        wanted = {(route.peer, route.prefix): (route, why) for route, why in plan.routes} if plan else {}
        touched = dict.fromkeys((*wanted, *self._keys.get(address, ())))
        for key in touched:
            behind = self._behind.setdefault(key, {})
            if key in wanted:
                behind[address] = wanted[key]
            else:
                behind.pop(address, None)
        if wanted:
            self._keys[address] = tuple(wanted)
        else:
            self._keys.pop(address, None)
        changed = [change for key in touched if (change := self._merge(key)) is not None]
        changed.sort(key=lambda change: change[2] is None)
        return Delta(
            changed=tuple(changed),
            duties_changed=self._set_duty(address, plan),
            probes_changed=self._set_probe(address, plan),
        )

    def wanted(self) -> Mapping[Key, Attributes]:
        """Everything as it should stand now."""
        return {key: route.attributes for key, (route, _) in self._merged.items()}

    def attributes(self, peer: str, prefix: str) -> Attributes | None:
        """What one route should carry now; None: it should not stand."""
        contribution = self._merged.get((peer, prefix))
        return contribution[0].attributes if contribution else None

    def why(self, peer: str, prefix: str) -> Provenance | None:
        contribution = self._merged.get((peer, prefix))
        return contribution[1] if contribution else None

    def routes(self) -> Iterator[Contribution]:
        """Every route with its provenance, sorted by peer and prefix."""
        for key in sorted(self._merged):
            yield self._merged[key]

    def duties(self, *, declined: bool = False) -> tuple[Duty, ...]:
        """What this node may answer for; `declined`: also what it will not, though it is a candidate."""
        found = (self._duties[address] for address in sorted(self._duties))
        return tuple(one for one in found if declined or not one.declined)

    def interfaces(self, address: str) -> tuple[str, ...] | None:
        """Of the duty for the address; None: every fit one, or there is no duty."""
        duty = self._duties.get(address)
        return duty.interfaces if duty is not None else None

    def probes(self) -> tuple[Probe, ...]:
        return tuple(self._probes[address] for address in sorted(self._probes))

    @property
    def undecided(self) -> frozenset[str]:
        return frozenset(self._undecided)

    def addresses(self) -> frozenset[str]:
        """Those that contribute: after a relist, one that is not in the list gets update(…, None)."""
        return frozenset(self._keys.keys() | self._duties.keys() | self._probes.keys() | self._undecided)

    def must_stay(self, prefix: str) -> bool:
        """Whether a route that stands on the wire but is not wanted may belong to an undecided address."""
        return covers(prefix, self._undecided)

    def _merge(self, key: Key) -> tuple[str, str, Attributes | None] | None:
        """Bring one route up to date; None: its attributes did not change."""
        before = self._merged.get(key)
        behind = self._behind[key]
        if not behind:
            del self._behind[key]
            if before is None:
                return None
            del self._merged[key]
            return (*key, None)
        after = self._merged[key] = combine(list(behind.values()))
        if before is not None and before[0].attributes == after[0].attributes:
            return None
        return (*key, after[0].attributes)

    def _set_duty(self, address: str, plan: NodePlan | None) -> tuple[tuple[str, Duty | None], ...]:
        asked = (*plan.duties, *plan.declined) if plan else ()
        duty = next((duty for duty in asked if duty.address == address), None)
        if self._duties.get(address) == duty:
            return ()
        if duty is None:
            del self._duties[address]
        else:
            self._duties[address] = duty
        return ((address, duty),)

    def _set_probe(self, address: str, plan: NodePlan | None) -> bool:
        probe = next((one for one in plan.probes if one.address == address), None) if plan else None
        if self._probes.get(address) == probe:
            return False
        if probe is None:
            del self._probes[address]
        else:
            self._probes[address] = probe
        return True
