"""BGPAdvertisement and L2Advertisement → model, or what is wrong with them (metallb.md 1.3, 1.4, 3.4).

In:  the object; the pools in force; the community aliases.
Out: the value; it counts only if nothing was noted in Findings.
     disagree(): why two BGPAdvertisements cannot both stand. selects_nothing(): names that do not exist.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from metalbgp.config import communities, extensions, pools, selectors
from metalbgp.config.communities import Community
from metalbgp.config.mistakes import Dispute, Findings, near
from metalbgp.config.objects import BGPAdvertisement as RawBGP
from metalbgp.config.objects import L2Advertisement as RawL2
from metalbgp.config.objects import PreferenceSpec
from metalbgp.model.configuration import BGPAdvertisement, L2Advertisement, Pool, Preference
from metalbgp.model.selectors import Selector

LOCAL_PREF_MAX: Final = 2**32 - 1
HOSTS: Final = (32, 128)


def read_bgp(
    raw: RawBGP, findings: Findings, known: Sequence[Pool], aliases: Mapping[str, Community]
) -> BGPAdvertisement:
    spec = raw.spec
    v4 = 32 if spec.aggregation_length is None else spec.aggregation_length
    v6 = 128 if spec.aggregation_length_v6 is None else spec.aggregation_length_v6
    findings.number("spec.aggregationLength", v4, 1, 32)
    findings.number("spec.aggregationLengthV6", v6, 1, 128)
    findings.number("spec.localPref", spec.local_pref, 0, LOCAL_PREF_MAX)
    if spec.service_selectors and (v4, v6) != HOSTS:
        why = "an advertisement with serviceSelectors cannot aggregate"
        findings.wrong("spec.aggregationLength", why, "leave both lengths out, or remove serviceSelectors")
    chosen = _pools(raw, findings, known)
    for pool in chosen:
        _aggregation(findings, pool, 4, v4, "spec.aggregationLength")
        _aggregation(findings, pool, 6, v6, "spec.aggregationLengthV6")
    plain, large = _communities(spec.communities or [], findings, aliases)
    more = extensions.of_advertisement(raw.metadata.annotations, findings)
    return BGPAdvertisement(
        name=raw.name,
        pools=tuple(sorted(pool.name for pool in chosen)),
        aggregation_length=v4,
        aggregation_length_v6=v6,
        local_preference=spec.local_pref,
        communities=plain,
        large_communities=large,
        node_selectors=selectors.read_all(findings, "spec.nodeSelectors", spec.node_selectors),
        peers=tuple(sorted(findings.distinct("spec.peers", spec.peers))),
        service_selectors=selectors.read_all(findings, "spec.serviceSelectors", spec.service_selectors),
        med=more.med,
        prepend=more.prepend,
        extended_communities=more.extended_communities,
        link_bandwidth=more.link_bandwidth,
        backup_nodes=more.backup_nodes,
        announce_delay=more.announce_delay,
        service_may=more.service_may,
        leaving=more.leaving,
        source=raw.metadata.source,
    )


def read_l2(raw: RawL2, findings: Findings, known: Sequence[Pool]) -> L2Advertisement:
    spec = raw.spec
    more = extensions.of_layer2(raw.metadata.annotations, findings)
    return L2Advertisement(
        name=raw.name,
        pools=tuple(sorted(pool.name for pool in _pools(raw, findings, known))),
        node_selectors=selectors.read_all(findings, "spec.nodeSelectors", spec.node_selectors),
        preferences=_preferences(spec.preferred_node_selectors or [], findings),
        interfaces=tuple(sorted(findings.distinct("spec.interfaces", spec.interfaces))),
        service_selectors=selectors.read_all(findings, "spec.serviceSelectors", spec.service_selectors),
        revertive=more.revertive,
        fenced=more.fenced,
        even=more.even,
        leaving=more.leaving,
        source=raw.metadata.source,
    )


def _pools(raw: RawBGP | RawL2, findings: Findings, known: Sequence[Pool]) -> list[Pool]:
    """By name or by selector; neither given: all. A name that does not exist selects nothing."""
    names = findings.distinct("spec.ipAddressPools", raw.spec.ip_address_pools)
    field = "spec.ipAddressPoolSelectors"
    by_label = selectors.read_all(findings, field, raw.spec.ip_address_pool_selectors)
    if not names and not by_label:
        return list(known)
    return [
        pool
        for pool in known
        if pool.name in names or any(selector.matches(dict(pool.labels)) for selector in by_label)
    ]


def selects_nothing(
    raw: RawBGP | RawL2, pools_now: Collection[str], peers_now: Collection[str]
) -> Iterator[tuple[str, str]]:
    """(field, why) for names of nothing: MetalLB ignores them, and a misspelt pool is silence."""
    for name in sorted(set(raw.spec.ip_address_pools or ()) - set(pools_now)):
        yield "spec.ipAddressPools", f'IPAddressPool "{name}" does not exist{near(name, pools_now)}'
    if isinstance(raw, RawBGP):
        for name in sorted(set(raw.spec.peers or ()) - set(peers_now)):
            yield "spec.peers", f'BGPPeer "{name}" does not exist{near(name, peers_now)}'


def _aggregation(findings: Findings, pool: Pool, version: int, length: int, field: str) -> None:
    """For each entry the length must be at least its widest CIDR's: an aggregate must not cover more."""
    shortest, entry = pools.widest(pool, version)
    if length < shortest:
        why = f'/{length} is wider than {entry} of pool "{pool.name}" (its widest CIDR is a /{shortest})'
        findings.wrong(field, why, f"write {shortest} or more")


def _communities(
    texts: list[str], findings: Findings, aliases: Mapping[str, Community]
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int, int], ...]]:
    plain: set[tuple[int, int]] = set()
    large: set[tuple[int, int, int]] = set()
    findings.distinct("spec.communities", texts)
    for at, text in enumerate(texts):
        field = f"spec.communities[{at}]"
        found: Community | None
        if communities.is_alias(text):
            found = aliases.get(text) or communities.well_known(text)
            if found is None:
                why = f'no Community defines "{text}"{near(text, (*aliases, *communities.WELL_KNOWN))}'
                fix = "create a Community with that name, or write the numbers"
                findings.wrong(field, why, fix, awaits=True)
        else:
            found = findings.read(field, communities.read, text)
        if found is None:
            continue
        if len(found) == 2:
            plain.add(found)
        else:
            large.add(found)
    return tuple(sorted(plain)), tuple(sorted(large))


def _preferences(raw: list[PreferenceSpec], findings: Findings) -> tuple[Preference, ...]:
    field = "spec.preferredNodeSelectors"
    found: list[Preference] = []
    for at, one in enumerate(raw):
        findings.number(f"{field}[{at}].weight", one.weight, 1, 100)
        selector = selectors.read(findings, f"{field}[{at}].preference", one.preference)
        if any(selector == other.selector for other in found):
            findings.wrong(
                f"{field}[{at}]", f"the selector {selector} stands there twice", "remove one of them"
            )
        found.append(Preference(weight=one.weight, selector=selector))
    return tuple(found)


Clash = Callable[[BGPAdvertisement, BGPAdvertisement], Dispute | None]


def disagree(known: Sequence[Pool]) -> Clash:
    """The localPref rule (metallb.md 3.4) over these pools, for all that a route has only one of."""
    families = {pool.name: pool.families for pool in known}

    def clash(loser: BGPAdvertisement, winner: BGPAdvertisement) -> Dispute | None:
        differ = [
            (what, field, own, his)
            for (what, field, own), (_, _, his) in zip(loser.singular, winner.singular, strict=True)
            if own != his
        ]
        if not differ:
            return None
        if loser.service_selectors or winner.service_selectors:
            return None  # judged per Service, when it is announced
        if loser.peers and winner.peers and not set(loser.peers) & set(winner.peers):
            return None
        if not selectors.may_meet(loser.node_selectors, winner.node_selectors):
            return None
        for name in sorted(set(loser.pools) & set(winner.pools)):
            if _same_prefixes(loser, winner, families.get(name, frozenset())):
                what, field, own, his = differ[0]
                why = (
                    f"{own} for pool {name}, while BGPAdvertisement {winner.name} says {his} for the same "
                    "prefixes, peers and nodes"
                )
                fix = f"give them one {what}, or peers, nodes or aggregation lengths that do not meet"
                # Two objects are changed one by one; MetalLB refuses the first step of its own field.
                return Dispute(field, why, fix, awaits=field != "spec.localPref")
        return None

    return clash


def _same_prefixes(one: BGPAdvertisement, other: BGPAdvertisement, families: frozenset[int]) -> bool:
    return (4 in families and one.aggregation_length == other.aggregation_length) or (
        6 in families and one.aggregation_length_v6 == other.aggregation_length_v6
    )


def essence(one: BGPAdvertisement) -> tuple[object, ...]:
    """What disagree() looks at: two versions equal in it are the same party to a conflict."""
    selects: tuple[Selector, ...] = one.node_selectors
    lengths = (one.aggregation_length, one.aggregation_length_v6)
    return one.singular, lengths, one.peers, selects, one.pools, bool(one.service_selectors)
