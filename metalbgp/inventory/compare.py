"""Two Configurations compared: in which pools must Services be looked at again?

In:  the configuration before and after.
Out: names of pools. Attributes (communities, localPref, aggregation, peers, nodes of BGP, interfaces) are not
     among the questions: speakers read them from the configuration, no VirtualIP mentions them.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.model.configuration import BGPAdvertisement, Configuration, L2Advertisement, Pool, Source

Facts = dict[str, set[object]]  # pool → what is said about it


class Affected(Struct, frozen=True):
    services: frozenset[str]  # pools whose Services are allocated or planned again
    candidates: frozenset[str]  # pools whose addresses need their L2 candidates again
    pools: bool  # some pool changed, so pending Services may find room
    giving: bool  # policies or reservations changed: what is new is judged by them, what is held is not


def affected_pools(before: Configuration, after: Configuration) -> Affected:
    changed = {
        *_moved(_pools(before.pools), _pools(after.pools)),
        *_moved(_seconds(before), _seconds(after)),
    }
    planned = {
        *_moved(_matching(before.bgp_advertisements), _matching(after.bgp_advertisements)),
        *_moved(_matching(before.l2_advertisements), _matching(after.l2_advertisements)),
    }
    ranked = _moved(_ranking(before.l2_advertisements), _ranking(after.l2_advertisements))
    return Affected(
        services=frozenset(changed | planned),
        candidates=frozenset(ranked),
        pools=bool(changed),
        giving=_giving(before) != _giving(after),
    )


def _seconds(configuration: Configuration) -> Facts:
    """Which pools stand together for dual stack: a Service may hold addresses of both only while they do."""
    facts: Facts = {}
    for policy in configuration.policies:
        for pool in policy.pools if policy.second_family_from else ():
            facts.setdefault(pool, set()).add(policy.second_family_from)
            facts.setdefault(policy.second_family_from, set()).add(pool)
    return facts


def _giving(configuration: Configuration) -> tuple[object, ...]:
    return (
        tuple(replace(one, source=Source()) for one in configuration.policies),
        tuple(replace(one, source=Source()) for one in configuration.reservations),
    )


def _moved(before: Facts, after: Facts) -> Iterator[str]:
    return (name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _pools(pools: Sequence[Pool]) -> Facts:
    """Pools but for source and labels: labels count only through the advertisements they were resolved to."""
    return {pool.name: {replace(pool, source=Source(), labels=())} for pool in pools}


def _matching(advertisements: Sequence[BGPAdvertisement] | Sequence[L2Advertisement]) -> Facts:
    """Which advertisement chooses which Services of a pool."""
    facts: Facts = {}
    for one in advertisements:
        for pool in one.pools:
            facts.setdefault(pool, set()).add((one.name, one.service_selectors))
    return facts


def _ranking(advertisements: Sequence[L2Advertisement]) -> Facts:
    """Which nodes an L2Advertisement covers and prefers, and whether it balances them."""
    facts: Facts = {}
    for one in advertisements:
        for pool in one.pools:
            ranks = (one.node_selectors, one.preferences, one.even, one.leaving, one.revertive)
            facts.setdefault(pool, set()).add((one.name, *ranks))
    return facts
