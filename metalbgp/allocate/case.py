"""One Service's question, and every rule that an address or a pool must pass to be an answer to it.

In:  the Request, the Configuration, what is taken, the labels of its namespace, addresses just refused.
Out: why not this address; the first usable address of a pool or why it has none; who partners whom.
Elsewhere: the order in which pools are asked is allocate.py; the search inside a pool is search.py.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from metalbgp.allocate.request import FAMILY_NAMES, Request
from metalbgp.allocate.search import first_usable, is_avoided
from metalbgp.allocate.taken import Taken
from metalbgp.model.addresses import Family, family, from_int
from metalbgp.model.configuration import Configuration, Pool, PoolPolicy
from metalbgp.model.reasons import (
    AddressAvoided,
    AddressNotInPool,
    AddressOccupied,
    AddressTaken,
    NoAddress,
    PoolExhausted,
    PoolRestricted,
    QuotaReached,
)
from metalbgp.model.selectors import any_matches


class Case(Struct, frozen=True):
    request: Request
    configuration: Configuration
    taken: Taken
    labels: Mapping[str, str]  # of the Service's namespace
    refused: frozenset[str]

    # ------------------------------------------------------------------ pools and their policies

    def pool_of(self, address: str) -> Pool | None:
        return self.configuration.pool_of(address)

    def named(self, name: str) -> Pool | None:
        return next((pool for pool in self.configuration.pools if pool.name == name), None)

    def policy(self, pool: Pool) -> PoolPolicy:
        return self.configuration.policy_of(pool.name)

    def second(self, pool: Pool) -> Pool | None:
        """The pool that gives the family which this one lacks (PoolPolicy spec.secondFamilyFrom)."""
        name = self.policy(pool).second_family_from
        return self.named(name) if name and name != pool.name else None

    def partners(self, pool: Pool) -> Iterator[Pool]:
        """Pools that an address of the other family may come from: itself, its second, whose second it is."""
        yield pool
        second = self.second(pool)
        if second is not None:
            yield second
        for policy in self.configuration.policies:
            if policy.second_family_from == pool.name:
                homes = (self.named(name) for name in policy.pools)
                yield from (one for one in homes if one is not None and self._home_of_second(one, pool))

    def _home_of_second(self, home: Pool, second: Pool) -> bool:
        """Whether the first family may come from `home`: only if it is asked for, or open to all."""
        asked = home.name == self.request.pool if self.request.pool else home.auto_assign
        return asked and home is not second and self.second(home) is second

    def paired(self, one: Pool, other: Pool) -> tuple[Pool, str] | None:
        """The home of two addresses and the name of the second pool; None: they cannot stand together."""
        if one is other:
            return one, ""
        if self.second(one) is other:
            return one, other.name
        if self.second(other) is one:
            return other, one.name
        return None

    def may_use(self, pool: Pool) -> PoolRestricted | None:
        return may_use(pool, self.request, self.labels)

    # ------------------------------------------------------------------ one address

    def why_not(
        self, address: str, pool: Pool, chosen: Sequence[str] = (), *, keeping: bool = False
    ) -> NoAddress | None:
        """Every rule that one given address of a pool must pass: held, asked for, or promised.

        `keeping`: what it holds stays whatever the quota. Else a held one counts like any other, for the
        one chosen before it was counted as if all that is held were given back.
        """
        request = self.request
        held = address in request.held and request.ours
        if request.pool and not self._asked(pool):
            return AddressNotInPool(address=address, pool=request.pool)
        restricted = self.may_use(pool)
        if restricted is not None:
            return restricted
        if is_avoided(pool, address):
            return AddressAvoided(address=address, pool=pool.name)
        if address in self.refused:
            return AddressTaken(address=address, holder="another claim")
        owner = "" if held or self.policy(pool).allow_cluster_addresses else self.taken.owner(address)
        if owner:
            return AddressOccupied(address=address, owner=owner)
        conflict = self.taken.conflict(address, request.use, request.reserved)
        if conflict is not None or (held and keeping):
            return conflict
        if self._shared_by_namespace(address):
            return None
        return self.over_quota(pool, chosen)

    def _asked(self, pool: Pool) -> bool:
        asked = self.named(self.request.pool)
        return asked is not None and (pool is asked or self.second(asked) is pool)

    # ------------------------------------------------------------------ quotas

    def over_quota(self, pool: Pool, chosen: Sequence[str] = ()) -> QuotaReached | None:
        """Whether one more address of the pool would be too many for the namespace.

        What the Service holds itself does not count: it is kept, and then in `chosen`, or given back.
        """
        policy = self.policy(pool)
        limits = [
            quota.limit
            for quota in policy.quotas
            if (not quota.namespaces and not quota.namespace_selectors)
            or self.request.namespace in quota.namespaces
            or any(one.matches(self.labels) for one in quota.namespace_selectors)
        ]
        if not limits:
            return None
        space, taken = self.request.namespace, self.taken
        mine = [
            one
            for one in taken.held_by(self.request.service)
            if one in pool and not self._shared_by_namespace(one)
        ]
        new = [one for one in chosen if one in pool and not self._shared_by_namespace(one)]
        used = taken.used_by_namespace(space, pool) - len(mine) + len(new)
        if used < min(limits):
            return None
        return QuotaReached(pool=pool.name, namespace=space, limit=min(limits), used=used, policy=policy.name)

    def _shared_by_namespace(self, address: str) -> bool:
        return self.taken.namespace_holds(self.request.namespace, address, but=self.request.service)

    # ------------------------------------------------------------------ one pool

    def search(
        self, pool: Pool, version: Family, chosen: Sequence[str] = (), *, early: bool = False
    ) -> str | NoAddress:
        """The first usable address, or why there is none. `early`: cooling ones too, if the policy allows."""
        guarded = not self.policy(pool).allow_cluster_addresses
        quota = self.over_quota(pool, chosen)
        found = first_usable(
            pool, version, self.request.use, self.taken, self.refused, guarded=guarded, fresh=quota is None
        )
        if found is None and early and quota is None and self.policy(pool).reuse_early:
            found = self._cooling(pool, version, guarded)
        if found is not None:
            return found
        return quota or self.exhausted(pool, version)

    def _cooling(self, pool: Pool, version: Family, guarded: bool) -> str | None:
        for address in self.taken.cooling(pool):
            if family(address) != version or address in self.refused or is_avoided(pool, address):
                continue
            if not self.taken.is_reserved(address) and not (guarded and self.taken.owner(address)):
                return address
        return None

    def exhausted(self, pool: Pool, version: Family) -> PoolExhausted:
        pieces = [piece for piece in pool.ranges if piece.version == version]
        left = [self.taken.first_free(version, piece.first, guarded=False) for piece in pieces]
        kept_back = [
            from_int(version, free) for free, piece in zip(left, pieces, strict=True) if free <= piece.last
        ]
        owners = [owner for address in kept_back if (owner := self.taken.owner(address))]
        return PoolExhausted(
            pool=pool.name,
            family=FAMILY_NAMES[version],
            size=sum(piece.size for piece in pieces),
            reserved=sum(self.taken.count_reserved(piece) for piece in pieces),
            cooling=sum(self.taken.count_cooling(piece) for piece in pieces),
            occupied=owners[0] if owners and not self.policy(pool).allow_cluster_addresses else "",
        )


def may_use(pool: Pool, request: Request, namespace_labels: Mapping[str, str]) -> PoolRestricted | None:
    """serviceAllocation of the pool against the Service: None when it fits (or restricts nothing)."""
    rule = pool.allocation
    if rule is None:
        return None
    if rule.namespaces or rule.namespace_selectors:
        selected = any(selector.matches(namespace_labels) for selector in rule.namespace_selectors)
        if request.namespace not in rule.namespaces and not selected:
            return PoolRestricted(pool=pool.name, why="namespace")
    if not any_matches(rule.service_selectors, request.labels):
        return PoolRestricted(pool=pool.name, why="labels")
    return None
