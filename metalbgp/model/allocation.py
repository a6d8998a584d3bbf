"""The answer to "which address?": made by allocate/, written by the controller, shown by plan/explain.py."""

from msgspec import Struct

from metalbgp.model.reasons import NoAddress, WhyAddress


class Allocation(Struct, frozen=True):
    """The addresses, IPv4 first. `lacks`: why a PreferDualStack Service got only one.

    `pool` is the home of all of them, but for `second`: the pool that gave the other family (a PoolPolicy's
    secondFamilyFrom).
    """

    addresses: tuple[str, ...]
    pool: str
    why: WhyAddress
    lacks: NoAddress | None = None
    second: str = ""
    unread: NoAddress | None = None  # a wish that cannot be read: what it holds stays until that is mended

    @property
    def pools(self) -> str:
        """For people and for the annotation metallb.io/ip-allocated-from-pool."""
        return f"{self.pool},{self.second}" if self.second else self.pool


class Refusal(Struct, frozen=True):
    reason: NoAddress
