"""Choose addresses for one Service, keeping those it already holds.

In:  a Request, the configuration, what is taken, the labels of namespaces, addresses just refused.
Out: Allocation with its provenance, or Refusal with the reason; nothing is changed here.
Elsewhere: reading the request is request.py; the rules of a pool and an address, case.py; a 409, claims.py.

The order is MetalLB's (metallb.md 2.4): what it holds, explicit addresses, explicit pool, pinned pools, open
pools; before a pool's free addresses come those that are reserved for the Service, then those kept for its
return. MetalLB breaks ties at random; here the name does, so that planning twice changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.allocate.case import Case, may_use
from metalbgp.allocate.request import Request
from metalbgp.allocate.taken import Taken
from metalbgp.model.addresses import Family, family
from metalbgp.model.allocation import Allocation, Refusal
from metalbgp.model.configuration import Configuration, Pool
from metalbgp.model.reasons import (
    AddressNotInPool,
    BadRequest,
    FirstFree,
    Kept,
    NoAddress,
    NoDualStackPool,
    NoPoolFits,
    NoPools,
    PoolManual,
    Requested,
    Reserved,
    Returned,
    UnknownPool,
    WhyAddress,
)
from metalbgp.model.services import Namespace

__all__ = ["Allocation", "Refusal", "allocate", "may_use", "objection"]

LAST = 1 << 62  # priority 0 means: after every numbered pool


class _Found(Struct, frozen=True):
    """Addresses that stand together, and their home."""

    addresses: tuple[str, ...]
    home: Pool
    second: str = ""
    lacks: NoAddress | None = None  # why there is no address of the other family

    def allocation(self, why: WhyAddress) -> Allocation:
        return Allocation(
            addresses=self.addresses, pool=self.home.name, why=why, lacks=self.lacks, second=self.second
        )


def allocate(
    request: Request,
    configuration: Configuration,
    taken: Taken,
    namespaces: Mapping[str, Namespace],
    refused: frozenset[str] = frozenset(),
) -> Allocation | Refusal:
    """`refused`: addresses that the API server just refused to us; the next call takes the next one."""
    if not configuration.pools:
        return Refusal(NoPools())
    if request.wrong is not None and not (isinstance(request.wrong, BadRequest) and request.held):
        return Refusal(request.wrong)
    if request.pool and all(pool.name != request.pool for pool in configuration.pools):
        return Refusal(_unknown_pool(request, configuration.pools))

    labels = namespaces[request.namespace].labels if request.namespace in namespaces else {}
    case = Case(request, configuration, taken, labels, refused)
    kept = _keep(case)
    if request.wrong is not None:  # a slip of typing takes no address away that serves
        return Refusal(request.wrong) if kept is None else replace(kept, unread=request.wrong)
    if kept is not None:
        return kept
    if request.addresses:
        return _explicit(case)
    promised = _promised(case)
    if promised is not None:
        return promised
    if request.pool:
        return _named_pool(case)
    return _automatic(case)


def objection(
    address: str,
    request: Request,
    configuration: Configuration,
    taken: Taken,
    namespaces: Mapping[str, Namespace],
) -> NoAddress | None:
    """Why the Service may not have one given address; None: nothing is against it."""
    pool = configuration.pool_of(address)
    if pool is None:
        return AddressNotInPool(address=address)
    labels = namespaces[request.namespace].labels if request.namespace in namespaces else {}
    return Case(request, configuration, taken, labels, frozenset()).why_not(address, pool)


# ------------------------------------------------------------------ what it holds, asks for, is promised


def _keep(case: Case) -> Allocation | None:
    """What it holds and may keep; of two families it keeps one rather than lose both."""
    request = case.request
    kept: dict[Family, str] = {}
    for address in request.held:
        version = family(address)
        if version not in request.families or version in kept:
            continue
        if request.addresses and address not in request.addresses:
            continue
        pool = case.pool_of(address)
        if pool is None or any(case.paired(_home(case, one), pool) is None for one in kept.values()):
            continue  # two addresses never come from two strange pools; the claim came first
        if case.why_not(address, pool, keeping=True) is None:
            kept[version] = address
    if not kept or (request.addresses and len(kept) < len(request.families)):
        return None  # an asked set is judged again as a whole
    found = _complete(case, kept)
    if request.needs_all and found.lacks is not None:
        return None
    held = tuple(kept[version] for version in sorted(kept))
    return found.allocation(Kept(pool=found.home.name, held=held))


def _home(case: Case, address: str) -> Pool:
    pool = case.pool_of(address)
    assert pool is not None  # noqa: S101 - every chosen address was found in a pool
    return pool


def _explicit(case: Case) -> Allocation | Refusal:
    """Addresses by name: all of one pool (or of two that a policy pairs), autoAssign or not, each usable."""
    request = case.request
    chosen: list[str] = []
    home, second = case.pool_of(request.addresses[0]), ""
    for address in request.addresses:
        pool = case.pool_of(address)
        pair = case.paired(home, pool) if home is not None and pool is not None else None
        if home is None or pool is None or pair is None:
            return Refusal(AddressNotInPool(address=address, pool=home.name if home else request.pool))
        reason = case.why_not(address, pool, chosen)
        if reason is not None:
            return Refusal(reason)
        home, second = pair
        chosen.append(address)
    assert home is not None  # noqa: S101 - request.addresses is not empty here; mypy cannot know
    why = Requested(pool=home.name, field=request.addresses_field)
    return Allocation(addresses=request.addresses, pool=home.name, why=why, second=second)


def _wishes(case: Case) -> list[tuple[str, WhyAddress]]:
    """Reserved for it, then kept for its return, each with the pool that holds it."""
    found: list[tuple[str, WhyAddress]] = []
    for address in case.request.reserved:
        pool, reservation = case.pool_of(address), case.configuration.reservation_of(address)
        if pool is not None and reservation is not None:
            found.append((address, Reserved(pool=pool.name, reservation=reservation.name)))
    for address, name in case.taken.kept_for(case.request.use):
        pool = case.pool_of(address)
        if pool is not None:
            found.append((address, Returned(pool=pool.name, kept_for=name)))
    return found


def _promised(case: Case) -> Allocation | None:
    """The first promised address that it may have, and beside it the other family if it needs one."""
    for address, why in _wishes(case):
        pool = _home(case, address)
        if family(address) not in case.request.families or case.why_not(address, pool) is not None:
            continue
        found = _complete(case, {family(address): address})
        if found.lacks is None or not case.request.needs_all:
            return found.allocation(why)
    return None


def _complete(case: Case, have: Mapping[Family, str], *, early: bool = False) -> _Found:
    """Beside what it has, the families that lack: from the same pool, or from its partner."""
    chosen = dict(have)
    first = _home(case, next(iter(have.values())))
    pair = (first, "")
    for address in have.values():
        pair = case.paired(first, _home(case, address)) or pair
    lacks: NoAddress | None = None
    for version in case.request.families:
        if version in chosen:
            continue
        more, lacks = _beside(case, first, version, tuple(chosen.values()), early=early)
        if more is not None:
            chosen[version] = more
            pair = case.paired(first, _home(case, more)) or pair
    addresses = tuple(chosen[version] for version in sorted(chosen))
    return _Found(addresses, *pair, lacks=lacks)


def _beside(
    case: Case, pool: Pool, version: Family, chosen: tuple[str, ...], *, early: bool = False
) -> tuple[str | None, NoAddress | None]:
    """An address of one family that may stand beside others of a pool; else the pool's own reason."""
    promised = [one for one, _ in _wishes(case) if family(one) == version and one not in chosen]
    why_not: NoAddress | None = None
    for one in case.partners(pool):
        if one is not pool and case.may_use(one) is not None:
            continue
        for address in promised:
            if address in one and case.why_not(address, one, chosen) is None:
                return address, None
        found = case.search(one, version, chosen, early=early)
        if isinstance(found, str):
            return found, None
        if why_not is None or version in one.families:  # that a partner is full says more than "has none"
            why_not = found
    return None, why_not


# ------------------------------------------------------------------ free addresses of pools


def _named_pool(case: Case) -> Allocation | Refusal:
    pool = next(pool for pool in case.configuration.pools if pool.name == case.request.pool)
    restricted = case.may_use(pool)
    if restricted is not None:
        return Refusal(restricted)
    found, reasons = _from_pools(case, (pool,), case.request.pool_field)
    if found is None:
        found, _ = _from_pools(case, (pool,), case.request.pool_field, early=True)
    return found if found is not None else Refusal(reasons[0])


def _automatic(case: Case) -> Allocation | Refusal:
    """Pinned pools by priority (1 first, 0 last), then open ones; each group by name."""
    barred: list[NoAddress] = []
    pinned: list[Pool] = []
    opened: list[Pool] = []
    for pool in sorted(case.configuration.pools, key=lambda pool: pool.name):
        restricted = case.may_use(pool)
        if not pool.auto_assign:
            barred.append(PoolManual(pool=pool.name))
        elif restricted is not None:
            barred.append(restricted)
        else:
            (opened if pool.allocation is None else pinned).append(pool)
    pinned.sort(key=lambda pool: (pool.allocation.priority if pool.allocation else 0) or LAST)
    short: list[NoAddress] = []
    groups = ((pinned, "serviceAllocation"), (opened, "automatic"))
    for early in (False, True):
        for group, how in groups:
            found, reasons = _from_pools(case, group, how, early=early)
            if found is not None:
                return found
            short += () if early else reasons
    dual = any(isinstance(reason, NoDualStackPool) for reason in short)
    words = _lines(reason for reason in (*short, *barred) if not isinstance(reason, NoDualStackPool))
    return Refusal(NoDualStackPool(pools=words) if dual else NoPoolFits(pools=words))


def _lines(reasons: Iterable[NoAddress]) -> tuple[tuple[str, str], ...]:
    """One line for each pool, though it may lack both families."""
    lines: dict[str, list[str]] = {}
    for reason in reasons:
        words = lines.setdefault(getattr(reason, "pool", ""), [])
        if reason.explain() not in words:
            words.append(reason.explain())
    return tuple((name, ", and ".join(words)) for name, words in lines.items())


def _from_pools(
    case: Case, pools: Sequence[Pool], how: str, *, early: bool = False
) -> tuple[Allocation | None, list[NoAddress]]:
    """The first pool that gives all families wins; PreferDualStack may fall back to one family."""
    request = case.request
    fallback: dict[Family, tuple[Pool, str]] = {}
    lacks: dict[tuple[str, Family], NoAddress] = {}  # of a pool, why it has none of the family
    asked = how + ", before its delay ended: nothing else is free" if early else how
    for pool in pools:
        if early and not case.policy(pool).reuse_early:
            continue
        have: dict[Family, str] = {}
        for version in request.families:
            found = case.search(pool, version, tuple(have.values()), early=early)
            if isinstance(found, str):
                have[version] = found
                fallback.setdefault(version, (pool, found))
            else:
                lacks[pool.name, version] = found
        if not have:
            continue
        whole = _complete(case, have, early=early)
        if len(whole.addresses) == len(request.families):
            return whole.allocation(FirstFree(pool=whole.home.name, asked=asked)), []
        if whole.lacks is not None:
            lacks.update(
                {(pool.name, version): whole.lacks for version in request.families if version not in have}
            )
    reasons = list(lacks.values())
    if fallback and request.needs_all:
        return None, [NoDualStackPool(), *reasons] if len(pools) > 1 else reasons
    if fallback:
        version = request.first_family if request.first_family in fallback else next(iter(fallback))
        pool, address = fallback[version]
        lacking = next(other for other in request.families if other != version)
        why = FirstFree(pool=pool.name, asked=asked)
        lack = lacks.get((pool.name, lacking))
        return Allocation(addresses=(address,), pool=pool.name, why=why, lacks=lack), []
    return None, reasons


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
