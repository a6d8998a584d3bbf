"""What a node shall announce: BGP routes with their attributes, and L2 duties.

In:  made by select/ for one node.
Out: bgp/ turns Route into ExaBGP's lines; the reflex answers for Duty.
"""

from msgspec import Struct

from metalbgp.model.reasons import NotAnnounced


class Attributes(Struct, frozen=True, order=True):
    """Path attributes that we set (RFC 4271 section 5, RFC 1997, RFC 4360, RFC 8092); the rest is ExaBGP's.

    next_hop "" means the session's own address.
    """

    next_hop: str = ""
    communities: tuple[tuple[int, int], ...] = ()  # sorted
    large_communities: tuple[tuple[int, int, int], ...] = ()  # sorted
    local_preference: int | None = None  # sent to iBGP peers only
    med: int | None = None
    as_path: tuple[int, ...] = ()  # prepended beyond our own
    extended_communities: tuple[int, ...] = ()  # RFC 4360, sorted


class Route(Struct, frozen=True, order=True):
    """One prefix for one peer."""

    peer: str  # BGPPeer name
    prefix: str  # network/length
    attributes: Attributes = Attributes()


class Provenance(Struct, frozen=True):
    """Why a route is wanted: the Services behind it and the advertisements that asked for it."""

    services: tuple[str, ...]
    addresses: tuple[str, ...]
    advertisements: tuple[str, ...]
    created: str = ""  # of the oldest of the Services: its localPref wins when Services disagree
    leaving: bool = False  # the node does: the route carries GRACEFUL_SHUTDOWN and is about to go


class Duty(Struct, frozen=True, order=True):
    """This node answers ARP/NDP for the address while it is the first of the candidates that lives, which the
    reflex knows (l2/ownership.py). interfaces None: on every eligible one."""

    address: str
    interfaces: tuple[str, ...] | None = None
    candidates: tuple[str, ...] = ()  # nodes, in order
    revertive: bool = True  # a better candidate that returns takes it back
    fenced: bool = False  # only while a Lease is held
    declined: bool = False  # it will not, though it is a candidate: the next one must hear of that


class Probe(Struct, frozen=True, order=True):
    """This node asks its segment whether anybody has the address. interfaces None: on every eligible one."""

    address: str
    uid: str  # of the VirtualIP
    interfaces: tuple[str, ...] | None = None


class Refused(Struct, frozen=True):
    """Something that is not announced from this node, and why. peer "" : to no peer."""

    address: str
    service: str
    protocol: str  # bgp, layer2
    reason: NotAnnounced
    peer: str = ""
    advertisement: str = ""


class NodePlan(Struct, frozen=True):
    """Everything that one node shall do for one VirtualIP (or, merged, for all of them)."""

    routes: tuple[tuple[Route, Provenance], ...] = ()
    duties: tuple[Duty, ...] = ()
    declined: tuple[Duty, ...] = ()  # of L2 addresses that it is a candidate for, those that it says no to
    probes: tuple[Probe, ...] = ()
    refused: tuple[Refused, ...] = ()
    undecided: tuple[str, ...] = ()  # addresses for which the node keeps what it announces, whatever it is
