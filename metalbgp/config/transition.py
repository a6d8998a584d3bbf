"""The configuration that stands while VirtualIPs move from an old one to a new one. Pure.

    widen(old, new) -> Configuration      # everything of new, and what only old has

Order of writes (contracts.md): add to the configuration, then rewrite VirtualIPs, then remove. So the
controller writes widen(old, new), waits until every VirtualIP that the change touches was rewritten, and writes
new. A speaker meanwhile finds every advertisement and pool that any VirtualIP may still name.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from msgspec.structs import replace

from metalbgp.model.configuration import Configuration


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def widen(old: Configuration, new: Configuration) -> Configuration:
    # Peers are not held back: no VirtualIP names one, and a removed peer is meant to be gone.
    return replace(
        new,
        pools=_both(old.pools, new.pools),
        bgp_advertisements=_both(old.bgp_advertisements, new.bgp_advertisements),
        l2_advertisements=_both(old.l2_advertisements, new.l2_advertisements),
        bfd_profiles=_both(old.bfd_profiles, new.bfd_profiles),
    )


def _both(old: Sequence[N], new: Sequence[N]) -> tuple[N, ...]:
    """New ones first: where an old and a new pool hold the same address, the new one answers for it."""
    names = {one.name for one in new}
    return (*new, *(one for one in old if one.name not in names))
