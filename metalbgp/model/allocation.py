"""The answer to "which address?": made by allocate/, written by the controller, shown by plan/explain.py."""

from msgspec import Struct

from metalbgp.model.reasons import NoAddress, WhyAddress


class Allocation(Struct, frozen=True):
    """The addresses, IPv4 first, all of one pool. `lacks`: why a PreferDualStack Service got only one."""

    addresses: tuple[str, ...]
    pool: str
    why: WhyAddress
    lacks: NoAddress | None = None


class Refusal(Struct, frozen=True):
    reason: NoAddress
