"""Which sessions this node shall run, and which it refuses with a reason. Pure.

In:  the Configuration, the Node, passwords that the controller resolved (by peer name, base64), what is shut.
Out: Neighbors for the parent, Refusals for the status; the other peers go on.
Elsewhere: running them is bgp/; which routes they carry is select/.
"""

import zlib
from collections.abc import Mapping

from msgspec import Struct

from metalbgp.bgp.values import BFD, FAMILIES, BadNeighbor, Neighbor, check
from metalbgp.model.addresses import family, from_int
from metalbgp.model.configuration import BFDProfile, Configuration, Peer
from metalbgp.model.orders import Order
from metalbgp.model.reasons import PasswordMissing, PeerAddressTaken, Reason, UnusablePeer
from metalbgp.model.selectors import any_matches
from metalbgp.model.services import Node
from metalbgp.select.orders import shut_by

DEFAULT_HOLD_TIME = 90  # seconds, RFC 4271 section 10
RESTART_TIME = 120  # seconds, FRR's default restart time, so that both ends agree when a user says nothing


class RefusedPeer(Struct, frozen=True):
    """A BGPPeer that selects this node and cannot run on it."""

    peer: Peer
    why: Reason


def neighbors(
    configuration: Configuration,
    node: Node,
    passwords: Mapping[str, str],
    shuts: Mapping[str, Order] = {},  # by peer
) -> tuple[tuple[Neighbor, ...], tuple[RefusedPeer, ...]]:
    """A peer that is shut keeps its address: its twin must not run in its place."""
    wanted: dict[str, Neighbor] = {}
    profiles = {profile.name: profile for profile in configuration.bfd_profiles}
    refused: list[RefusedPeer] = []
    for peer in configuration.peers:
        if not any_matches(peer.node_selectors, node.labels):
            continue
        made = _neighbor(peer, node, passwords, profiles.get(peer.bfd_profile))
        if isinstance(made, Reason):
            refused.append(RefusedPeer(peer, made))
        elif made.key in wanted:
            why = PeerAddressTaken(peer=wanted[made.key].name, address=made.key)
            refused.append(RefusedPeer(peer, why))
        else:
            wanted[made.key] = made
    by_name = {peer.name: peer for peer in configuration.peers}
    shut = {key for key, one in wanted.items() if one.name in shuts}
    refused += [
        RefusedPeer(by_name[wanted[key].name], shut_by(shuts[wanted[key].name])) for key in sorted(shut)
    ]
    return tuple(wanted[key] for key in sorted(wanted.keys() - shut)), tuple(refused)


def _neighbor(
    peer: Peer, node: Node, passwords: Mapping[str, str], profile: BFDProfile | None
) -> Neighbor | Reason:
    if peer.has_password and peer.name not in passwords:
        return PasswordMissing()
    six = peer.unnumbered or family(peer.address) == 6
    both = peer.dual_stack or peer.unnumbered
    # What only the node can know (devices, the router's address and AS, spec.sourceAddress) is bgp/seek.py
    # and knock.py: a Node lists its InternalIPs, and those of its other links nowhere.
    try:
        return check(
            Neighbor(
                address=peer.address,
                name=peer.name,
                local_as=peer.local_asn or peer.my_asn,
                peer_as=0 if peer.dynamic_asn == "external" else peer.peer_asn or peer.my_asn,
                router_id=peer.router_id or router_id(node),
                local_address=peer.source_address,
                port=peer.port,
                hold_time=DEFAULT_HOLD_TIME if peer.hold_time is None else peer.hold_time,
                keepalive=peer.keepalive_time or 0,
                connect_retry=peer.connect_time or 0,
                families=FAMILIES if both else ("ipv6",) if six else ("ipv4",),
                password_base64=passwords.get(peer.name) if peer.has_password else None,
                graceful_restart=RESTART_TIME if peer.graceful_restart else 0,
                multihop=peer.ebgp_multihop,
                ttl_security=peer.ttl_security,
                listen=peer.listen,
                interface=peer.vrf or peer.interface,
                vrf=bool(peer.vrf),
                unnumbered=peer.unnumbered,
                external=peer.dynamic_asn == "external",
                extended_next_hop=both and six,
                bfd=None if profile is None else _bfd(profile),
            )
        )
    except BadNeighbor as error:
        return UnusablePeer(why=str(error))


def _bfd(profile: BFDProfile) -> BFD:
    """What the profile leaves open is as in FRR. Echo mode is not here: config/ says so to its author."""
    said = {
        "receive": profile.receive_interval,
        "transmit": profile.transmit_interval,
        "multiplier": profile.detect_multiplier,
        "minimum_ttl": profile.minimum_ttl,
    }
    known = {field: value for field, value in said.items() if value is not None}
    return BFD(passive=profile.passive_mode, **known)


def router_id(node: Node) -> str:
    """The node's first IPv4 address; without one, a number made from its name (RFC 6286: any unique one)."""
    ipv4 = next((address for address in node.addresses if family(address) == 4), None)
    return ipv4 or from_int(4, zlib.crc32(node.name.encode()) | 1)
