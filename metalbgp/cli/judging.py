"""What manifests mean together, and together with what a cluster holds → Findings. Pure.

    judge(manifests, known) -> Judgement

In:  Manifests of files (none: the cluster alone is judged); Known, what the cluster holds (empty: not asked).
Out: what is wrong, in order of file and line; surprises apart, for --strict.
Elsewhere: each document by itself is manifests.py; the rules are config/compile.py's and allocate/'s, as in
     the controller. With a cluster only that is told which the files cause, touch or break.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.allocate.request import Request, request_of
from metalbgp.cli.findings import Finding, at, placed
from metalbgp.cli.judge import Judge
from metalbgp.cli.manifests import ASSUMED, Manifests
from metalbgp.config.compile import Compiled
from metalbgp.config.compile import compile as compile_objects
from metalbgp.config.documents import Document
from metalbgp.config.mistakes import near
from metalbgp.config.objects import AnyObject, BGPPeer, Objects, gather
from metalbgp.config.surprises import Around, Secret, of_service, surprises
from metalbgp.inventory.networks import occupied
from metalbgp.model.allocation import Allocation, Refusal
from metalbgp.model.configuration import Configuration
from metalbgp.model.reasons import (
    AddressNotInPool,
    AddressOccupied,
    BadRequest,
    NoAddress,
    NoDualStackPool,
    NoPoolFits,
    NoPools,
    NotInForce,
    PoolRestricted,
    Surprise,
    UnknownPool,
)
from metalbgp.model.services import Namespace, Node, Service
from metalbgp.model.virtualips import VirtualIP

LAST: Final = "9999-12-31T23:59:59Z"  # who is new is younger than whoever stands there


class Known(Struct, frozen=True):
    """What the cluster holds. `asked` False: nobody asked it."""

    asked: bool = False
    installation: str = ""
    namespace: str = ""  # of the kubeconfig's context
    objects: tuple[AnyObject, ...] = ()
    services: tuple[Service, ...] = ()  # of type LoadBalancer
    claims: tuple[VirtualIP, ...] = ()
    namespaces: Mapping[str, Namespace] = {}
    nodes: tuple[Node, ...] | None = None
    networks: Mapping[str, tuple[str, ...]] = {}  # by ServiceCIDR
    lb_class: str | None = None
    secrets: Mapping[str, Secret | None] | None = None


class Judgement(Struct, frozen=True):
    findings: tuple[Finding, ...]
    surprises: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    strict_notes: tuple[str, ...] = ()  # what could not be looked at for surprises


def judge(files: Manifests, known: Known) -> Judgement:
    alone = not files.count
    standing = compile_objects(gather(list(known.objects)), Configuration(known.installation))
    objects = gather(laid_over(known.objects, files))
    compiled = compile_objects(
        objects, Configuration(known.installation) if alone else standing.configuration
    )
    found = [
        *files.findings,
        *_frozen(files, known),
        *_invalid(files, compiled, frozenset() if alone else frozenset(standing.invalid)),
    ]
    one = _Services(files, known, objects, standing.configuration, compiled.configuration)
    found += one.standing() if alone else [*one.filed(), *one.broken()]
    return Judgement(
        findings=tuple(sorted(set(found), key=lambda one: one.place)),
        surprises=tuple(sorted(set(_surprises(files, known, objects, compiled)), key=lambda one: one.place)),
        notes=tuple(_notes(files, objects, one)),
        strict_notes=tuple(_unknown_nodes(known, objects)),
    )


def laid_over(known: Sequence[AnyObject], files: Manifests) -> list[AnyObject]:
    """What would stand there after an apply: who is there keeps its identity, who is new is younger."""
    found = {(type(one).__name__, one.name): one for one in known}
    for key, (one, _) in files.configuration.items():
        before = found.get(key)
        about = replace(
            one.metadata,
            uid=before.metadata.uid if before else "",
            creation_timestamp=before.metadata.creation_timestamp if before else LAST,
        )
        found[key] = replace(one, metadata=about)
    return list(found.values())


def _invalid(files: Manifests, compiled: Compiled, before: frozenset[object]) -> Iterator[Finding]:
    """The cluster's own troubles are not the files'; a fault of the shape is not told twice."""
    for wrong in compiled.invalid:
        one = files.document(wrong.kind, wrong.object)
        if one is None and wrong in before:
            continue
        if one is None or not files.told(wrong):
            yield placed(wrong, one)


def _frozen(files: Manifests, known: Known) -> Iterator[Finding]:
    """The CRD's one rule about an edit (self == oldSelf), which the API server judges with both at hand."""
    on = {one.name for one in known.objects if isinstance(one, BGPPeer) and one.spec.enable_graceful_restart}
    for name in sorted(on):
        one = files.document("BGPPeer", name)
        spec = one.body.get("spec") if one else None
        if one is not None and isinstance(spec, Mapping) and spec.get("enableGracefulRestart") is False:
            why = "cannot be changed once the peer is there (it is true)"
            yield at(one, "spec.enableGracefulRestart", why, "delete the BGPPeer, and create it anew")


def _surprises(files: Manifests, known: Known, objects: Objects, compiled: Compiled) -> Iterator[Finding]:
    now = compiled.configuration
    around = Around(
        nodes=known.nodes, occupied=tuple(occupied(known.nodes or (), known.networks)), secrets=known.secrets
    )
    broken = _broken(objects, now)
    nowhere = {(one.kind, one.object, one.field) for one in compiled.not_in_force}
    told_of: list[NotInForce | Surprise] = [*compiled.not_in_force]
    # A name that leads nowhere is why nothing is selected: once is enough.
    told_of += [
        one for one in surprises(objects, now, around) if (one.kind, one.object, one.field) not in nowhere
    ]
    for reason in told_of:
        one = files.document(reason.kind, reason.object)
        if any(f'"{name}" does not exist' in reason.why for name in broken):
            continue  # it does, and what is wrong with it is told where it stands
        if one is not None or not files.count:
            yield placed(reason, one)
    yield from files.surprises(known.installation, known.namespace)
    if not files.count:
        for service in known.services:
            for told in of_service(service, service.deprecated_annotations):
                yield placed(told, None)


def _broken(objects: Objects, now: Configuration) -> frozenset[str]:
    """Objects that are there and have no good version: nothing can be told of those who name them."""
    there = {*(one.name for one in objects.pools), *(one.name for one in objects.peers)}
    return frozenset(there - {one.name for one in now.pools} - {one.name for one in now.peers})


def _unknown_nodes(known: Known, objects: Objects) -> Iterator[str]:
    selecting = [one.spec.node_selectors for one in objects.peers]
    selecting += [one.spec.node_selectors for one in objects.bgp_advertisements]
    selecting += [one.spec.node_selectors for one in objects.l2_advertisements]
    if known.nodes is None and any(selecting):
        yield "whether nodeSelectors select any Node was not looked at" + (
            "" if known.asked else "; --cluster does"
        )


def _notes(files: Manifests, objects: Objects, services: "_Services") -> Iterator[str]:
    if files.services and not objects.pools:
        yield "no IPAddressPool is here, so no address was looked for; --cluster knows those that stand"
    yield from sorted(services.unsure)


# ------------------------------------------------------------------ Services


class _Services:
    """Who gets an address, who does not, and who would lose one; as the controller would answer."""

    def __init__(
        self, files: Manifests, known: Known, objects: Objects, before: Configuration, after: Configuration
    ) -> None:
        self._files, self._known, self._after = files, known, after
        self._standing = {one.key: one for one in known.services}
        self._pools = {pool.name for pool in objects.pools}
        self._broken_pools = self._pools - {pool.name for pool in after.pools}
        self._namespaces = {**known.namespaces, **files.namespaces}
        self.unsure: set[str] = set()
        cluster = known.claims, self._namespaces, known.lb_class, known.nodes or ()
        self._then = Judge(before, *cluster, networks=known.networks)
        self._now = Judge(after, *cluster, networks=known.networks)

    def filed(self) -> Iterator[Finding]:
        """Services of the files: who asks for an address comes first, as at a start of the controller."""
        mine = [
            (self._completed(service), one)
            for service, one in self._files.services.values()
            if service.type == "LoadBalancer"
        ]
        for service, one in sorted(mine, key=lambda pair: not request_of(pair[0]).addresses):
            if not self._ours(service):
                yield from self._of_others(service, one)
                continue
            request = request_of(service)
            why: NoAddress | None = request.wrong
            if why is None and self._pools:
                why = self._misspelt(service, request)
            if why is None and self._pools:
                answer = self._now.give(service)
                why = answer.reason if isinstance(answer, Refusal) else None
            if why is not None and not self._cannot_tell(service, why):
                yield self._refused(service, request, why, one)

    def standing(self) -> Iterator[Finding]:
        """Services of the cluster that have no address."""
        for service in self._known.services:
            answer = self._now.result(service) if self._now.ours(service) else None
            if isinstance(answer, Refusal):
                field = field_of(request_of(service), answer.reason)
                yield _of_cluster(service, field, answer.reason, answer.reason.explain())

    def broken(self) -> Iterator[Finding]:
        """Services of the cluster that what stands in the files would take an address from."""
        for service in self._known.services:
            if not self._now.ours(service) or service.key in self._files.services:
                continue
            before = self._then.result(service)
            had = before.addresses if isinstance(before, Allocation) else ()
            held = {vip.address for vip in self._then.claims(service.key)}
            for loss in self._now.losses(service):
                if loss.address in held and loss.address in had:
                    said = loss.explain().removeprefix(f"{service.key} ")
                    yield _of_cluster(service, "status.loadBalancer", loss.why, said)

    def _completed(self, service: Service) -> Service:
        """With what the cluster has given it, or would give it."""
        stands = self._standing.get(service.key)
        if stands is not None:
            return completed(service, stands)
        cidrs = [cidr for _, group in sorted(self._known.networks.items()) for cidr in group]
        there = tuple(dict.fromkeys("IPv6" if ":" in cidr else "IPv4" for cidr in cidrs))
        assumed = set(service.cluster_ips) & set(ASSUMED.values())
        if not there or not assumed or service.ip_families:
            return service
        wanted = there if len(service.cluster_ips) > 1 else there[:1]
        return replace(service, cluster_ips=tuple(ASSUMED[name] for name in wanted))

    def _ours(self, service: Service) -> bool:
        if self._known.asked:
            return self._now.ours(service)
        return service.load_balancer_class is None or _asks(service)  # whose class it is, nobody knows here

    def _of_others(self, service: Service, one: Document) -> Iterator[Finding]:
        if self._known.asked and _asks(service):
            here = self._known.lb_class
            mine = f'serves class "{here}"' if here else "serves Services without a class"
            why = (
                f'"{service.load_balancer_class or ""}" is not ours: the controller {mine}, so nobody reads '
            )
            why += "its annotations"
            yield at(one, "spec.loadBalancerClass", why, verdict="warn", reason="OtherClass")

    def _misspelt(self, service: Service, request: Request) -> UnknownPool | None:
        """Also when the pools themselves are wrong: their names are not."""
        if not request.pool or request.pool in self._pools:
            return None
        name = request.pool_field.removeprefix("annotation ")
        return UnknownPool(
            pool=request.pool, annotation=name, service=service.key, pools=tuple(sorted(self._pools))
        )

    def _cannot_tell(self, service: Service, why: NoAddress) -> bool:
        """A refusal that may stem from what the files do not say, or from a mistake that is told already."""
        if isinstance(why, BadRequest):
            return False
        if isinstance(why, UnknownPool):
            return why.pool in self._pools  # it is there, and what is wrong with it is told already
        if self._broken_pools and isinstance(why, AddressNotInPool | NoPoolFits | NoDualStackPool | NoPools):
            return True
        by_label = any(pool.allocation and pool.allocation.namespace_selectors for pool in self._after.pools)
        if (
            by_label
            and service.namespace not in self._namespaces
            and isinstance(why, PoolRestricted | NoPoolFits | NoDualStackPool)
        ):
            self.unsure.add(
                f"the labels of Namespace {service.namespace} are unknown, so its pools are not looked for; "
                "--cluster knows them"
            )
            return True
        return False

    def _refused(self, service: Service, request: Request, why: NoAddress, one: Document) -> Finding:
        message, fix = why.explain(), why.remedy()
        if isinstance(why, UnknownPool):
            message = f'pool "{why.pool}" does not exist{near(why.pool, sorted(self._pools))}'
            fix = f"name one of: {', '.join(sorted(self._pools))}"
        elif isinstance(why, BadRequest):
            message = f'"{why.value}": {why.why}'
        elif isinstance(why, AddressNotInPool | AddressOccupied) and not fix:
            fix = "ask for an address of a pool: metalbgp pools"
        return at(one, field_of(request, why), message, fix, reason=why.name)


def completed(service: Service, stands: Service | None) -> Service:
    """A Service of a file with what the cluster gave the one that stands."""
    if stands is None:
        return service
    return replace(
        service,
        uid=stands.uid,
        created=stands.created,
        cluster_ips=stands.cluster_ips,
        pool_annotation=stands.pool_annotation,
        ingress=stands.ingress,
    )


def _asks(service: Service) -> bool:
    return bool(
        service.requested_pool
        or service.requested_addresses
        or service.sharing_key
        or service.address_id
        or service.deprecated_annotations
    )


def field_of(request: Request, why: NoAddress) -> str:
    """The field of the Service that the refusal is about."""
    if isinstance(why, BadRequest):
        text = why.field.rpartition(" and ")[2]
    elif isinstance(why, UnknownPool) or not request.addresses_field:
        text = request.pool_field
    else:
        text = request.addresses_field
    return text.replace("annotation ", "metadata.annotations.") or "spec"


def _of_cluster(service: Service, field: str, why: NoAddress, message: str) -> Finding:
    return Finding(
        file="",
        line=0,
        verdict="bad",
        kind="Service",
        object=service.key,
        field=field,
        reason=why.name,
        message=message,
        remedy=why.remedy(),
    )
