"""What a change touches, in two urgencies.

`services`: allocate and plan again, at once. `counts`: plan again, only numbers of endpoints moved (may wait
and be joined with the next). `addresses`: only which nodes serve them best may have changed. `idle`:
addresses that nobody holds and that are reserved or cooling, or shall be.
"""

from collections.abc import Iterable

from msgspec import Struct


class Touched(Struct, frozen=True):
    services: frozenset[str] = frozenset()
    counts: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()

    def __or__(self, other: "Touched") -> "Touched":
        return Touched(
            services=self.services | other.services,
            counts=(self.counts | other.counts) - self.services - other.services,
            addresses=self.addresses | other.addresses,
            idle=self.idle | other.idle,
        )

    def __bool__(self) -> bool:
        return bool(self.services or self.counts or self.addresses or self.idle)


NOTHING = Touched()


def services(keys: Iterable[str]) -> Touched:
    return Touched(services=frozenset(keys))
