"""The first usable address of a pool: spec order of its ranges, ascending inside (metallb.md 2.4).

In:  a pool, a family, a Use, what is taken, addresses to pass over, and whether the cluster's own are.
Out: the address or None. Usable: free, its own, or shareable with all who hold it.
Elsewhere: which pools are tried, and in which order, is allocate.py.
"""

from collections.abc import Iterator

from metalbgp.allocate.sharing import Use
from metalbgp.allocate.taken import Taken
from metalbgp.model.addresses import Family, Range, from_int, parse
from metalbgp.model.configuration import Pool


def is_avoided(pool: Pool, address: str) -> bool:
    """avoidBuggyIPs: IPv4 addresses that end in .0 or .255, which old routers take for broadcasts."""
    if not pool.avoid_buggy_ips:
        return False
    parsed = parse(address)
    return parsed.version == 4 and int(parsed) & 0xFF in (0, 0xFF)


def first_usable(
    pool: Pool,
    version: Family,
    use: Use,
    taken: Taken,
    refused: frozenset[str] = frozenset(),
    *,
    guarded: bool = True,
    fresh: bool = True,
) -> str | None:
    """`fresh` False: the namespace's quota is used up, so only an address that it holds already will do."""
    for piece in pool.ranges:
        if piece.version != version:
            continue
        free = _first_free(pool, piece, taken, refused, guarded) if fresh else None
        last = piece.last if free is None else free - 1
        # A compatible address that is already in use counts as usable, and the lowest of all wins.
        for number in _in_use(piece, last, use, taken):
            address = from_int(version, number)
            if address in refused or is_avoided(pool, address) or taken.conflict(address, use) is not None:
                continue
            if not fresh and not taken.namespace_holds(use.namespace, address, but=use.service):
                continue
            if (
                guarded
                and taken.owner(address)
                and use.service not in (one.service for one in taken.holders(address))
            ):
                continue
            return address
        if free is not None:
            return from_int(version, free)
    return None


def _in_use(piece: Range, last: int, use: Use, taken: Taken) -> Iterator[int]:
    """Held numbers of piece.first..last that it may have all the same, ascending: its own, and shared."""
    own = sorted(
        number
        for address in taken.held_by(use.service)
        if address in piece and (number := int(parse(address))) <= last
    )
    shared = taken.joinable(piece.version, use, piece.first)
    while shared is not None and shared <= last:
        while own and own[0] < shared:
            yield own.pop(0)
        if not own or own[0] != shared:
            yield shared
        shared = taken.joinable(piece.version, use, shared + 1)
    yield from own


def _first_free(pool: Pool, piece: Range, taken: Taken, refused: frozenset[str], guarded: bool) -> int | None:
    number = taken.first_free(piece.version, piece.first, guarded=guarded)
    while number <= piece.last:
        address = from_int(piece.version, number)
        if address not in refused and not is_avoided(pool, address):
            return number
        number = taken.first_free(piece.version, number + 1, guarded=guarded)
    return None
