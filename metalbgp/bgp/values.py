"""A session to run, and what ExaBGP reports about it.

In:  Neighbor comes from the agent over parent.sock (or from a test); checked by `check`, which is the reason
     why a poisonous configuration file cannot be written (a parse error poisons ExaBGP until it restarts).
Out: Neighbor for config_file.py, events for machine.py, both made of numbers and canonical addresses only.
Elsewhere: route attributes are model/routes.py; the text of lines is wire.py.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.model.addresses import AddressError, canonical, family, is_interface
from metalbgp.model.reasons import (
    ASNotLearned,
    NoRoute,
    NotExternal,
    Notification,
    PeerAddressTaken,
    Reason,
    RouterNotHeard,
    VRFMissing,
)

Family = Literal["ipv4", "ipv6"]
FAMILIES: Final[tuple[Family, ...]] = ("ipv4", "ipv6")
MAX_AS: Final = 2**32 - 1
LONGEST_PASSWORD: Final = 80  # TCP_MD5SIG_MAXKEYLEN


class BFD(Struct, frozen=True, omit_defaults=True):
    """How the session's path is watched (RFC 5880); the packets are the reflex's. Milliseconds."""

    receive: int = 300  # Required Min RX Interval; defaults as FRR's
    transmit: int = 300  # Desired Min TX Interval
    multiplier: int = 3
    passive: bool = False  # silent until the router speaks
    minimum_ttl: int = 254  # multihop alone: packets that came further are dropped


class Neighbor(Struct, frozen=True, omit_defaults=True):
    """One BGP session. Two neighbours with one address cannot exist in ExaBGP."""

    address: str  # "": unnumbered, and not learned yet
    local_as: int
    peer_as: int  # 0: external, and not learned yet (ExaBGP's auto is unusable)
    router_id: str
    name: str = ""  # BGPPeer name, for people
    local_address: str = ""  # "": chosen by the kernel
    port: int = 179
    hold_time: int = 90  # seconds; 0 or at least 3
    keepalive: int = 0  # seconds; 0, or more than a third of the hold time: a third
    connect_retry: int = 0  # seconds between two tries to connect; 0: ever longer, up to a minute
    families: tuple[Family, ...] = ("ipv4",)
    password_base64: str | None = None  # base64 of the TCP MD5 secret
    graceful_restart: int = 0  # seconds, 0: off
    ttl_security: bool = False  # GTSM (RFC 5082): send and require TTL 255
    multihop: bool = False  # nothing to set in ExaBGP: it sends with the kernel's TTL anyway
    interface: str = ""  # bind to this device
    unnumbered: bool = False  # the address is learned from router advertisements on `interface`
    vrf: bool = False  # `interface` must be a VRF
    external: bool = False  # whatever AS the router has, but not ours
    extended_next_hop: bool = False  # offer RFC 8950: IPv4 routes with an IPv6 next hop
    passive: bool = False  # wait for the router; needs `listen`
    listen: int = 0  # also accept on this port, 0: only dial
    bfd: BFD | None = None

    @property
    def key(self) -> str:
        """What the session is called between agent and parent; an unnumbered one keeps it for life."""
        return f"%{self.interface}" if self.unnumbered else self.address

    @property
    def incomplete(self) -> bool:
        """Something must be looked at or learned on this node before ExaBGP may know of it (seek.py)."""
        return self.unnumbered or self.vrf or self.external or bool(self.listen and not self.local_address)

    @property
    def ibgp(self) -> bool:
        return self.local_as == self.peer_as

    def redacted(self) -> "Neighbor":
        """The same without its secret, for journals and logs."""
        changed = {**{f: getattr(self, f) for f in self.__struct_fields__}, "password_base64": "redacted"}
        return Neighbor(**changed) if self.password_base64 is not None else self


class BadNeighbor(ValueError):
    """A neighbour that ExaBGP must never see; the message names the field and the remedy."""


def _number(n: Neighbor, field: str, low: int, high: int) -> None:
    value = getattr(n, field)
    if type(value) is not int or not low <= value <= high:
        raise BadNeighbor(f"peer {n.address!r}: {field} {value!r} is not a number from {low} to {high}")


def _address(n: Neighbor, field: str) -> str:
    try:
        return canonical(getattr(n, field))
    except (AddressError, TypeError, AttributeError) as error:
        raise BadNeighbor(f"peer {n.address!r}: {field}: {error}") from error


def check(n: Neighbor) -> Neighbor:
    """The neighbour with canonical addresses, or BadNeighbor: all that the file will hold is proven."""
    address = _address(n, "address") if n.address or not n.unnumbered else ""
    router_id = _address(n, "router_id")
    local = _address(n, "local_address") if n.local_address else ""
    if family(router_id) != 4:
        raise BadNeighbor(f"peer {n.address!r}: router_id {n.router_id!r} must look like an IPv4 address")
    if local and not n.unnumbered and family(local) != family(address):
        raise BadNeighbor(f"peer {n.address!r}: local_address {local} is of the other family")
    for field, low, high in (
        ("local_as", 1, MAX_AS),
        ("peer_as", 0 if n.external else 1, MAX_AS),
        ("port", 1, 65535),
        ("listen", 0, 65535),
        ("hold_time", 0, 65535),
        ("keepalive", 0, 65535),
        ("connect_retry", 0, 65535),
        ("graceful_restart", 0, 4095),
    ):
        _number(n, field, low, high)
    if n.hold_time in (1, 2):
        raise BadNeighbor(f"peer {n.address!r}: hold_time {n.hold_time}: 0 or at least 3 (RFC 4271)")
    if not n.families or any(f not in FAMILIES for f in n.families):
        raise BadNeighbor(f"peer {n.address!r}: families {n.families!r}: name ipv4, ipv6 or both")
    if n.passive and not n.listen:
        raise BadNeighbor(f"peer {n.address!r}: passive needs a port to listen on")
    name = n.interface
    if not name and (n.unnumbered or n.vrf):
        raise BadNeighbor(f"peer {n.address!r}: interface is missing")
    if address.startswith("fe80:") and not name:
        raise BadNeighbor(f"peer {n.address!r}: a link-local address needs its interface")
    if name and not is_interface(name):
        raise BadNeighbor(f"peer {n.address!r}: interface {name!r} is not a device name")
    _password(n)
    proven = {"address": address, "router_id": router_id, "local_address": local}
    return Neighbor(**{**{f: getattr(n, f) for f in n.__struct_fields__}, **proven})


def completed(n: Neighbor, found: "Found | None", taken: Mapping[str, str]) -> Neighbor | Reason:
    """The neighbour with what was found, or what stands in its way. `taken`: addresses of others, by name."""
    if not n.incomplete:
        whole = n
    elif found is None:  # not looked at yet
        return _not_yet(n)
    elif found.why is not None:
        return found.why
    elif n.unnumbered and not found.address:
        return _unheard(n)
    elif n.listen and not (n.local_address or found.local_address):
        return NoRoute(address=n.address)
    elif n.external and not found.asn:
        return ASNotLearned()
    elif n.external and found.asn == n.local_as:
        return NotExternal(asn=found.asn)
    else:
        whole = replace(
            n,
            address=found.address or n.address,
            local_address=found.local_address or n.local_address,
            peer_as=found.asn or n.peer_as,
        )
    if whole.address in taken:
        return PeerAddressTaken(peer=taken[whole.address], address=whole.address)
    return whole


def _not_yet(n: Neighbor) -> Reason:
    if n.vrf:
        return VRFMissing(vrf=n.interface)
    if n.unnumbered:
        return _unheard(n)
    return ASNotLearned() if n.external else NoRoute(address=n.address)


def _unheard(n: Neighbor) -> Reason:
    return RouterNotHeard(interface=n.interface)


def _password(n: Neighbor) -> None:
    if n.password_base64 is None:
        return
    try:
        secret = base64.b64decode(n.password_base64.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeError, AttributeError) as error:
        raise BadNeighbor(f"peer {n.address!r}: the password is not base64") from error
    if not 1 <= len(secret) <= LONGEST_PASSWORD:
        raise BadNeighbor(f"peer {n.address!r}: the password must have 1 to {LONGEST_PASSWORD} bytes")


# What ExaBGP reports. `peer` is always the peer's address.


class Sent(Struct, frozen=True):
    """One UPDATE went to the socket: the bytes, decoded again: so this is what the router reads."""

    peer: str
    announced: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    next_hop: str = ""
    communities: tuple[tuple[int, int], ...] = ()
    large_communities: tuple[tuple[int, int, int], ...] = ()
    local_preference: int | None = None
    med: int | None = None
    as_path: tuple[int, ...] = ()
    extended_communities: tuple[int, ...] = ()


class SentEor(Struct, frozen=True):
    peer: str
    family: str


class Up(Struct, frozen=True):
    peer: str
    local: str  # our end of the session: what `next-hop self` became


class Down(Struct, frozen=True):
    """The session, or one try of it, ended."""

    peer: str
    why: Reason


class Connected(Struct, frozen=True):
    """TCP is there; BGP is not yet."""

    peer: str


class Negotiated(Struct, frozen=True):
    peer: str
    families: tuple[str, ...]
    hold_time: int
    extended_next_hop: bool = False  # IPv4 with an IPv6 next hop (RFC 8950)
    capabilities: tuple[str, ...] = ()  # both ends have them, by the names of their RFCs


class Opened(Struct, frozen=True):
    """The router's OPEN."""

    peer: str
    graceful_restart: bool
    asn: int


class Notified(Struct, frozen=True):
    peer: str
    why: Notification


class Found(Struct, frozen=True):
    """What a neighbour lacked, or why it is not to be had on this node."""

    address: str = ""
    local_address: str = ""  # ExaBGP listens at an address, not at `auto`
    asn: int = 0
    why: Reason | None = None


class Shutdown(Struct, frozen=True):
    """ExaBGP is about to exit."""


class Ignored(Struct, frozen=True):
    """A valid line that decides nothing."""


Event = Sent | SentEor | Up | Down | Connected | Negotiated | Opened | Notified | Shutdown | Ignored


class Answer(Struct, frozen=True):
    """`done` or `error`: no id, no reason, in the order of the queued commands."""

    ok: bool


class Text(Struct, frozen=True):
    """A line of a longer answer; `done` follows."""

    text: str


class PeerState(Struct, frozen=True):
    """One entry of `show neighbor json`."""

    peer: str
    up: bool
    local: str
    families: tuple[str, ...]
    graceful_restart: bool
    asn: int
