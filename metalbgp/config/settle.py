"""Last good per object, and who stays when two objects cannot both stand.

In:  each object as read now (None when it is invalid) and as it was in force before.
Out: what is in force now. Nothing that was in force is lost to somebody else's change: a newcomer waits.

Everybody starts with his new version. While two clash, the weaker one steps back to what it had (or out, if
it had nothing), and all are compared again, because that older version may clash in turn. The weaker one is
who changed what they clash about, then the younger. Each object steps back at most twice, and the versions
that stood before stood together, so this ends, and where it ends does not depend on the order of anything.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from msgspec import Struct

from metalbgp.config.mistakes import Dispute, Findings
from metalbgp.model.configuration import Source

T = TypeVar("T")
Clash = Callable[[T, T], Dispute | None]  # (loser, winner) → why the loser cannot stand


class Candidate(Struct, Generic[T]):
    """One object on its way. `now`: the version it stands for at the moment."""

    name: str
    source: Source
    findings: Findings
    now: T | None
    before: T | None

    @property
    def rank(self) -> tuple[str, str, str]:
        return self.source.created, self.name, self.source.uid


def settle(
    candidates: list[Candidate[T]],
    clash: Clash[T] | None = None,
    essence: Callable[[T], Any] = lambda value: value,
    keys: Callable[[T], Iterable[Hashable]] = lambda _: (None,),
) -> tuple[T, ...]:
    """The versions in force, by name. `essence`: what `clash` looks at, so that a change of anything else
    does not make an object a newcomer in a dispute. `keys`: only two that share one can clash; with them
    thousands of objects are compared in linear time."""
    for one in candidates:
        if one.findings.found or one.now is None:
            one.now = one.before

    def standing(one: Candidate[T]) -> int:
        if one.before is None or one.now is None:
            return 2
        return 0 if essence(one.now) == essence(one.before) else 1

    while clash is not None:
        present = sorted((c for c in candidates if c.now is not None), key=lambda c: (standing(c), c.rank))
        weaker = _first_clash(present, clash, keys)
        if weaker is None:
            break
        weaker.now = None if weaker.now is weaker.before else weaker.before
    in_force = [one.now for one in sorted(candidates, key=lambda c: c.rank[1:]) if one.now is not None]
    return tuple(in_force)


def _first_clash(
    present: list[Candidate[T]], clash: Clash[T], keys: Callable[[T], Iterable[Hashable]]
) -> Candidate[T] | None:
    """The first that cannot stand beside those before it; the reason is noted on it."""
    before: dict[Hashable, list[T]] = {}
    for one in present:
        if one.now is None:
            continue
        mine = tuple(keys(one.now))
        for key in mine:
            for stronger in before.get(key, ()):
                found = clash(one.now, stronger)
                if found is not None:
                    one.findings.wrong(found.field, found.why, found.fix, awaits=found.awaits)
                    return one
        for key in mine:
            before.setdefault(key, []).append(one.now)
    return None
