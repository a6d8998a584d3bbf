"""The VirtualIP: one per address. The claim, the desired announcement, and the memory (contracts.md).

In:  made by plan/ and allocate/'s answers; written by the controller; read by speakers and the CLI.
Out: values; config/virtualip.py turns them into objects and back.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from metalbgp.model.services import NO_WISHES, RouteWishes

# reserved: for a reservation, nobody behind it yet. probing: claimed, and the segment is asked whether
# anybody has it (PoolPolicy spec.probe), so it is neither shown nor announced. releasing: withdrawn, then
# gone, cooling or reserved.
# cooling: given up, and not given to others yet (reuse delay), or kept for whoever had it (sticky).
Phase = Literal["reserved", "probing", "bound", "releasing", "cooling"]
HELD_PHASES: tuple[Phase, ...] = ("probing", "bound")  # a Service stands behind the address
WATCHED_PHASES: tuple[Phase, ...] = ("bound", "probing", "releasing")  # by speakers


class Holder(Struct, frozen=True, gc=False):
    """One Service behind the address, with what decides whether and where it is announced.

    Policy Cluster: `serving` alone decides and no node is listed; Local: `nodes` and `terminating` have the
    counts, and a node is in one of them or in neither (docs/serving.md).
    """

    uid: str
    created: str = ""  # of the Service; the oldest keeps an address that two claim
    bgp: tuple[str, ...] = ()  # names of the BGPAdvertisements that match
    l2: tuple[str, ...] = ()  # names of the L2Advertisements that match
    policy: Literal["Cluster", "Local"] = "Cluster"
    serving: bool = False
    nodes: Mapping[str, int] = {}  # Local: ready endpoints by node
    terminating: Mapping[str, int] = {}  # Local: those that terminate and still serve, where none is ready
    last_resort: bool = False  # nodes of `terminating` announce routes, for none of `nodes` can
    selector: Mapping[str, str] = {}  # Local: of the Service, so that a speaker may look at its own Pods
    publish_not_ready: bool = False
    sharing_key: str = ""
    ports: tuple[str, ...] = ()  # "TCP/80": what a sharer may not take
    wishes: RouteWishes = NO_WISHES  # of the Service, for its routes
    address_id: str = (
        ""  # annotation metalbgp.io/address-id; remembered when the address waits for its return
    )
    why: str = ""  # in words, what gave it the address when it was claimed; "": nobody wrote it down


class VirtualIP(Struct, frozen=True, gc=False):
    address: str
    pool: str
    phase: Phase = "bound"
    configuration: int = 0  # Configuration.sequence that it was planned with
    holders: Mapping[str, Holder] = {}  # by namespace/name
    candidates: tuple[str, ...] = ()  # nodes that may own it in L2, in order; the first live one does
    since: str = ""  # RFC 3339, when the phase began
    # What the phases reserved and cooling remember; while bound only `reservation` may stand.
    kept_for: tuple[str, ...] = ()  # identities (see Service.identities) that may have it meanwhile
    until: str = ""  # RFC 3339, when cooling ends; "": not before somebody of kept_for comes
    reservation: str = ""  # name of the AddressReservation that holds the address
    uid: str = ""
    resource_version: str = ""
    created: str = ""
    installation: str = ""  # label metalbgp.io/installation; names are global, installations are not
