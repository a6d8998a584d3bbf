"""IPAddressPool → Pool, or what is wrong with it (metallb.md 1.1). Conflicts between two pools: overlap().

In:  the object; Findings to note mistakes in. Out: the value; it counts only if nothing was noted.
"""

from metalbgp.config import ranges, selectors
from metalbgp.config.mistakes import Dispute, Findings
from metalbgp.config.objects import IPAddressPool, ServiceAllocationSpec
from metalbgp.model.addresses import Range
from metalbgp.model.configuration import Pool, ServiceAllocation


def read(raw: IPAddressPool, findings: Findings) -> Pool:
    spec = raw.spec
    return Pool(
        name=raw.name,
        ranges=_ranges(spec.addresses or [], findings),
        auto_assign=spec.auto_assign is not False,
        avoid_buggy_ips=spec.avoid_buggy_ips,
        allocation=None if spec.service_allocation is None else _who(spec.service_allocation, findings),
        labels=tuple(sorted((raw.metadata.labels or {}).items())),
        source=raw.metadata.source,
    )


def _ranges(texts: list[str], findings: Findings) -> tuple[Range, ...]:
    if not texts:
        findings.wrong("spec.addresses", "is empty", 'write at least one CIDR or "first-last"')
    found: list[tuple[str, Range]] = []
    for at, text in enumerate(texts):
        field = f"spec.addresses[{at}]"
        block = findings.read(field, ranges.read, text)
        if block is None:
            continue
        for other_text, other in found:
            if block.overlaps(other):
                why = f'"{text}" overlaps with "{other_text}" of the same pool'
                findings.wrong(field, why, "remove one of them, or make them meet nowhere")
        found.append((text, block))
    return tuple(block for _, block in found)


def _who(spec: ServiceAllocationSpec, findings: Findings) -> ServiceAllocation:
    field = "spec.serviceAllocation"
    findings.number(f"{field}.priority", spec.priority, -(2**31), 2**31 - 1)
    return ServiceAllocation(
        priority=spec.priority or 0,
        namespaces=tuple(sorted(findings.distinct(f"{field}.namespaces", spec.namespaces))),
        namespace_selectors=selectors.read_all(
            findings, f"{field}.namespaceSelectors", spec.namespace_selectors
        ),
        service_selectors=selectors.read_all(findings, f"{field}.serviceSelectors", spec.service_selectors),
    )


def overlap(loser: Pool, winner: Pool) -> Dispute | None:
    """If the two share an address: no address may be given by two pools."""
    for at, block in enumerate(loser.ranges):
        for other in winner.ranges:
            if block.overlaps(other):
                why = (
                    f'CIDR "{ranges.shown(block)}" in pool "{loser.name}" overlaps with '
                    f'CIDR "{ranges.shown(other)}" in pool "{winner.name}"'
                )
                fix = f'take the shared addresses out of "{loser.name}"'
                return Dispute(f"spec.addresses[{at}]", why, fix)
    return None


def widest(pool: Pool, version: int) -> tuple[int, str]:
    """The longest of the entries' widest prefixes, with the entry: no aggregate may be shorter than it."""
    found = [(ranges.widest(block), ranges.shown(block)) for block in pool.ranges if block.version == version]
    return max(found, default=(0, ""))
