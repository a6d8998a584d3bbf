"""Documents of files (and what a cluster holds) → what is wrong with them, each on its line.

In:  Documents; objects, Nodes and networks of a cluster, where one is asked; whether surprises count.
Out: Findings, by file and line. The judging itself is config/compile.py, as at admission and on reading.
Elsewhere: who reads files and shows the screen is validate.py.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from metalbgp.allocate.request import request_of
from metalbgp.cluster import decode
from metalbgp.config import fields, objects
from metalbgp.config.compile import compile as compile_objects
from metalbgp.config.documents import Document
from metalbgp.config.objects import AnyObject
from metalbgp.config.services import DEPRECATED
from metalbgp.config.surprises import surprises
from metalbgp.model.addresses import Occupied
from metalbgp.model.configuration import Configuration
from metalbgp.model.reasons import Invalid, NoClusterIP, NotInForce, Surprise
from metalbgp.model.services import Node, Service

GROUPS: Final = ("metallb.io", "metalbgp.io")
TYPE: Final = re.compile(r"(.+) - at `\$\.(.+)`")
OWN: Final = frozenset(("PoolPolicy", "AddressReservation"))
LAST: Final = "9999-12-31T23:59:59Z"  # younger than whatever stands there
BOTH: Final = ["10.0.0.1", "fd00::1"]  # stand for cluster IPs that the API server will give


class Finding(Struct, frozen=True):
    kind: str
    object: str
    field: str
    why: str
    fix: str = ""
    file: str = ""
    line: int = 0
    verdict: str = "bad"  # bad: it is refused or keeps its last good; warn: legal, and surely not meant

    def said(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else "cluster: "
        what = f"{self.kind} {self.object}: {self.field}: " if self.field else f"{self.kind} {self.object}: "
        remedy = f". Remedy: {self.fix}" if self.fix else ""
        return f"{where}{what}{self.why}{remedy}"


class Known(Struct, frozen=True):
    """What the cluster holds already."""

    objects: tuple[AnyObject, ...] = ()
    nodes: tuple[Node, ...] | None = None
    occupied: tuple[Occupied, ...] = ()


class Files:
    """What stands in the files: configuration objects, Services, and how many others."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.findings: list[Finding] = []
        self.where: dict[tuple[str, str], Document] = {}
        self.objects: list[AnyObject] = []
        self.services: list[tuple[Service, Document]] = []
        self.others = 0
        for one in documents:
            self._take(one)

    def _take(self, one: Document) -> None:
        if one.group in GROUPS and one.kind in objects.READERS:
            self._configuration(one)
        elif one.kind == "Service" and one.body.get("apiVersion") == "v1":
            service = read_service(one.body)
            if service is None:
                self._add(one, "", "is not a Service as Kubernetes has them")
            elif service.type == "LoadBalancer":
                self.services.append((service, one))
            else:
                self.others += 1
        elif one.group in GROUPS and not one.kind.endswith(("State", "Status", "VirtualIP", "Configuration")):
            near = get_close_matches(one.kind, list(objects.READERS), n=1)
            self._add(one, "kind", f"there is no such kind in {one.group}{hint(near)}")
        else:
            self.others += 1

    def _configuration(self, one: Document) -> None:
        group = "metalbgp.io" if one.kind in OWN else "metallb.io"
        if one.group != group:
            self._add(one, "apiVersion", f"{one.kind} is of group {group}", f"write {group}/{version(one)}")
        elif one.version not in versions(one.kind):
            fix = f"write {group}/{version(one)}"
            self._add(one, "apiVersion", f"{one.kind} has no version {one.version}", fix)
        if not one.name:
            self._add(one, "metadata.name", "is missing", "give it a name")
            return
        key = one.kind, one.name
        if key in self.where:
            before = self.where[key]
            self._add(one, "metadata.name", f"the same object stands in {before.file}:{before.first}")
            return
        try:
            found = objects.from_mapping(one.body)
        except (msgspec.MsgspecError, TypeError) as error:
            self._add(one, "metadata", str(error))
            return
        self.where[key] = one
        self.objects.append(found)
        for path, why in fields.unknown(type(found), one.body):
            self._add(one, path, why, "the API server drops it, or refuses the object if asked to be strict")

    def _add(self, one: Document, field: str, why: str, fix: str = "", verdict: str = "bad") -> None:
        self.findings.append(at(one, field, why, fix, verdict))

    def warn(self, one: Document, field: str, why: str, fix: str) -> None:
        self._add(one, field, why, fix, "warn")


def judge(documents: Sequence[Document], known: Known, *, strict: bool) -> tuple[Finding, ...]:
    """Without a cluster `known` is empty, and the files are all there is."""
    files = Files(documents)
    standing = compile_objects(objects.gather(list(known.objects)), Configuration(installation=""))
    together = objects.gather(_laid_over(known.objects, files.objects))
    compiled = compile_objects(together, standing.configuration if documents else Configuration(""))
    before = set(standing.invalid) if documents else set()
    found = files.findings
    for wrong in compiled.invalid:
        one = files.where.get((wrong.kind, wrong.object))
        if one is not None or wrong not in before:  # the cluster's own troubles are not the files'
            found.append(placed(wrong, one))
    configuration = compiled.configuration
    for service, one in files.services:
        found += _service(service, one, configuration)
    if strict:
        told: list[NotInForce | Surprise] = [*compiled.not_in_force]
        told += surprises(together, configuration, known.nodes, known.occupied)
        for reason in told:
            one = files.where.get((reason.kind, reason.object))
            if one is not None or not documents:
                found.append(placed(reason, one))
        _strictly(files)
    return tuple(sorted(set(found), key=lambda one: (one.file, one.line, one.kind, one.object, one.field)))


def _laid_over(known: Sequence[AnyObject], new: Sequence[AnyObject]) -> list[AnyObject]:
    """What would stand there after an apply: who is there keeps its identity, who is new is younger."""
    found = {(type(one).__name__, one.name): one for one in known}
    for one in new:
        key = type(one).__name__, one.name
        before = found.get(key)
        about = replace(
            one.metadata,
            uid=before.metadata.uid if before else "",
            creation_timestamp=before.metadata.creation_timestamp if before else LAST,
        )
        found[key] = replace(one, metadata=about)
    return list(found.values())


def _strictly(files: Files) -> None:
    spaces: dict[str, Document] = {}
    for (kind, _), one in files.where.items():
        spaces.setdefault(one.namespace or "(none)", one)
        if kind == "BGPPeer" and one.version == "v1beta1":
            files.warn(one, "apiVersion", "v1beta1 is deprecated", "write metallb.io/v1beta2")
    if len(spaces) > 1:
        _, last = sorted(spaces.items())[-1]
        names = ", ".join(sorted(spaces))
        why = f"the objects stand in several namespaces ({names}); only those of metalbgp's own are read"
        files.warn(last, "metadata.namespace", why, "write one namespace, that of the installation")
    for service, one in files.services:
        for name in service.deprecated_annotations:
            new = name.replace(DEPRECATED, "metallb.io/")
            files.warn(one, f"metadata.annotations.{name}", "this spelling is deprecated", f"write {new}")


def _service(service: Service, one: Document, configuration: Configuration) -> Iterator[Finding]:
    wrong = request_of(service).wrong
    where = "metadata.annotations"
    if wrong is not None and not isinstance(wrong, NoClusterIP):
        yield at(one, where, wrong.explain(), wrong.remedy())
        return
    names = [pool.name for pool in configuration.pools]
    if not names:
        return  # its pools stand elsewhere
    if service.requested_pool and service.requested_pool not in names:
        near = get_close_matches(service.requested_pool, names, n=1)
        why = f'pool "{service.requested_pool}" does not exist{hint(near)}'
        field = f"{where}.{service.annotation('address-pool')}"
        yield at(one, field, why, f"name one of {', '.join(sorted(names))}")
    for address in request_of(service).addresses:
        pool = configuration.pool_of(address)
        if pool is None:
            why = f"requested address {address} is in no pool"
        elif service.requested_pool and pool.name != service.requested_pool:
            why = f'requested address {address} is in pool "{pool.name}", and another is asked for'
        else:
            continue
        yield at(one, where, why, "ask for an address of a pool")


def read_service(body: Mapping[str, Any]) -> Service | None:
    """As the API server would complete it; its cluster IPs are those that its families say."""
    spec = dict(body.get("spec") or {})
    metadata = {"namespace": "default", "uid": "", "resourceVersion": "", **(body.get("metadata") or {})}
    if not spec.get("clusterIPs") and not spec.get("clusterIP"):
        families = spec.get("ipFamilies") or []
        if spec.get("ipFamilyPolicy") in ("PreferDualStack", "RequireDualStack"):
            spec["clusterIPs"] = BOTH
        else:
            asked = str((body.get("metadata") or {}).get("annotations") or "") + str(
                spec.get("loadBalancerIP", "")
            )
            six = families[:1] == ["IPv6"] or (not families and "::" in asked and "." not in asked)
            spec["clusterIPs"] = BOTH[1:] if six else BOTH[:1]
    metadata.setdefault("creationTimestamp", "")
    try:
        return decode.service(msgspec.json.encode({"metadata": metadata, "spec": spec}))
    except (msgspec.MsgspecError, ValueError, TypeError):
        return None


def at(one: Document, field: str, why: str, fix: str = "", verdict: str = "bad") -> Finding:
    name = f"{one.namespace or 'default'}/{one.name}" if one.kind == "Service" else one.name
    return Finding(
        kind=one.kind or "object",
        object=name or "?",
        field=field,
        why=why,
        fix=fix,
        file=one.file,
        line=one.line(field),
        verdict=verdict,
    )


def placed(reason: Invalid | NotInForce | Surprise, one: Document | None) -> Finding:
    verdict = "bad" if isinstance(reason, Invalid) else "warn"
    field, why = reason.field, reason.why
    if (typed := TYPE.fullmatch(why)) is not None:  # a wrong type: msgspec names the field in its words
        field, why = typed[2].replace("[...]", ""), typed[1]
    found = Finding(
        kind=reason.kind,
        object=reason.object,
        field=field,
        why=why,
        fix=reason.remedy(),
        verdict=verdict,
    )
    if one is None:
        return found
    return replace(found, file=one.file, line=one.line(field))


def hint(near: Sequence[str]) -> str:
    return f' (did you mean "{near[0]}"?)' if near else ""


def versions(kind: str) -> tuple[str, ...]:
    if kind in OWN:
        return ("v1alpha1",)
    return ("v1beta2", "v1beta1") if kind == "BGPPeer" else ("v1beta1",)


def version(one: Document) -> str:
    return versions(one.kind)[0]
