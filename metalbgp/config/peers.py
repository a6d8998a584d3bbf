"""BGPPeer (v1beta2, and v1beta1 from files) → Peer, or what is wrong with it (metallb.md 1.2).

In:  the object, the names of the BFDProfiles in force. Out: the value; it counts only if nothing was noted.
     clash(): why two peers cannot both run on one node. not_in_force(): accepted, and not implemented yet.
The password itself never enters a value: the controller copies it to the speakers' Secret.
"""

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, ip_address
from typing import Final

from metalbgp.config import durations, extensions, selectors
from metalbgp.config.mistakes import Dispute, Findings, Mistake, near
from metalbgp.config.objects import BGPPeer, BGPPeerSpec
from metalbgp.model.addresses import AddressError, canonical, family, is_interface
from metalbgp.model.configuration import Peer

AS_MAX: Final = 2**32 - 1
PORT: Final = 179
LONGEST_HOLD: Final = 65535  # seconds; 16 bits in OPEN, RFC 4271 section 4.2
LONGEST_PASSWORD: Final = 80  # bytes; Linux' TCP_MD5SIG_MAXKEYLEN


def read(raw: BGPPeer, findings: Findings, profiles: Collection[str]) -> Peer:
    spec = raw.spec
    hold, keepalive = _timers(spec, findings)
    _numbers(spec, findings)
    _exclusive(spec, findings)
    if spec.bfd_profile and spec.bfd_profile not in profiles:
        why = f'BFDProfile "{spec.bfd_profile}" does not exist{near(spec.bfd_profile, profiles)}'
        findings.wrong("spec.bfdProfile", why, "create it, or take the name out", awaits=True)
    text, _, zone = spec.peer_address.partition("%")
    address = _address(findings, "spec.peerAddress", text)
    _link(spec, address, zone, findings)
    source = _address(findings, "spec.sourceAddress", spec.source_address)
    withdrawals, window = extensions.withdraw_limit(raw.metadata.annotations, findings)
    if address and source and family(address) != family(source):
        findings.wrong("spec.sourceAddress", f"{source} and peerAddress {address} are of two families")
    return Peer(
        name=raw.name,
        my_asn=spec.my_asn,
        address=address,
        interface=spec.interface or zone,
        peer_asn=spec.peer_asn or 0,
        dynamic_asn=spec.dynamic_asn,
        local_asn=spec.local_asn or 0,
        port=spec.peer_port or PORT,  # v1beta1 allows 0, which never was a port
        source_address=source,
        hold_time=hold,
        keepalive_time=keepalive,
        connect_time=_connect_time(spec, findings),
        router_id=findings.read("spec.routerID", _router_id, spec.router_id) or "",
        node_selectors=selectors.read_all(findings, "spec.nodeSelectors", spec.node_selectors),
        has_password=bool(spec.password or _secret(spec)),
        bfd_profile=spec.bfd_profile,
        graceful_restart=spec.enable_graceful_restart,
        ebgp_multihop=spec.ebgp_multi_hop,
        vrf=spec.vrf,
        dual_stack=spec.dual_stack_address_family,
        ttl_security=_ttl_security(raw, findings),
        listen=extensions.listen_port(raw.metadata.annotations, findings),
        max_routes=extensions.max_routes(raw.metadata.annotations, findings),
        withdraw_limit=withdrawals,
        withdraw_window=window,
        source=raw.metadata.source,
    )


def _ttl_security(raw: BGPPeer, findings: Findings) -> bool:
    wanted = extensions.ttl_security(raw.metadata.annotations, findings)
    if wanted and raw.spec.ebgp_multi_hop:
        why = "a peer more than one hop away cannot be known by its TTL (RFC 5082)"
        findings.wrong("spec.ebgpMultiHop", why, "remove it, or the annotation metalbgp.io/ttl-security")
    return wanted


def _numbers(spec: BGPPeerSpec, findings: Findings) -> None:
    findings.number("spec.myASN", spec.my_asn, 1, AS_MAX)
    findings.number("spec.peerASN", spec.peer_asn, 0, AS_MAX)
    findings.number("spec.localASN", spec.local_asn, 1, AS_MAX)
    findings.number("spec.peerPort", spec.peer_port, 0, 16384)
    if len(spec.password.encode()) > LONGEST_PASSWORD:
        findings.wrong(
            "spec.password", f"is longer than {LONGEST_PASSWORD} bytes, which TCP MD5 cannot carry"
        )


def _exclusive(spec: BGPPeerSpec, findings: Findings) -> None:
    """Fields of which one, or at most one, may be given."""
    if spec.dynamic_asn not in ("", "internal", "external"):
        findings.wrong("spec.dynamicASN", f'"{spec.dynamic_asn}" is neither internal nor external')
    if bool(spec.peer_asn) == bool(spec.dynamic_asn):
        both = "both peerASN and dynamicASN are given" if spec.peer_asn else "is missing"
        findings.wrong("spec.peerASN", both, "give exactly one of peerASN and dynamicASN")
    if bool(spec.peer_address) == bool(spec.interface):
        both = "both peerAddress and interface are given" if spec.interface else "is missing"
        findings.wrong("spec.peerAddress", both, "give exactly one of peerAddress and interface")
    if spec.password and _secret(spec):
        why = "both password and passwordSecret are given"
        findings.wrong("spec.passwordSecret", why, "keep passwordSecret and remove password")
    internal = spec.dynamic_asn == "internal" or (spec.peer_asn and spec.peer_asn == spec.my_asn)
    if spec.ebgp_multi_hop and internal:
        findings.wrong("spec.ebgpMultiHop", "the peer is of our own AS, so this is no eBGP", "remove it")


def _link(spec: BGPPeerSpec, address: str, zone: str, findings: Findings) -> None:
    """A link-local address means nothing without its link, as `ip` and the kernel write it: fe80::1%eth0."""
    local = bool(address) and ip_address(address).is_link_local and family(address) == 6
    if local and not zone:
        why = f"{address} is link-local, and its link is not said"
        findings.wrong("spec.peerAddress", why, f"write {address}%eth0, or spec.interface alone")
    if zone and not local:
        findings.wrong("spec.peerAddress", f"{spec.peer_address}: only a link-local address has a link")
    name, field = (zone, "spec.peerAddress") if zone else (spec.interface, "spec.interface")
    if name and not is_interface(name):
        findings.wrong(field, f'"{name}" is not the name of an interface')
    if spec.vrf and (name or local):
        findings.wrong(
            "spec.vrf", "a session bound to its link cannot be bound to a VRF", f"remove it or {field}"
        )
    if spec.vrf and not is_interface(spec.vrf):
        findings.wrong("spec.vrf", f'"{spec.vrf}" is not the name of a VRF device')


def _secret(spec: BGPPeerSpec) -> str:
    return spec.password_secret.name if spec.password_secret else ""


def _address(findings: Findings, field: str, text: str) -> str:
    def checked(text: str) -> str:
        try:
            return canonical(text)
        except AddressError as error:
            raise Mistake(str(error), "write an IP address; names are not resolved") from error

    return (findings.read(field, checked, text) or "") if text else ""


def _router_id(text: str) -> str:
    if not text:
        return ""
    try:
        found = IPv4Address(text)
    except ValueError as error:  # MetalLB takes IPv6 here and panics later (metallb.md 1.2)
        raise Mistake(f'"{text}" is not written like an IPv4 address', "a router ID has 32 bits") from error
    if not int(found):  # RFC 6286 section 2.1: routers refuse an OPEN that carries it
        raise Mistake("a router ID is not 0", "leave it out: it is then made from the node's address")
    return str(found)


def _timers(spec: BGPPeerSpec, findings: Findings) -> tuple[int | None, int | None]:
    """holdTime and keepaliveTime in seconds; what is not given follows from the other."""
    hold = _duration(findings, "spec.holdTime", spec.hold_time)
    keepalive = _duration(findings, "spec.keepaliveTime", spec.keepalive_time)
    if hold is None and keepalive is None:
        return None, None
    if hold is None:
        hold = 3 * (keepalive or 0)
    elif keepalive is None:
        keepalive = hold // 3
    elif keepalive > hold:
        why = f"{spec.keepalive_time} is longer than holdTime {spec.hold_time}"
        findings.wrong("spec.keepaliveTime", why, "leave it out: a third of holdTime is right")
    held = durations.seconds(hold)
    if held < 0 or held in (1, 2) or held > LONGEST_HOLD:
        field = "spec.keepaliveTime" if spec.hold_time is None else "spec.holdTime"
        why = f"a hold time of {held} s is not 0 and not from 3 to {LONGEST_HOLD} s"
        findings.wrong(field, why, "write 3s or more, or 0s for sessions without timers")
    return held, durations.seconds(keepalive or 0)


def _duration(findings: Findings, field: str, text: str | None) -> int | None:
    return None if text is None else findings.read(field, durations.nanoseconds, text)


def _connect_time(spec: BGPPeerSpec, findings: Findings) -> int | None:
    nanos = _duration(findings, "spec.connectTime", spec.connect_time)
    if nanos is not None and not (
        durations.SECOND <= nanos <= LONGEST_HOLD * durations.SECOND and nanos % durations.SECOND == 0
    ):
        findings.wrong(
            "spec.connectTime", f"{spec.connect_time} is not a whole number from 1 to 65535 seconds"
        )
    return None if nanos is None else durations.seconds(nanos)


def clash(loser: Peer, winner: Peer) -> Dispute | None:
    """ExaBGP knows a neighbour by its address alone, whatever its port, link or VRF."""
    if loser.key != winner.key:
        return None
    if not selectors.may_meet(loser.node_selectors, winner.node_selectors):
        return None
    field, what = ("spec.interface", "link") if loser.unnumbered else ("spec.peerAddress", "address")
    name = loser.interface if loser.unnumbered else loser.address
    why = f"{name} is the {what} of BGPPeer {winner.name} too, and one node may have to run both"
    return Dispute(field, why, "give them nodeSelectors that no node can satisfy both")


def not_in_force(peer: Peer, raw: BGPPeerSpec) -> Iterator[tuple[str, str]]:
    """(field, why) for what is accepted and does nothing."""
    if raw.keepalive_time is not None and (peer.keepalive_time or 0) > (peer.hold_time or 0) // 3:
        yield "spec.keepaliveTime", "keepalives are sent every third of the hold time at the latest"
    if raw.disable_mp:
        yield "spec.disableMP", "deprecated; it does nothing in MetalLB either"
