"""Choose addresses for one Service, keeping those it already holds.

In:  a Request, the configuration, what is taken, the labels of namespaces, addresses just refused.
Out: Allocation with its provenance, or Refusal with the reason; nothing is changed here.
Elsewhere: reading the request is request.py; searching inside a pool is search.py; a 409 is claims.py.

The order is MetalLB's (metallb.md 2.4): what it holds, explicit addresses, explicit pool, pinned pools, open
pools. MetalLB breaks ties at random; here the name does, so that planning twice changes nothing.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from msgspec import Struct

from metalbgp.allocate.request import FAMILY_NAMES, Request
from metalbgp.allocate.search import first_usable, is_avoided
from metalbgp.allocate.taken import Taken
from metalbgp.model.addresses import Family, family
from metalbgp.model.allocation import Allocation, Refusal
from metalbgp.model.configuration import Configuration, Pool
from metalbgp.model.reasons import (
    AddressAvoided,
    AddressNotInPool,
    AddressTaken,
    FirstFree,
    Kept,
    NoAddress,
    NoDualStackPool,
    NoPoolFits,
    NoPools,
    PoolExhausted,
    PoolManual,
    PoolRestricted,
    Requested,
    UnknownPool,
)
from metalbgp.model.selectors import any_matches
from metalbgp.model.services import Namespace

__all__ = ["Allocation", "Refusal", "allocate", "may_use"]

LAST = 1 << 62  # priority 0 means: after every numbered pool


class _Case(Struct, frozen=True):
    """One question with all that it is judged by."""

    request: Request
    configuration: Configuration
    taken: Taken
    labels: Mapping[str, str]  # of the Service's namespace
    refused: frozenset[str]

    def search(self, pool: Pool, version: Family) -> str | None:
        return first_usable(pool, version, self.request.use, self.taken, self.refused)

    @property
    def pools(self) -> tuple[Pool, ...]:
        return self.configuration.pools

    def pool_of(self, address: str) -> Pool | None:
        return self.configuration.pool_of(address)


def allocate(
    request: Request,
    configuration: Configuration,
    taken: Taken,
    namespaces: Mapping[str, Namespace],
    refused: frozenset[str] = frozenset(),
) -> Allocation | Refusal:
    """`refused`: addresses that the API server just refused to us; the next call takes the next one."""
    pools = configuration.pools
    if not pools:
        return Refusal(NoPools())
    if request.wrong is not None:
        return Refusal(request.wrong)
    if request.pool and all(pool.name != request.pool for pool in pools):
        return Refusal(_unknown_pool(request, pools))

    labels = namespaces[request.namespace].labels if request.namespace in namespaces else {}
    case = _Case(request, configuration, taken, labels, refused)
    kept = _keep(case)
    if kept is not None:
        return kept
    if request.addresses:
        return _explicit(case)
    if request.pool:
        return _named_pool(case)
    return _automatic(case)


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


def _why_not(case: _Case, address: str, pool: Pool) -> NoAddress | None:
    """Every rule that one given address of a pool must pass, held or asked for."""
    request = case.request
    if request.pool and request.pool != pool.name:
        return AddressNotInPool(address=address, pool=request.pool)
    restricted = may_use(pool, request, case.labels)
    if restricted is not None:
        return restricted
    if is_avoided(pool, address):
        return AddressAvoided(address=address, pool=pool.name)
    if address in case.refused:
        return AddressTaken(address=address, holder="another claim")
    return case.taken.conflict(address, request.use)


def _keep(case: _Case) -> Allocation | None:
    """What it holds and may keep; of two families it keeps one rather than lose both."""
    request = case.request
    kept: dict[Family, str] = {}
    home: Pool | None = None
    for address in request.held:
        version = family(address)
        if version not in request.families or version in kept:
            continue
        if request.addresses and address not in request.addresses:
            continue
        pool = case.pool_of(address)
        if pool is None or (home is not None and pool is not home):
            continue  # two addresses never come from two pools; the claim came first
        if _why_not(case, address, pool) is None:
            kept[version], home = address, pool
    if home is None:
        return None
    held = tuple(kept[version] for version in sorted(kept))
    lacks: NoAddress | None = None
    for version in request.families:
        if version in kept:
            continue
        if request.addresses:
            return None  # the asked set as a whole is judged again
        more = case.search(home, version)
        if more is None:
            lacks = _exhausted(home, version)
            if request.needs_all:
                return None
        else:
            kept[version] = more
    addresses = tuple(kept[version] for version in sorted(kept))
    return Allocation(addresses=addresses, pool=home.name, why=Kept(pool=home.name, held=held), lacks=lacks)


def _explicit(case: _Case) -> Allocation | Refusal:
    """Addresses by name: all of one pool, autoAssign or not, each usable."""
    request = case.request
    home = case.pool_of(request.addresses[0])
    for address in request.addresses:
        if home is None or address not in home:
            return Refusal(AddressNotInPool(address=address, pool=home.name if home else request.pool))
        reason = _why_not(case, address, home)
        if reason is not None:
            return Refusal(reason)
    assert home is not None  # noqa: S101 - request.addresses is not empty here; mypy cannot know
    why = Requested(pool=home.name, field=request.addresses_field)
    return Allocation(addresses=request.addresses, pool=home.name, why=why)


def _named_pool(case: _Case) -> Allocation | Refusal:
    pool = next(pool for pool in case.pools if pool.name == case.request.pool)
    restricted = may_use(pool, case.request, case.labels)
    if restricted is not None:
        return Refusal(restricted)
    found, reasons = _from_pools(case, (pool,), case.request.pool_field)
    return found if found is not None else Refusal(reasons[0])


def _automatic(case: _Case) -> Allocation | Refusal:
    """Pinned pools by priority (1 first, 0 last), then open ones; each group by name."""
    barred: list[NoAddress] = []
    pinned: list[Pool] = []
    opened: list[Pool] = []
    for pool in sorted(case.pools, key=lambda pool: pool.name):
        restricted = may_use(pool, case.request, case.labels)
        if not pool.auto_assign:
            barred.append(PoolManual(pool=pool.name))
        elif restricted is not None:
            barred.append(restricted)
        else:
            (opened if pool.allocation is None else pinned).append(pool)
    pinned.sort(key=lambda pool: (pool.allocation.priority if pool.allocation else 0) or LAST)
    short: list[NoAddress] = []
    for group, how in ((pinned, "serviceAllocation"), (opened, "automatic")):
        found, reasons = _from_pools(case, group, how)
        if found is not None:
            return found
        short += reasons
    if any(isinstance(reason, NoDualStackPool) for reason in short):
        return Refusal(NoDualStackPool())
    words = [(getattr(reason, "pool", ""), reason.explain()) for reason in short + barred]
    return Refusal(NoPoolFits(pools=tuple(words)))


def _from_pools(case: _Case, pools: Sequence[Pool], how: str) -> tuple[Allocation | None, list[NoAddress]]:
    """The first pool that gives all families wins; PreferDualStack may fall back to one family."""
    request = case.request
    fallback: dict[Family, tuple[Pool, str]] = {}
    reasons: list[NoAddress] = []
    for pool in pools:
        found = {version: case.search(pool, version) for version in request.families}
        have = tuple(address for address in found.values() if address is not None)
        if len(have) == len(found):
            return Allocation(addresses=have, pool=pool.name, why=FirstFree(pool=pool.name, asked=how)), []
        for version, address in found.items():
            if address is None:
                reasons.append(_exhausted(pool, version))
            else:
                fallback.setdefault(version, (pool, address))
    if fallback and request.needs_all:
        return None, [NoDualStackPool(), *reasons] if len(pools) > 1 else reasons
    if fallback:
        version = request.first_family if request.first_family in fallback else next(iter(fallback))
        pool, address = fallback[version]
        lacking = next(other for other in request.families if other != version)
        why = FirstFree(pool=pool.name, asked=how)
        lacks = _exhausted(pool, lacking)
        return Allocation(addresses=(address,), pool=pool.name, why=why, lacks=lacks), []
    return None, reasons


def _exhausted(pool: Pool, version: Family) -> PoolExhausted:
    size = sum(piece.size for piece in pool.ranges if piece.version == version)
    return PoolExhausted(pool=pool.name, family=FAMILY_NAMES[version], size=size)


def _unknown_pool(request: Request, pools: Sequence[Pool]) -> UnknownPool:
    names = sorted(pool.name for pool in pools)
    near = get_close_matches(request.pool, names, n=1)
    return UnknownPool(
        pool=request.pool,
        annotation="metallb.io/address-pool",  # to be written: it wins over the deprecated spelling
        service=request.service,
        pools=tuple(names),
        near=near[0] if near else "",
    )
