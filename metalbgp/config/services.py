"""The annotations of a Service (metallb.md 2.1): what it asks for, in whichever spelling.

In:  metadata.annotations. Out: ServiceRequest, the fields of model.Service that stem from them.
The first spelling wins as soon as it is there, even when it is empty; the second is deprecated.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from metalbgp.config import communities
from metalbgp.config.mistakes import Mistake, number, yes
from metalbgp.model.names import FROM_POOL
from metalbgp.model.services import NO_WISHES, RouteWishes

PREFIX: Final = "metallb.io/"
DEPRECATED: Final = "metallb.universe.tf/"
POOL: Final = "address-pool"
ADDRESSES: Final = "loadBalancerIPs"
SHARING: Final = "allow-shared-ip"
ADDRESS_ID: Final = "metalbgp.io/address-id"  # ours alone: MetalLB has no such thing
COMMUNITIES: Final = "metalbgp.io/communities"
LOCAL_PREFERENCE: Final = "metalbgp.io/local-preference"
BLACKHOLE: Final = "metalbgp.io/blackhole"
WISHES: Final = (COMMUNITIES, LOCAL_PREFERENCE, BLACKHOLE)


class ServiceRequest(Struct, frozen=True, gc=False):
    pool: str = ""
    addresses: str | None = None  # as written; None: not given
    sharing_key: str = ""
    deprecated: tuple[str, ...] = ()  # names with the old prefix that are there, sorted
    from_pool: str | None = None  # as it stands
    address_id: str = ""
    wishes: RouteWishes = NO_WISHES
    misread: tuple[tuple[str, str], ...] = ()  # annotation, why


NOTHING: Final = ServiceRequest()


def annotations(notes: Mapping[str, str] | None) -> ServiceRequest:
    if not notes:
        return NOTHING
    return ServiceRequest(
        pool=_first(notes, POOL) or "",
        addresses=_first(notes, ADDRESSES),
        sharing_key=_first(notes, SHARING) or "",
        address_id=notes.get(ADDRESS_ID, ""),
        **_wishes(notes),
        deprecated=tuple(sorted(name for name in notes if name.startswith(DEPRECATED))),
        from_pool=notes.get(FROM_POOL),
    )


def _wishes(notes: Mapping[str, str]) -> dict[str, Any]:
    """What cannot be read is left out and named, the rest counts: a typing error holds no route up."""
    given = {name: text for name in WISHES if (text := notes.get(name)) is not None}
    if not given:
        return {}
    plain: set[tuple[int, int]] = set()
    large: set[tuple[int, int, int]] = set()
    preference: int | None = None
    blackhole = False
    misread: list[tuple[str, str]] = []
    for name, text in given.items():
        try:
            if name == COMMUNITIES:
                for word in text.replace(",", " ").split():
                    found = communities.well_known(word) or communities.read(word)
                    (plain if len(found) == 2 else large).add(found)  # type: ignore[arg-type]  # by length
            elif name == LOCAL_PREFERENCE:
                preference = number(text, 0, 2**32 - 1)
            else:
                blackhole = yes(text)
        except Mistake as mistake:
            misread.append((name, f"{mistake.why}; {mistake.fix}" if mistake.fix else mistake.why))
    wishes = RouteWishes(tuple(sorted(plain)), tuple(sorted(large)), preference, blackhole)
    return {"wishes": wishes, "misread": tuple(misread)}


def _first(notes: Mapping[str, str], name: str) -> str | None:
    return notes.get(PREFIX + name, notes.get(DEPRECATED + name))
