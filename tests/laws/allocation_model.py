"""A slow, obvious allocator: it tries every address of every pool against every rule, and remembers nothing.

In:  a World, which is what the cluster holds; a Service of it.
Out: the addresses that the Service must get, or () when it can get none.
Elsewhere: the fast one is metalbgp/allocate/; who compares the two is test_allocation_machine.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from metalbgp.model.addresses import Family, family, from_int, parse
from metalbgp.model.configuration import Configuration, Pool, PoolPolicy, Reservation
from metalbgp.model.services import Service
from metalbgp.model.virtualips import VirtualIP


@dataclass
class World:
    configuration: Configuration
    nodes: set[str] = field(default_factory=set)  # addresses that the cluster itself uses
    services: dict[str, Service] = field(default_factory=dict)
    granted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cooling: dict[str, VirtualIP] = field(default_factory=dict)

    # ------------------------------------------------------------------ facts

    def pool_of(self, address: str) -> Pool | None:
        return next((pool for pool in self.configuration.pools if address in pool), None)

    def policy(self, pool: Pool) -> PoolPolicy:
        return self.configuration.policy_of(pool.name)

    def reservation(self, address: str) -> Reservation | None:
        return next((one for one in self.configuration.reservations if address in one.addresses), None)

    def holders(self, address: str) -> list[Service]:
        return [self.services[key] for key, mine in self.granted.items() if address in mine]

    def used_by(self, namespace: str, pool: Pool, but: Service) -> set[str]:
        """Addresses of the pool that other Services of the namespace hold."""
        return {
            address
            for key, mine in self.granted.items()
            for address in mine
            if address in pool and key != but.key and self.services[key].namespace == namespace
        }


def families(one: Service) -> tuple[Family, ...]:
    return tuple(sorted({family(text) for text in one.cluster_ips}))


def may_stand_together(one: Service, other: Service) -> bool:
    """The rule of sharing, written a second time from the user's side."""

    def backend(item: Service) -> list[tuple[str, str]]:
        local = item.external_traffic_policy == "Local"
        return sorted(item.selector.items()) if local else []

    return (
        one.sharing_key != ""
        and one.sharing_key == other.sharing_key
        and backend(one) == backend(other)
        and not set(one.ports) & set(other.ports)
    )


def addresses_of(pool: Pool) -> Iterator[str]:
    for piece in pool.ranges:
        for number in range(piece.first, piece.last + 1):
            yield from_int(piece.version, number)


def buggy(pool: Pool, address: str) -> bool:
    return pool.avoid_buggy_ips and address.endswith((".0", ".255"))


def fits(pool: Pool, one: Service) -> bool:
    rule = pool.allocation
    return rule is None or not rule.namespaces or one.namespace in rule.namespaces


class Model:
    """Answers for one Service in one World."""

    def __init__(self, world: World, one: Service) -> None:
        self.world, self.one = world, one
        self.held = world.granted.get(one.key, ())
        self.pools = {pool.name: pool for pool in world.configuration.pools}
        self.both = one.ip_family_policy == "RequireDualStack"

    def answer(self) -> tuple[str, ...]:
        """What it holds; else what it asks for by address; else what is promised; else what a pool has."""
        asked = tuple(sorted((self.one.requested_addresses or "").split(","), key=family))
        wishes = asked if self.one.requested_addresses else ()
        if wishes and tuple(map(family, wishes)) != families(self.one):
            return ()
        return self._keep(wishes) or (self._all_of(wishes) if wishes else self._choose())

    def _choose(self) -> tuple[str, ...]:
        for address in self.promised():
            if family(address) in families(self.one) and self.may_have(address, ()):
                whole = self._complete([address])
                if len(whole) == len(families(self.one)) or not self.both:
                    return whole
        for early in (False, True):
            for group in self._groups():
                found = self._from(group, early)
                if found:
                    return found
        return ()

    def _groups(self) -> list[list[Pool]]:
        by_name = sorted(self.pools.values(), key=lambda pool: pool.name)
        if self.one.requested_pool:
            named = [pool for pool in by_name if pool.name == self.one.requested_pool]
            return [[pool for pool in named if fits(pool, self.one)]]
        usable = [pool for pool in by_name if pool.auto_assign and fits(pool, self.one)]
        pinned = [pool for pool in usable if pool.allocation is not None]
        pinned.sort(key=lambda pool: (pool.allocation and pool.allocation.priority) or 1_000_000)
        return [pinned, [pool for pool in usable if pool.allocation is None]]

    # ------------------------------------------------------------------ one address

    def may_have(self, address: str, chosen: tuple[str, ...], *, keeping: bool = False) -> bool:
        """One given address: held, asked for, or promised."""
        pool, one = self.world.pool_of(address), self.one
        if pool is None or not self._asked(pool) or not fits(pool, one) or buggy(pool, address):
            return False
        others = [other for other in self.world.holders(address) if other.key != one.key]
        if not all(may_stand_together(one, other) for other in others):
            return False
        if address in self.held:
            return keeping or self._quota(pool, address, chosen)
        reservation, cooling = self.world.reservation(address), self.world.cooling.get(address)
        admitted = reservation is not None and reservation.admits(one.namespace, one.name, one.labels)
        if reservation is not None and not admitted:
            return False
        if cooling is not None and not admitted and not set(cooling.kept_for) & set(one.identities):
            return False
        return address not in self.world.nodes and self._quota(pool, address, chosen)

    def may_find(self, address: str, pool: Pool, chosen: tuple[str, ...]) -> bool:
        """One of a pool's addresses in a search: promised ones are for those who come with a promise."""
        if self.world.reservation(address) is not None and address not in self.held:
            return False
        others = [other for other in self.world.holders(address) if other.key != self.one.key]
        if buggy(pool, address) or not all(may_stand_together(self.one, other) for other in others):
            return False
        if address in self.world.nodes and address not in self.held:
            return False
        return self._quota(pool, address, chosen)

    def _quota(self, pool: Pool, address: str, chosen: tuple[str, ...]) -> bool:
        used = self.world.used_by(self.one.namespace, pool, self.one)
        new = used | {one for one in chosen if one in pool} | {address}
        return new == used or all(
            len(new) <= quota.limit
            for quota in self.world.policy(pool).quotas
            if not quota.namespaces or self.one.namespace in quota.namespaces
        )

    def promised(self) -> list[str]:
        one, world = self.one, self.world
        reserved = [
            address
            for reservation in world.configuration.reservations
            if reservation.admits(one.namespace, one.name, one.labels)
            for address in reservation.addresses
        ]
        kept = [
            address
            for name in one.identities
            for address in sorted(world.cooling, key=lambda text: (family(text), int(parse(text))))
            if name in world.cooling[address].kept_for
        ]
        return [address for address in reserved + kept if world.pool_of(address) is not None]

    # ------------------------------------------------------------------ pools

    def _second(self, pool: Pool) -> Pool | None:
        return self.pools.get(self.world.policy(pool).second_family_from)

    def _asked(self, pool: Pool) -> bool:
        asked = self.pools.get(self.one.requested_pool)
        return asked is None or pool is asked or self._second(asked) is pool

    def _partners(self, pool: Pool) -> list[Pool]:
        second, asked = self._second(pool), self.one.requested_pool
        homes = [
            home
            for home in self.pools.values()
            if self._second(home) is pool and (home.name == asked if asked else home.auto_assign)
        ]
        beside = ([second] if second is not None else []) + homes
        return [pool, *(other for other in beside if fits(other, self.one))]

    def _together(self, one: str, other: str) -> bool:
        first, last = self.world.pool_of(one), self.world.pool_of(other)
        assert first is not None
        assert last is not None
        return first is last or self._second(first) is last or self._second(last) is first

    def _lowest(self, pool: Pool, version: Family, chosen: tuple[str, ...], early: bool) -> str | None:
        mine = [one for one in addresses_of(pool) if family(one) == version]
        free = [one for one in mine if one not in self.world.cooling and self.may_find(one, pool, chosen)]
        if not free and early and self.world.policy(pool).reuse_early:
            cooling = sorted(
                (one for one in mine if one in self.world.cooling),
                key=lambda one: (self.world.cooling[one].until or "9", self.world.cooling[one].since),
            )
            free = [one for one in cooling if self.may_find(one, pool, chosen)]
        return free[0] if free else None

    def _beside(self, pool: Pool, version: Family, chosen: tuple[str, ...], early: bool) -> str | None:
        for other in self._partners(pool):
            for address in self.promised():
                new = family(address) == version and address not in chosen
                if new and address in other and self.may_have(address, chosen):
                    return address
            found = self._lowest(other, version, chosen, early)
            if found is not None:
                return found
        return None

    # ------------------------------------------------------------------ sets of addresses

    def _complete(self, have: list[str], early: bool = False) -> tuple[str, ...]:
        pool = self.world.pool_of(have[0])
        assert pool is not None
        chosen = list(have)
        for version in families(self.one):
            if version not in map(family, chosen):
                more = self._beside(pool, version, tuple(chosen), early)
                chosen += [more] if more is not None else []
        return tuple(sorted(chosen, key=family))

    def _keep(self, wishes: tuple[str, ...]) -> tuple[str, ...]:
        kept: list[str] = []
        for address in self.held:
            wanted = family(address) in families(self.one) and (not wishes or address in wishes)
            if (
                wanted
                and self.may_have(address, (), keeping=True)
                and all(self._together(one, address) for one in kept)
            ):
                kept.append(address)
        if not kept or (wishes and len(kept) < len(wishes)):
            return ()
        whole = self._complete(kept)
        return () if self.both and len(whole) < 2 else whole

    def _all_of(self, wishes: tuple[str, ...]) -> tuple[str, ...]:
        fine = all(self.may_have(one, wishes[:index]) for index, one in enumerate(wishes))
        return wishes if fine and self._together(wishes[0], wishes[-1]) else ()

    def _from(self, group: list[Pool], early: bool) -> tuple[str, ...]:
        """The first pool that gives all; for PreferDualStack else one address, of the first family if any."""
        single: dict[Family, str] = {}
        for pool in group:
            if early and not self.world.policy(pool).reuse_early:
                continue
            have: list[str] = []
            for version in families(self.one):
                found = self._lowest(pool, version, tuple(have), early)
                if found is not None:
                    have.append(found)
                    single.setdefault(version, found)
            whole = self._complete(have, early) if have else ()
            if whole and len(whole) == len(families(self.one)):
                return whole
        if not single or self.both:
            return ()
        first: Family = 6 if self.one.ip_families[:1] == ("IPv6",) else 4
        return (single.get(first) or next(iter(single.values())),)
