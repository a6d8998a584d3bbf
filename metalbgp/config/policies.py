"""PoolPolicy → model, or what is wrong with it. Two policies for one pool: clash().

In:  the object; Findings to note mistakes in. Out: the value; it counts only if nothing was noted.
Elsewhere: what the words do is allocate/ and controller/; docs/addresses.md tells users.
"""

from collections.abc import Collection, Iterator, Sequence

from metalbgp.config import durations, selectors
from metalbgp.config.mistakes import Dispute, Findings, Mistake, near
from metalbgp.config.objects import PoolPolicy as Raw
from metalbgp.config.objects import QuotaSpec
from metalbgp.model.configuration import Pool, PoolPolicy, Quota


def read(raw: Raw, findings: Findings) -> PoolPolicy:
    spec = raw.spec
    pools = findings.distinct("spec.ipAddressPools", spec.ip_address_pools)
    if not pools:
        findings.wrong("spec.ipAddressPools", "is empty", "name at least one IPAddressPool")
    if pools == (spec.second_family_from,):
        why = f'"{spec.second_family_from}" is the pool itself'
        findings.wrong("spec.secondFamilyFrom", why, "name the pool that holds the other family")
    return PoolPolicy(
        name=raw.name,
        pools=pools,
        sticky=spec.sticky is not None,
        sticky_for=_wait(findings, "spec.sticky.for", spec.sticky.lasts if spec.sticky else None, 1),
        reuse_delay=_wait(findings, "spec.reuseDelay", spec.reuse_delay, 0) or 0,
        reuse_early=_word(findings, "spec.whenExhausted", spec.when_exhausted, "Refuse", "Reuse"),
        quotas=tuple(_quota(findings, f"spec.quotas[{at}]", one) for at, one in enumerate(spec.quotas or ())),
        second_family_from=spec.second_family_from,
        probe=_word(findings, "spec.probe", spec.probe, "Never", "BeforeUse"),
        protect=_word(findings, "spec.protection", spec.protection, "None", "InUse"),
        allow_cluster_addresses=_word(
            findings, "spec.clusterAddresses", spec.cluster_addresses, "Refuse", "Allow"
        ),
        source=raw.metadata.source,
    )


def _word(findings: Findings, field: str, word: str, no: str, yes: str) -> bool:
    """The schema's enum again: a file has not passed the API server. An empty word is none."""
    if word not in ("", no, yes):
        findings.wrong(field, f'"{word}" is neither {no} nor {yes}{near(word, (no, yes))}')
    return word == yes


def _wait(findings: Findings, field: str, text: str | None, least: int) -> int | None:
    """Whole seconds; what is shorter than one counts as one, so that a wish is never rounded away."""

    def seconds(text: str) -> int:
        nanos = durations.nanoseconds(text)
        if nanos < least:
            raise Mistake(f"{text} is not more than nothing" if least else f"{text} is negative")
        return -(-nanos // durations.SECOND)

    return None if text is None else findings.read(field, seconds, text)


def _quota(findings: Findings, field: str, spec: QuotaSpec) -> Quota:
    if spec.limit is None:
        findings.wrong(f"{field}.limit", "is missing", "write how many addresses a namespace may hold")
    elif spec.limit < 0:
        findings.wrong(f"{field}.limit", f"{spec.limit} is negative", "write 0 for none at all")
    else:
        findings.number(f"{field}.limit", spec.limit, 0, 2**63 - 1)
    return Quota(
        limit=spec.limit or 0,
        namespaces=tuple(sorted(findings.distinct(f"{field}.namespaces", spec.namespaces))),
        namespace_selectors=selectors.read_all(
            findings, f"{field}.namespaceSelectors", spec.namespace_selectors
        ),
    )


def clash(loser: PoolPolicy, winner: PoolPolicy) -> Dispute | None:
    """A pool obeys one policy: two could say the opposite of each other."""
    for at, pool in enumerate(loser.pools):
        if pool in winner.pools:
            why = f'IPAddressPool "{pool}" already obeys PoolPolicy {winner.name}'
            return Dispute(f"spec.ipAddressPools[{at}]", why, "name the pool in one of the two only")
    return None


def not_in_force(
    policy: PoolPolicy, pools: Collection[Pool], segments: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """(field, why) for what is accepted and does nothing (yet): policies may be there before their pools.
    `segments`: pools that L2Advertisements select."""
    by_name = {pool.name: pool for pool in pools}
    for name in policy.pools:
        if name not in by_name:
            yield "spec.ipAddressPools", f'IPAddressPool "{name}" does not exist{near(name, by_name)}'
    if policy.probe:
        for name in sorted({*policy.pools} & by_name.keys() - {*segments}):
            why = f'no L2Advertisement selects IPAddressPool "{name}", so no node can ask for its addresses'
            yield "spec.probe", why
    if policy.second_family_from:
        why = _lacks_nothing(policy, [by_name[name] for name in policy.pools if name in by_name], by_name)
        if why:
            yield "spec.secondFamilyFrom", why


def _lacks_nothing(policy: PoolPolicy, mine: Sequence[Pool], by_name: dict[str, Pool]) -> str:
    second = by_name.get(policy.second_family_from)
    if second is None:
        name = policy.second_family_from
        return f'IPAddressPool "{name}" does not exist{near(name, by_name)}'
    if mine and all(second.families <= pool.families for pool in mine):
        return f'IPAddressPool "{second.name}" has no family that these pools lack'
    return ""
