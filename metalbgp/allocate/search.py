"""The first usable address of a pool: spec order of its ranges, ascending inside (metallb.md 2.4).

In:  a pool, a family, a Use, what is taken, addresses to pass over.
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
    pool: Pool, version: Family, use: Use, taken: Taken, refused: frozenset[str] = frozenset()
) -> str | None:
    for piece in pool.ranges:
        if piece.version != version:
            continue
        free = _first_free(pool, piece, taken, refused)
        numbers = [] if free is None else [free]
        # A compatible address that is already in use counts as usable, and the lowest of all wins.
        for address in taken.maybe_usable(use):
            if address in piece and address not in refused and not is_avoided(pool, address):
                number = int(parse(address))
                if (not numbers or number < numbers[0]) and taken.conflict(address, use) is None:
                    numbers = [number]
        if numbers:
            return from_int(version, numbers[0])
    return None


def _first_free(pool: Pool, piece: Range, taken: Taken, refused: frozenset[str]) -> int | None:
    number = taken.first_free(piece.version, piece.first)
    while number <= piece.last:
        address = from_int(piece.version, number)
        if address not in refused and not is_avoided(pool, address):
            return number
        number = taken.first_free(piece.version, number + 1)
    return None
