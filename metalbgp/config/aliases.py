"""Community objects → one table of aliases (metallb.md 1.5). Names are global over all objects.

In:  all Community objects. Out: Aliases, and the mistakes of each object. A wrong entry costs itself alone:
     advertisements that name it keep their last good version, so nothing else needs a memory here.
A name that two objects define belongs to the older one; `contested` lets an advertisement that was compiled
before the dispute keep what it had (in a conflict the one in force wins).
"""

from collections.abc import Sequence

from msgspec import Struct

from metalbgp.config import communities
from metalbgp.config.communities import Community
from metalbgp.config.mistakes import Findings
from metalbgp.config.objects import Community as Raw
from metalbgp.model.reasons import Invalid


class Aliases(Struct, frozen=True):
    values: dict[str, Community]
    contested: frozenset[str] = frozenset()
    invalid: tuple[Invalid, ...] = ()


def read(raws: Sequence[Raw]) -> Aliases:
    values: dict[str, Community] = {}
    owner: dict[str, str] = {}
    contested: set[str] = set()
    invalid: list[Invalid] = []
    for raw in sorted(raws, key=lambda raw: (raw.metadata.source.created, raw.name, raw.metadata.uid)):
        findings = Findings("Community", raw.name)
        if raw.unreadable:
            findings.wrong("spec", raw.unreadable)
        for at, alias in enumerate(raw.spec.communities or []):
            field = f"spec.communities[{at}]"
            if alias.name in owner:
                where = (
                    "the same object" if owner[alias.name] == raw.name else f"Community {owner[alias.name]}"
                )
                findings.wrong(f"{field}.name", f'"{alias.name}" is already defined by {where}')
                contested.add(alias.name)
                continue
            if not alias.name or not communities.is_alias(alias.name):
                why = (
                    "is empty"
                    if not alias.name
                    else f'"{alias.name}" has a colon and would be read as numbers'
                )
                findings.wrong(f"{field}.name", why, "write a name without a colon")
                continue
            owner[alias.name] = raw.name
            value = findings.read(f"{field}.value", communities.read, alias.value)
            if value is not None:
                values[alias.name] = value
        invalid += findings.found
    return Aliases(values=values, contested=frozenset(contested), invalid=tuple(invalid))
