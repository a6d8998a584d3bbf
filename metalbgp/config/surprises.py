"""What is legal and surely not what was meant: `metalbgp validate --strict`. Pure.

    surprises(objects, configuration, around) -> tuple[Surprise, ...]
    of_service(service, annotations) -> Iterator[Surprise]

In:  the objects, the Configuration that compile() made of them, and what the cluster says (None: not asked).
Out: each surprise with its field and what to do.
Elsewhere: what is wrong is compile.py, and that a name leads nowhere is its not_in_force; cli/ prints them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from msgspec import Struct

from metalbgp.config.communities import is_alias
from metalbgp.config.mistakes import near
from metalbgp.config.objects import BGPAdvertisement as RawBGP
from metalbgp.config.objects import L2Advertisement as RawL2
from metalbgp.config.objects import Objects
from metalbgp.config.services import ADDRESSES, DEPRECATED, POOL, PREFIX, SHARING
from metalbgp.model.addresses import Occupied
from metalbgp.model.configuration import BGPAdvertisement, Configuration, L2Advertisement, Pool
from metalbgp.model.names import FROM_POOL
from metalbgp.model.reasons import Surprise
from metalbgp.model.selectors import any_matches
from metalbgp.model.services import Node, Service

BASIC_AUTH = "kubernetes.io/basic-auth"
KNOWN = (*(PREFIX + name for name in (ADDRESSES, POOL, SHARING)), FROM_POOL)
MOST = 3  # owners that a message names


class Secret(Struct, frozen=True):
    """What may be said of one: never its words."""

    type: str
    keys: tuple[str, ...] = ()


class Around(Struct, frozen=True):
    """What the cluster says; None where nobody asked, or was not allowed to."""

    nodes: tuple[Node, ...] | None = None
    occupied: tuple[Occupied, ...] = ()
    secrets: Mapping[str, Secret | None] | None = None  # by name, of our namespace; None: there is none


NOBODY_ASKED = Around()


def surprises(objects: Objects, now: Configuration, around: Around = NOBODY_ASKED) -> tuple[Surprise, ...]:
    found = [
        *_unselected_pools(objects, now),
        *_selecting_nothing(objects, now, around.nodes),
        *_unselected_peers(now, around.nodes),
        *_overlaps(now, around.occupied),
        *_unused_aliases(objects),
        *_peers(objects, around.secrets),
        *_equal_pools(now),
    ]
    return tuple(sorted(found, key=lambda one: (one.kind, one.object, one.field, one.why)))


# ------------------------------------------------------------------ pools and advertisements


def _unselected_pools(objects: Objects, now: Configuration) -> Iterator[Surprise]:
    there = {one.name for one in objects.bgp_advertisements}, {one.name for one in objects.l2_advertisements}
    good = {one.name for one in now.bgp_advertisements}, {one.name for one in now.l2_advertisements}
    if there != good:
        return  # an advertisement that is wrong selects nothing yet, and that is said where it stands
    selected = {name for one in now.bgp_advertisements for name in one.pools}
    selected |= {name for one in now.l2_advertisements for name in one.pools}
    for pool in now.pools:
        if pool.name not in selected:
            yield Surprise(
                kind="IPAddressPool",
                object=pool.name,
                field="metadata.name",
                why="no advertisement selects this pool, so nobody can reach its addresses",
                fix=f"apply a BGPAdvertisement or an L2Advertisement with ipAddressPools: [{pool.name}]",
            )


def _selecting_nothing(
    objects: Objects, now: Configuration, nodes: tuple[Node, ...] | None
) -> Iterator[Surprise]:
    values: dict[tuple[str, str], BGPAdvertisement | L2Advertisement] = {}
    values |= {("BGPAdvertisement", one.name): one for one in now.bgp_advertisements}
    values |= {("L2Advertisement", one.name): one for one in now.l2_advertisements}
    peers = {peer.name for peer in objects.peers}
    # A pool that is wrong itself selects nothing yet, and that is said where it stands.
    broken = {pool.name for pool in objects.pools} - {pool.name for pool in now.pools}
    raws: tuple[RawBGP | RawL2, ...] = (*objects.bgp_advertisements, *objects.l2_advertisements)
    for raw in raws:
        kind = "BGPAdvertisement" if isinstance(raw, RawBGP) else "L2Advertisement"
        value = values.get((kind, raw.name))
        if value is None:
            continue

        def told(field: str, why: str, fix: str, kind: str = kind, name: str = raw.name) -> Surprise:
            return Surprise(kind=kind, object=name, field=field, why=why, fix=fix)

        if not value.pools and not broken:
            names, known = raw.spec.ip_address_pools, ", ".join(pool.name for pool in now.pools) or "none"
            field = "spec.ipAddressPools" if names else "spec.ipAddressPoolSelectors"
            if not now.pools:
                field = "spec"
            fix = "name one of them, or name none and select all"
            yield told(field, f"selects no IPAddressPool; there are: {known}", fix)
        if isinstance(value, BGPAdvertisement):
            if value.peers and not peers & set(value.peers):
                yield told(
                    "spec.peers", "no BGPPeer of these names exists, so nobody hears of it", "name one"
                )
            elif not peers:
                yield told("spec", "there is no BGPPeer, so nobody hears of it", "apply a BGPPeer")
        if (
            nodes
            and value.node_selectors
            and not any(any_matches(value.node_selectors, node.labels) for node in nodes)
        ):
            yield told("spec.nodeSelectors", "no Node has these labels", "kubectl get nodes --show-labels")


def _equal_pools(now: Configuration) -> Iterator[Surprise]:
    """MetalLB chooses between them at random, we by name: hardly what a priority is written for."""
    pinned = [
        pool for pool in now.pools if pool.auto_assign and pool.allocation and pool.allocation.restricts
    ]
    for first, second in combinations(sorted(pinned, key=lambda pool: pool.name), 2):
        where = _meet(first, second)
        if where:
            why = (
                f'pool "{first.name}" has the same priority for {where}: the name decides, in MetalLB chance'
            )
            yield Surprise(
                kind="IPAddressPool",
                object=second.name,
                field="spec.serviceAllocation.priority",
                why=why,
                fix="give them different priorities; 1 is tried first",
            )


def _meet(first: Pool, second: Pool) -> str:
    """The Services that both are pinned to; "" when none are, or a priority decides."""
    one, other = first.allocation, second.allocation
    if one is None or other is None or one.priority != other.priority or not first.families & second.families:
        return ""
    if one.service_selectors != other.service_selectors:
        return ""
    shared = sorted(set(one.namespaces) & set(other.namespaces))
    if shared:
        return f"namespace {', '.join(shared)}"
    selectors = [selector for selector in one.namespace_selectors if selector in other.namespace_selectors]
    if selectors:
        return f"namespaces with {selectors[0]}"
    everywhere = not (
        one.namespaces or other.namespaces or one.namespace_selectors or other.namespace_selectors
    )
    return f"Services with {one.service_selectors[0]}" if everywhere else ""


# ------------------------------------------------------------------ the cluster's own


def _unselected_peers(now: Configuration, nodes: tuple[Node, ...] | None) -> Iterator[Surprise]:
    for peer in now.peers if nodes else ():
        if not any(any_matches(peer.node_selectors, node.labels) for node in nodes or ()):
            yield Surprise(
                kind="BGPPeer",
                object=peer.name,
                field="spec.nodeSelectors",
                why="no Node has these labels, so the session runs nowhere",
                fix="kubectl get nodes --show-labels",
            )


def _overlaps(now: Configuration, occupied: Sequence[Occupied]) -> Iterator[Surprise]:
    for pool in now.pools:
        if now.policy_of(pool.name).allow_cluster_addresses:
            continue
        for at, block in enumerate(pool.ranges):
            owners = [one.owner for one in occupied if one.range.overlaps(block)]
            if owners:
                more = f" and {len(owners) - MOST} more" if len(owners) > MOST else ""
                yield Surprise(
                    kind="IPAddressPool",
                    object=pool.name,
                    field=f"spec.addresses[{at}]",
                    why=f"overlaps with {', '.join(owners[:MOST])}{more}; those addresses are never given",
                    fix="take them out of the pool, or write clusterAddresses: Allow in a PoolPolicy",
                )


# ------------------------------------------------------------------ peers and communities


def _unused_aliases(objects: Objects) -> Iterator[Surprise]:
    used = {
        text for one in objects.bgp_advertisements for text in one.spec.communities or () if is_alias(text)
    }
    for raw in objects.communities:
        for at, alias in enumerate(raw.spec.communities or ()):
            if alias.name and alias.name not in used:
                yield Surprise(
                    kind="Community",
                    object=raw.name,
                    field=f"spec.communities[{at}].name",
                    why=f'no BGPAdvertisement names "{alias.name}"{near(alias.name, used)}',
                    fix="name it in spec.communities of a BGPAdvertisement, or remove it",
                )


def _peers(objects: Objects, secrets: Mapping[str, Secret | None] | None) -> Iterator[Surprise]:
    for raw in objects.peers:

        def told(field: str, why: str, fix: str, name: str = raw.name) -> Surprise:
            return Surprise(kind="BGPPeer", object=name, field=field, why=why, fix=fix)

        name = raw.spec.password_secret.name if raw.spec.password_secret else ""
        make = (
            f"kubectl create secret generic {name or raw.name} --type={BASIC_AUTH} --from-literal=password=…"
        )
        if (raw.spec.hold_time, raw.spec.keepalive_time) in (("0s", "0s"), ("0", "0")):
            why = "0s turns the detection of dead routers off (MetalLB stores it for v1beta1 objects)"
            yield told("spec.holdTime", why, "leave both times out")
        if raw.spec.password:
            why = "the password stands in clear, for everybody who may read BGPPeers or this file"
            yield told("spec.password", why, f"{make}, then passwordSecret: {{name: {raw.name}}}")
        if not name or secrets is None or name not in secrets:
            continue
        found = secrets[name]
        if found is None:
            yield told("spec.passwordSecret.name", f'Secret "{name}" does not exist', make)
        elif found.type != BASIC_AUTH:
            why = f'Secret "{name}" has type {found.type or "Opaque"} and not {BASIC_AUTH}'
            yield told("spec.passwordSecret.name", why, f"delete it, then {make}")
        elif "password" not in found.keys:
            yield told("spec.passwordSecret.name", f'Secret "{name}" has no key "password"', make)


# ------------------------------------------------------------------ Services


def of_service(service: Service, annotations: Iterable[str]) -> Iterator[Surprise]:
    """Annotations that are outdated, misspelt, or on a Service that nobody serves."""

    def told(field: str, why: str, fix: str) -> Surprise:
        return Surprise(
            kind="Service", object=service.key, field=f"metadata.annotations.{field}", why=why, fix=fix
        )

    for name, why in service.misread:
        yield told(name, why, "")
    for name in sorted(annotations):
        if name.startswith(DEPRECATED):
            new = PREFIX + name.removeprefix(DEPRECATED)
            yield told(name, "the prefix metallb.universe.tf is deprecated", f"write {new}")
        elif name.startswith(PREFIX) and name not in KNOWN:
            yield told(name, f"nobody reads this annotation{near(name, KNOWN)}", "correct or remove it")
        elif name in KNOWN and name != FROM_POOL and service.type != "LoadBalancer":
            why = f"does nothing: the Service has type {service.type}"
            yield told(name, why, "write type: LoadBalancer, or remove the annotation")
