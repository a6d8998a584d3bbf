"""All configuration objects together → one Configuration, the last good version of each. Pure.

    compile(objects, previous, ignore_exclude_label=False) -> Compiled

In:  objects in any order; the Configuration in force (after a restart read back from SpeakerConfiguration;
     Configuration(installation=...) when there is none).
Out: Compiled. `configuration` carries previous' installation and sequence: whoever writes it counts up if it
     differs from previous. Tens of objects take a few milliseconds.
Elsewhere: the rules of one kind are in its file; who stays in a conflict is settle.py.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.config import advertisements, aliases, bfd, extensions, peers, policies, pools, reservations
from metalbgp.config.communities import is_alias
from metalbgp.config.mistakes import Findings
from metalbgp.config.objects import BGPAdvertisement as RawBGP
from metalbgp.config.objects import BGPPeer, Meta, Objects
from metalbgp.config.settle import Candidate, settle
from metalbgp.model.configuration import BFDProfile, BGPAdvertisement, Configuration, Peer, Pool, Source
from metalbgp.model.reasons import Invalid, NotInForce


class Compiled(Struct, frozen=True):
    configuration: Configuration
    invalid: tuple[Invalid, ...] = ()  # each names kind and object; the object keeps its last good version
    not_in_force: tuple[NotInForce, ...] = ()  # accepted, and it does nothing (yet)


def compile(objects: Objects, previous: Configuration, *, ignore_exclude_label: bool = False) -> Compiled:
    profiles = _candidates("BFDProfile", objects.bfd_profiles, bfd.read, previous.bfd_profiles)
    profiles_now = settle(profiles)
    names = [profile.name for profile in profiles_now]

    pools_read = _candidates("IPAddressPool", objects.pools, pools.read, previous.pools)
    pools_now = settle(pools_read, pools.overlap, lambda pool: pool.ranges)

    def read_peer(raw: BGPPeer, findings: Findings) -> Peer:
        return peers.read(raw, findings, names)

    peers_read = _candidates("BGPPeer", objects.peers, read_peer, previous.peers)
    peers_now = settle(
        peers_read,
        peers.clash,
        lambda peer: (peer.key, peer.node_selectors),
        lambda peer: (peer.key,),
    )

    known = aliases.read(objects.communities)
    read_bgp = _bgp_reader(known, pools_now, previous)
    bgp = _candidates("BGPAdvertisement", objects.bgp_advertisements, read_bgp, previous.bgp_advertisements)
    bgp_now = settle(bgp, advertisements.disagree(pools_now), advertisements.essence)

    l2 = _candidates(
        "L2Advertisement",
        objects.l2_advertisements,
        lambda raw, findings: advertisements.read_l2(raw, findings, pools_now),
        previous.l2_advertisements,
    )
    policies_read = _candidates("PoolPolicy", objects.policies, policies.read, previous.policies)
    reserved = _candidates(
        "AddressReservation", objects.reservations, reservations.read, previous.reservations
    )
    configuration = replace(
        previous,
        pools=pools_now,
        peers=peers_now,
        bgp_advertisements=bgp_now,
        l2_advertisements=settle(l2),
        bfd_profiles=_with_those_in_use(profiles_now, peers_now, previous),
        policies=settle(
            policies_read,
            policies.clash,
            lambda policy: frozenset(policy.pools),
            lambda policy: policy.pools,
        ),
        reservations=settle(
            reserved, reservations.clash, lambda one: frozenset(one.addresses), lambda one: one.addresses
        ),
        ignore_exclude_label=ignore_exclude_label,
    )
    wrong = [*known.invalid]
    for group in (profiles, pools_read, peers_read, bgp, l2, policies_read, reserved):
        wrong += [one for candidate in group for one in candidate.findings.found]
    return Compiled(
        configuration=configuration,
        invalid=tuple(sorted(set(wrong), key=lambda one: (one.kind, one.object, one.field, one.why))),
        not_in_force=tuple(
            sorted(
                _not_in_force(objects, configuration, peers_read, profiles),
                key=lambda one: (one.kind, one.object, one.field, one.why),
            )
        ),
    )


# ------------------------------------------------------------------ objects and what they were


class _Raw(Protocol):
    @property
    def metadata(self) -> Meta: ...
    @property
    def unreadable(self) -> str: ...
    @property
    def name(self) -> str: ...


class _Value(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def source(self) -> Source: ...


R = TypeVar("R", bound=_Raw)
V = TypeVar("V", bound=_Value)


def _identity(source: Source, name: str) -> str:
    """The uid; documents of a file have none, and are then the object of that name."""
    return source.uid or f"name {name}"


def _candidates(
    kind: str, raws: Iterable[R], read: Callable[[R, Findings], V], previous: Iterable[V]
) -> list[Candidate[V]]:
    before = {_identity(value.source, value.name): value for value in previous}
    found: list[Candidate[V]] = []
    for raw in raws:
        findings = Findings(kind, raw.name)
        source = raw.metadata.source
        now = None
        if raw.unreadable:
            findings.wrong("spec", raw.unreadable)
        else:
            now = read(raw, findings)
        found.append(Candidate(raw.name, source, findings, now, before.get(_identity(source, raw.name))))
    return found


def _with_those_in_use(
    profiles: Sequence[BFDProfile], peers_now: Iterable[Peer], previous: Configuration
) -> tuple[BFDProfile, ...]:
    """A profile that is gone stays for peers whose last good version names it: without it their BFD sessions
    would end, and routers that take AdminDown for a failure would forget their routes."""
    missing = {peer.bfd_profile for peer in peers_now} - {one.name for one in profiles}
    still = (one for one in previous.bfd_profiles if one.name in missing)
    return tuple(sorted((*profiles, *still), key=lambda one: one.name))


def _bgp_reader(
    known: aliases.Aliases, pools_now: Sequence[Pool], previous: Configuration
) -> Callable[[RawBGP, Findings], BGPAdvertisement]:
    before = {_identity(one.source, one.name): one for one in previous.bgp_advertisements}

    def read(raw: RawBGP, findings: Findings) -> BGPAdvertisement:
        value = advertisements.read_bgp(raw, findings, pools_now, known.values)
        old = before.get(_identity(raw.metadata.source, raw.name))
        named = {text for text in raw.spec.communities or () if is_alias(text)}
        if old is not None and old.source == value.source and named & known.contested:
            # Two Communities define an alias it names: what is in force stays until they agree.
            return replace(value, communities=old.communities, large_communities=old.large_communities)
        return value

    return read


def _not_in_force(
    objects: Objects,
    now: Configuration,
    peers_read: Sequence[Candidate[Peer]],
    profiles: Sequence[Candidate[BFDProfile]],
) -> Iterator[NotInForce]:
    for profile in profiles:
        if profile.now is not None:
            for field, why in bfd.not_in_force(profile.now):
                yield NotInForce(kind="BFDProfile", object=profile.name, field=field, why=why)
    for raw, peer in zip(objects.peers, peers_read, strict=True):
        if peer.now is not None and not peer.findings.found:
            for field, why in peers.not_in_force(peer.now, raw.spec):
                yield NotInForce(kind="BGPPeer", object=peer.name, field=field, why=why)
    known = {
        "BGPPeer": extensions.OF_PEERS,
        "BGPAdvertisement": extensions.OF_ADVERTISEMENTS,
        "L2Advertisement": extensions.OF_LAYER2,
    }
    for one in (*objects.peers, *objects.bgp_advertisements, *objects.l2_advertisements):
        kind = type(one).__name__
        for field, why in extensions.unknown(one.metadata.annotations, known[kind]):
            yield NotInForce(kind=kind, object=one.name, field=field, why=why)
    names = {pool.name for pool in now.pools}, {peer.name for peer in now.peers}
    for kind, found in (
        ("BGPAdvertisement", objects.bgp_advertisements),
        ("L2Advertisement", objects.l2_advertisements),
    ):
        for advertisement in found:
            for field, why in advertisements.selects_nothing(advertisement, *names):
                yield NotInForce(kind=kind, object=advertisement.name, field=field, why=why)
    in_l2 = {name for one in now.l2_advertisements for name in one.pools}
    for policy in now.policies:
        for field, why in policies.not_in_force(policy, now.pools, in_l2):
            yield NotInForce(kind="PoolPolicy", object=policy.name, field=field, why=why)
    for reservation in now.reservations:
        for field, why in reservations.not_in_force(reservation, now.pools):
            yield NotInForce(kind="AddressReservation", object=reservation.name, field=field, why=why)
