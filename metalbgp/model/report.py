"""The one shape of session, route, claim and node state: NodeState status, metrics, sockets and CLI JSON.

Times are RFC 3339 text; fields are added, never renamed (the CLI's JSON is documented from here).
"""

from msgspec import Struct

REPORTED_EVERY = 300.0  # seconds: a NodeState is written that often though nothing changed
QUIET = 2.5 * REPORTED_EVERY  # of one that was not, for so long, nobody knows what its speaker knows


class SessionReport(Struct, frozen=True):
    """One BGP session as its speaker sees it."""

    peer: str  # BGPPeer name
    address: str  # of the router; %INTERFACE for an unnumbered session
    port: int
    my_asn: int
    peer_asn: int
    # Established, Connect, Idle (RFC 4271 section 8.2.2); Refused: not configured here; Shut: by an order
    state: str
    since: str = ""
    families: tuple[str, ...] = ()  # negotiated: ipv4, ipv6
    routes_wanted: int = 0
    routes_confirmed: int = 0
    graceful_restart: bool = False
    last_error: str = ""
    tries: int = 0
    reason: str = ""  # the class of last_error in model/reasons.py
    remedy: str = ""
    hold_time: int = 0  # seconds, negotiated; 0: none, or not established
    capabilities: tuple[str, ...] = ()  # that both ends have
    flaps: int = 0  # how often it ended, since the speaker's parent process runs
    ended: str = ""  # when it did so last
    ended_why: str = ""
    learned: str = ""  # unnumbered: the router's address, by its advertisements
    held: int = 0  # routes that should be withdrawn and are not: beyond metalbgp.io/withdraw-limit
    beyond: int = 0  # routes that should be announced and are not: beyond metalbgp.io/max-routes
    bfd: str = ""  # Up, Init, Down, AdminDown (RFC 5880 section 4.1), unknown: nobody watches; "": no BFD
    bfd_why: str = ""  # it is not Up, or not as fast as it was asked for
    bfd_detection: int = 0  # milliseconds of silence after which the path is dead
    bfd_flaps: int = 0  # how often it went from Up to something else


class RouteReport(Struct, frozen=True):
    """One prefix to one peer."""

    prefix: str
    peer: str
    state: str  # confirmed, sent, wanted, waiting, withdrawing, refused
    since: str = ""
    services: tuple[str, ...] = ()
    next_hop: str = ""
    communities: tuple[str, ...] = ()
    large_communities: tuple[str, ...] = ()
    local_preference: int | None = None
    why: str = ""


class DutyReport(Struct, frozen=True):
    """One address that the node answers ARP/NDP for now."""

    address: str
    services: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()


class ProbeReport(Struct, frozen=True):
    """One address that the node asked its segment for, before anybody uses it."""

    address: str
    uid: str  # of the VirtualIP: another claim of the address is another question
    done: bool = False
    interface: str = ""  # where it was answered; "": nobody did
    mac: str = ""
    failed: str = ""  # why it could not be asked


class OrderReport(Struct, frozen=True):
    """An order that the node obeys now: of a SpeakerOrder, or given on its own socket."""

    name: str
    action: str  # Hold, Shut, Drain
    target: str  # an address, a BGPPeer, a node
    node: str = ""  # the only one it is for; "": every node
    reason: str = ""
    author: str = ""
    expires: str = ""
    created: str = ""
    local: bool = False  # of the node's own socket: no object has it


class UnservedReport(Struct, frozen=True):
    """A Local Service whose last Pod on the node its speaker saw end, before the controller says so."""

    address: str
    service: str


class DrainReport(Struct, frozen=True):
    """The node leaves: what became of its routes (docs/drain.md)."""

    why: str  # drained by whom, cordoned, tainted, shutting down
    withdrawn: int = 0  # routes that another node announces
    eased: int = 0  # routes that still stand, less preferred
    stays: tuple[str, ...] = ()  # of these, prefixes that no other node announces; at most 10
    answers: tuple[str, ...] = ()  # addresses in L2 that no candidate may have which stays; at most 10


class NodeReport(Struct, frozen=True):
    """status of a NodeState: what one speaker does, at most 64 KiB, written on change (contracts.md)."""

    node: str
    pod: str = ""
    version: str = ""
    configuration: int = 0  # sequence of the SpeakerConfiguration that it holds
    updated: str = ""
    heard: str = ""  # when the speaker last heard the API server; "": never, or a version that does not say
    from_snapshot: bool = False  # it announces what was known before its start, for the API server is away
    ready: bool = False
    realtime: str = ""  # the reflex's scheduling class
    layer2: str = ""  # what the node is in L2: active, listening, no-key, … (docs/layer2.md)
    layer2_why: str = ""
    candidate_for: int = 0  # L2 addresses that it may own
    addresses: int = 0
    routes_wanted: int = 0
    routes_confirmed: int = 0
    sessions: tuple[SessionReport, ...] = ()
    unconfirmed: tuple[RouteReport, ...] = ()  # at most 50
    duties: tuple[DutyReport, ...] = ()  # at most 50; `duties_total` has the count
    duties_total: int = 0
    probes: tuple[ProbeReport, ...] = ()  # while the VirtualIP is in phase probing; at most 100
    orders: tuple[OrderReport, ...] = ()  # at most 250; `orders_total` has the count
    orders_total: int = 0
    drain: tuple[DrainReport, ...] = ()  # one, while the node leaves; a list, for a patch replaces it whole
    unserved: tuple[UnservedReport, ...] = ()  # at most 50
    problems: tuple[str, ...] = ()
