"""ExaBGP 5.0.15's text: command lines from values, events and answers from lines. Pure.

In:  values of values.py and model/routes.py; bytes of one line from the helper.
Out: command lines made of numbers, addresses and a few fixed words; typed events. A line that cannot be read
     is one error, BadLine, whatever it holds.
Elsewhere: when to say what is machine.py; the configuration file is config_file.py.
One file because what is written and what is read back are compared in one shape (expected, carried).

Commands carry numbers only because ExaBGP routes them by substring: a community written `graceful-shutdown`
contains `shutdown ` and stops the daemon, and the letters j-s-o-n anywhere kill it.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from metalbgp.bgp.notifications import ended, notification
from metalbgp.bgp.values import (
    Answer,
    Connected,
    Down,
    Event,
    Ignored,
    Negotiated,
    Neighbor,
    Notified,
    Opened,
    PeerState,
    Sent,
    SentEor,
    Shutdown,
    Text,
    Up,
)
from metalbgp.model.addresses import AddressError, canonical, family, prefix_of
from metalbgp.model.routes import Attributes

DEFAULT_LOCAL_PREFERENCE: Final = 100  # what ExaBGP puts on iBGP sessions (RFC 4271 section 5.1.5)
Line = Event | Answer | Text | tuple[PeerState, ...]


class BadLine(ValueError):
    """A line from ExaBGP that cannot be read."""


class BadRoute(ValueError):
    """A route that must not reach ExaBGP; the message says which part and why."""


def _numbers(values: Iterable[Any], limit: int, what: str) -> None:
    for value in values:
        if type(value) is not int or not 0 <= value <= limit:
            raise BadRoute(f"{what} {value!r} is not a number from 0 to {limit}")


def check_prefix(text: str) -> str:
    """The prefix in canonical form. ExaBGP refuses host bits, and one bad prefix refuses its whole line."""
    network, slash, length = text.partition("/")
    try:
        if not slash or not length.isdecimal() or not length.isascii():
            raise BadRoute(f"{text!r} is not network/length")
        bits = int(length)
        if bits > (128 if family(network) == 6 else 32):
            raise BadRoute(f"{text!r}: the length is too long")
        if not bits:
            raise BadRoute(f"{text!r}: a default route is never announced, whoever asks for it")
        prefix = prefix_of(network, bits)
        if prefix != f"{canonical(network)}/{bits}":
            raise BadRoute(f"{text!r} has host bits; the prefix is {prefix}")
    except AddressError as error:
        raise BadRoute(str(error)) from error
    return prefix


def check_attributes(a: Attributes) -> Attributes:
    """Proven to be numbers in range and addresses, communities sorted: what a line may carry."""
    _numbers((n for pair in a.communities for n in pair), 0xFFFF, "community part")
    _numbers((n for triple in a.large_communities for n in triple), 0xFFFFFFFF, "large community part")
    _numbers((n for n in (a.local_preference, a.med) if n is not None), 0xFFFFFFFF, "local preference or MED")
    _numbers(a.as_path, 0xFFFFFFFF, "AS number")
    _numbers(a.extended_communities, 2**64 - 1, "extended community")
    if any(len(pair) != 2 for pair in a.communities) or any(len(t) != 3 for t in a.large_communities):
        raise BadRoute("a community has two parts, a large one three")
    try:
        next_hop = canonical(a.next_hop) if a.next_hop else ""
    except AddressError as error:
        raise BadRoute(f"next hop: {error}") from error
    return Attributes(
        next_hop=next_hop,
        communities=tuple(sorted(set(a.communities))),
        large_communities=tuple(sorted(set(a.large_communities))),
        local_preference=a.local_preference,
        med=a.med,
        as_path=tuple(a.as_path),
        extended_communities=tuple(sorted(set(a.extended_communities))),
    )


def check_next_hop(neighbor: Neighbor, prefix: str, a: Attributes, *, extended: bool) -> None:
    """`next-hop self` of the wrong family is refused half way through; give the address instead.

    `extended`: the session carries IPv4 with its own IPv6 address as the next hop (RFC 8950).
    """
    wanted = family(prefix)
    if a.next_hop:
        if family(a.next_hop) != wanted:
            raise BadRoute(f"{prefix}: the next hop {a.next_hop} is of the other family")
    elif family(neighbor.address) != wanted and not (extended and wanted == 4):
        hint = ", and the router does not take IPv6 ones for IPv4 (RFC 8950)" if wanted == 4 else ""
        raise BadRoute(f"{prefix}: the session with {neighbor.key} needs an IPv{wanted} next hop{hint}")


def announce(neighbor: Neighbor, a: Attributes, prefixes: Iterable[str], local: str = "") -> str:
    """One line for prefixes of one family that share their attributes. `local`: our end of the session."""
    listed = list(prefixes)
    own = "self" if family(neighbor.address) == family(listed[0]) else local
    words_ = [f"neighbor {neighbor.address} announce attributes next-hop {a.next_hop or own}"]
    if a.local_preference is not None and neighbor.ibgp:
        words_.append(f"local-preference {a.local_preference}")
    if a.med is not None:
        words_.append(f"med {a.med}")
    if a.communities:
        words_.append("community [" + " ".join(f"{x}:{y}" for x, y in a.communities) + "]")
    if a.large_communities:
        words_.append("large-community [" + " ".join(f"{x}:{y}:{z}" for x, y, z in a.large_communities) + "]")
    if a.extended_communities:
        extended = " ".join(f"0x{value:016x}" for value in a.extended_communities)
        words_.append(f"extended-community [{extended}]")
    if a.as_path:
        # ExaBGP sends the path as given: our own number in front is ours to write.
        path = a.as_path if neighbor.ibgp else (neighbor.local_as, *a.as_path)
        words_.append("as-path [" + " ".join(map(str, path)) + "]")
    return " ".join(words_) + " nlri " + " ".join(listed)


def withdraw(neighbor: Neighbor, prefixes: Iterable[str]) -> str:
    """One line for prefixes of one family; ExaBGP wants a next hop and does not look at it."""
    listed = list(prefixes)
    placeholder = "::1" if family(listed[0]) == 6 else "127.0.0.1"
    return f"neighbor {neighbor.address} withdraw attributes next-hop {placeholder} nlri " + " ".join(listed)


def end_of_rib(neighbor: Neighbor, afi: str) -> str:
    return f"neighbor {neighbor.address} announce eor {afi} unicast"


def flush(neighbor: Neighbor) -> str:
    """Everything that ExaBGP holds for the peer is sent again."""
    return f"neighbor {neighbor.address} flush adj-rib out"


def cease(neighbor: Neighbor, subcode: int) -> str:
    """A word of launch.py's own: it overtakes the queue and is not answered."""
    return f"neighbor {neighbor.address} cease {subcode}"


def farewell(neighbor: Neighbor, text: str) -> str:
    """Another one: what the next reload says to a peer that it takes out. RFC 9003 allows 255 bytes, RFC 8203
    128, and routers of that time close over a longer one. In hex, for commands are routed by substrings."""
    short = text.encode()[:128].decode(errors="ignore").encode()
    return f"neighbor {neighbor.address} farewell {short.hex()}"


RELOAD: Final = "reload"
SHOW_CONFIGURATION: Final = "show neighbor configuration"
SHOW_STATE: Final = "show neighbor json"


# What the wire carries, in one comparable shape: (next hop, communities, large, preference, MED, path,
# extended).
Carried = tuple[
    str,
    tuple[tuple[int, int], ...],
    tuple[tuple[int, int, int], ...],
    int | None,
    int | None,
    tuple[int, ...] | None,
    tuple[int, ...],
]


def expected(neighbor: Neighbor, local: str, a: Attributes) -> Carried:
    """What the UPDATE will say when these attributes are announced on this session."""
    preference = None
    if neighbor.ibgp:
        preference = DEFAULT_LOCAL_PREFERENCE if a.local_preference is None else a.local_preference
    own = () if neighbor.ibgp else (neighbor.local_as,)
    return (
        a.next_hop or local,
        a.communities,
        a.large_communities,
        preference,
        a.med,
        (*own, *a.as_path) if a.as_path else None,
        a.extended_communities,
    )


def carried(neighbor: Neighbor, sent: Sent) -> Carried:
    """What an UPDATE said. Our own number alone is the default path (an old router sees AS_TRANS there)."""
    default = 0 if neighbor.ibgp else 1
    return (
        sent.next_hop,
        sent.communities,
        sent.large_communities,
        sent.local_preference,
        sent.med,
        sent.as_path if len(sent.as_path) > default else None,
        sent.extended_communities,
    )


class _Ends(Struct):
    local: str
    peer: str


class _Nlri(Struct):
    nlri: str


class _PathPart(Struct):
    element: str
    value: list[int]


class _Extended(Struct):
    value: int


class _Attribute(Struct, rename="kebab"):
    med: int | None = None
    local_preference: int | None = None
    community: list[tuple[int, int]] = []
    large_community: list[tuple[int, int, int]] = []
    extended_community: list[_Extended] = []
    as_path: dict[str, _PathPart] = {}


class _Update(Struct):
    attribute: _Attribute = msgspec.field(default_factory=_Attribute)
    announce: dict[str, dict[str, list[_Nlri]]] = {}
    withdraw: dict[str, list[_Nlri]] = {}


class _Eor(Struct):
    afi: str
    safi: str


class _Message(Struct):
    update: _Update | None = None
    eor: _Eor | None = None


class _Negotiated(Struct):
    families: list[str]
    hold_time: int
    nexthop: list[str] = []
    asn4: bool = False
    refresh: str = "absent"


class _Notification(Struct):
    code: int
    subcode: int
    message: str = ""


class _Open(Struct):
    asn: int
    capabilities: dict[str, Any] = {}


class _Neighbor(Struct):
    address: _Ends
    state: str = ""
    reason: str = ""
    direction: str = ""
    message: _Message | None = None
    negotiated: _Negotiated | None = None
    notification: _Notification | None = None
    open: _Open | None = None


class _Raw(Struct):
    type: str
    neighbor: _Neighbor | None = None
    notification: str = ""


class _Capabilities(Struct, rename="kebab"):
    graceful_restart: bool | None = None


class _Side(Struct, rename="kebab"):
    address: str
    as_: int = msgspec.field(name="as")
    capabilities: _Capabilities = msgspec.field(default_factory=_Capabilities)


class _Shown(Struct):
    fsm: str  # not `state`: that says "down" for the first second of a session
    local: _Side
    peer: _Side
    families: list[str] = []


_EVENT: Final = msgspec.json.Decoder(_Raw)
_SHOWN: Final = msgspec.json.Decoder(list[_Shown])


def _afi(text: str) -> str:
    return text.partition(" ")[0]


def _families(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(_afi(name) for name in names if name.endswith(" unicast")))


def decode(line: bytes) -> Line:
    """Read one line of ExaBGP's. Raises BadLine and nothing else."""
    try:
        if line.startswith(b"{"):
            return _event(_EVENT.decode(line))
        if line.startswith(b"[{") or line == b"[]":
            return tuple(_shown(entry) for entry in _SHOWN.decode(line))
        text = line.decode("utf-8", "replace")
    except (msgspec.DecodeError, AddressError, RecursionError) as error:
        raise BadLine(f"{error}: {line[:200]!r}") from error
    if text in {"done", "error"}:
        return Answer(text == "done")
    return Text(text)


def _shown(entry: _Shown) -> PeerState:
    peer = entry.peer
    return PeerState(
        peer=canonical(peer.address),
        up=entry.fsm == "ESTABLISHED",
        local=entry.local.address,
        families=_families(entry.families),
        graceful_restart=bool(
            entry.local.capabilities.graceful_restart and peer.capabilities.graceful_restart
        ),
        asn=peer.as_,
    )


def _event(raw: _Raw) -> Event:
    n = raw.neighbor
    if n is None:
        return Shutdown() if raw.notification == "shutdown" else Ignored()
    peer = canonical(n.address.peer)
    match raw.type:
        case "state":
            return _state(n, peer)
        case "update" if n.message is not None and n.direction == "send":
            return _sent(n.message, peer)
        case "negotiated" if n.negotiated is not None:
            agreed = n.negotiated
            extended = any(hop.startswith("ipv4 unicast") for hop in agreed.nexthop)
            both = {
                "4-octet-as": agreed.asn4,
                "route-refresh": agreed.refresh != "absent",
                "enhanced-route-refresh": agreed.refresh == "enhanced",
                "extended-next-hop": extended,
            }
            names = tuple(name for name, has in both.items() if has)
            return Negotiated(peer, _families(agreed.families), agreed.hold_time, extended, names)
        case "open" if n.open is not None and n.direction == "receive":
            return Opened(peer, "64" in n.open.capabilities, n.open.asn)
        case "notification" if n.notification is not None:
            told, ours = n.notification, n.direction == "send"
            return Notified(peer, notification(told.code, told.subcode, ours=ours, text=told.message))
        case _:
            return Ignored()


def _state(n: _Neighbor, peer: str) -> Event:
    match n.state:
        case "up":
            return Up(peer, n.address.local)
        case "down":
            return Down(peer, ended(n.reason))
        case "connected":
            return Connected(peer)
        case _:
            return Ignored()


def _sent(message: _Message, peer: str) -> Event:
    if message.eor is not None:
        return SentEor(peer, message.eor.afi) if message.eor.safi == "unicast" else Ignored()
    if message.update is None:
        return Ignored()
    update = message.update
    hops = [hop for kind, by_hop in update.announce.items() if kind.endswith(" unicast") for hop in by_hop]
    if len(hops) > 1:  # one UPDATE has one next hop; anything else is not ours
        raise msgspec.DecodeError("several next hops in one UPDATE")
    a = update.attribute
    return Sent(
        peer=peer,
        announced=tuple(
            n.nlri for by_hop in update.announce.values() for nlris in by_hop.values() for n in nlris
        ),
        withdrawn=tuple(n.nlri for nlris in update.withdraw.values() for n in nlris),
        next_hop=canonical(hops[0]) if hops else "",
        communities=tuple(sorted(a.community)),
        large_communities=tuple(sorted(a.large_community)),
        local_preference=a.local_preference,
        med=a.med,
        as_path=tuple(asn for part in a.as_path.values() for asn in part.value),
        extended_communities=tuple(sorted(one.value for one in a.extended_community)),
    )
