"""The annotations of a Service (metallb.md 2.1): what it asks for, in whichever spelling.

In:  metadata.annotations. Out: ServiceRequest, the fields of model.Service that stem from them.
The first spelling wins as soon as it is there, even when it is empty; the second is deprecated.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from metalbgp.model.names import FROM_POOL

PREFIX: Final = "metallb.io/"
DEPRECATED: Final = "metallb.universe.tf/"
POOL: Final = "address-pool"
ADDRESSES: Final = "loadBalancerIPs"
SHARING: Final = "allow-shared-ip"
ADDRESS_ID: Final = "metalbgp.io/address-id"  # ours alone: MetalLB has no such thing


class ServiceRequest(Struct, frozen=True, gc=False):
    pool: str = ""
    addresses: str | None = None  # as written; None: not given
    sharing_key: str = ""
    deprecated: tuple[str, ...] = ()  # names with the old prefix that are there, sorted
    from_pool: str | None = None  # as it stands
    address_id: str = ""


NOTHING: Final = ServiceRequest()


def annotations(notes: Mapping[str, str] | None) -> ServiceRequest:
    if not notes:
        return NOTHING
    return ServiceRequest(
        pool=_first(notes, POOL) or "",
        addresses=_first(notes, ADDRESSES),
        sharing_key=_first(notes, SHARING) or "",
        address_id=notes.get(ADDRESS_ID, ""),
        deprecated=tuple(sorted(name for name in notes if name.startswith(DEPRECATED))),
        from_pool=notes.get(FROM_POOL),
    )


def _first(notes: Mapping[str, str], name: str) -> str | None:
    return notes.get(PREFIX + name, notes.get(DEPRECATED + name))
