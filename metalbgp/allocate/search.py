"""The first usable address of a pool: spec order of its ranges, ascending inside (metallb.md 2.4).

In:  a pool, a family, a Use, what is taken, addresses to pass over, and whether the cluster's own are.
Out: the address or None. Usable: free, its own, or shareable with all who hold it.
Elsewhere: which pools are tried, and in which order, is allocate.py.
"""

from metalbgp.allocate.taken import Taken, Use
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
        numbers = [] if free is None else [free]
        # A compatible address that is already in use counts as usable, and the lowest of all wins.
        for address in taken.maybe_usable(use):
            if address not in piece or address in refused or is_avoided(pool, address):
                continue
            number = int(parse(address))
            if numbers and number > numbers[0]:
                continue
            if taken.conflict(address, use) is None and (
                fresh or taken.namespace_holds(use.namespace, address, but=use.service)
            ):
                numbers = [number]
        if numbers:
            return from_int(version, numbers[0])
    return None


def _first_free(pool: Pool, piece: Range, taken: Taken, refused: frozenset[str], guarded: bool) -> int | None:
    number = taken.first_free(piece.version, piece.first, guarded=guarded)
    while number <= piece.last:
        address = from_int(piece.version, number)
        if address not in refused and not is_avoided(pool, address):
            return number
        number = taken.first_free(piece.version, number + 1, guarded=guarded)
    return None
