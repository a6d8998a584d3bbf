"""Documents of files → configuration objects, Services, Namespaces; what is wrong with each alone. Pure.

In:  Documents, the schemas of the CRDs ({} where they cannot be had), our namespace ("": unknown).
Out: Manifests: what stands in the files, where, and the Findings that need no other object.
Elsewhere: what the objects mean together is judging.py.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from metalbgp.cli.findings import Finding, at
from metalbgp.cluster import decode
from metalbgp.config import objects, orders, schema
from metalbgp.config.documents import Document
from metalbgp.config.mistakes import near
from metalbgp.config.objects import AnyObject
from metalbgp.config.schema import Schema
from metalbgp.config.surprises import of_service
from metalbgp.model.reasons import Invalid
from metalbgp.model.services import Namespace, Service

Schemas = Mapping[str, Mapping[str, Schema]]  # kind → version → schema
OURS: Final = ("metallb.io", "metalbgp.io")
OWN: Final = frozenset(("PoolPolicy", "AddressReservation"))  # of metalbgp.io; the others are of metallb.io
VERSIONS: Final = {**dict.fromkeys(OWN, ("v1alpha1",)), "BGPPeer": ("v1beta2", "v1beta1")}
WRITTEN_BY_US: Final = ("ServiceL2Status", "ServiceBGPStatus", "ConfigurationState")
WRITTEN_BY_US_TOO: Final = ("VirtualIP", "SpeakerConfiguration", "NodeState")
GONE: Final = "is gone since MetalLB 0.13"


class Manifests:
    """What stands in the files; of two documents for one object the last counts, as in `kubectl apply`."""

    def __init__(self, documents: Iterable[Document], schemas: Schemas, home: str = "") -> None:
        self.findings: list[Finding] = []
        self.configuration: dict[tuple[str, str], tuple[AnyObject, Document]] = {}
        self.services: dict[str, tuple[Service, Document]] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.others = 0  # documents of kinds that are not ours to judge
        self.count = 0
        self._schemas = schemas
        self._spoilt: set[tuple[str, str]] = set()
        self._told: set[tuple[str, str, str]] = set()  # kind, name, field
        for one in documents:
            self.count += 1
            self._take(one)
        self._same_namespace(home)

    def told(self, wrong: Invalid) -> bool:
        """What is wrong with the shape is said already, field by field: compile.py need not say it again."""
        key = wrong.kind, wrong.object
        return (*key, wrong.field) in self._told or (wrong.field == "spec" and key in self._spoilt)

    def document(self, kind: str, name: str) -> Document | None:
        found = self.configuration.get((kind, name))
        return found[1] if found else None

    def _take(self, one: Document) -> None:
        match one.group, one.kind:
            case _, "":
                self._add(one, "kind", "is missing: a document is an object with apiVersion and kind")
            case ("", "Service") if one.version == "v1":
                self._service(one)
            case ("", "Namespace") if one.name:
                labels = one.body["metadata"].get("labels")
                pairs = labels.items() if isinstance(labels, Mapping) else ()
                texts = {str(key): str(value) for key, value in pairs}
                self.namespaces[one.name] = Namespace(name=one.name, labels=texts)
                self.others += 1
            case ("metalbgp.io", orders.KIND) if one.version == "v1alpha1":
                self._order(one)
            case (group, kind) if kind in objects.READERS and self._is_meant(one, group, kind):
                self._configuration(one)
            case (group, kind) if group in OURS and kind not in (*WRITTEN_BY_US, *WRITTEN_BY_US_TOO):
                if kind == "AddressPool":
                    fix = "write an IPAddressPool, and an L2Advertisement or a BGPAdvertisement beside it"
                    self._add(one, "kind", GONE, fix)
                elif kind not in objects.READERS:
                    hint = near(kind, objects.READERS)
                    self._add(one, "kind", f"there is no such kind in {group}{hint}")
            case _:
                self.others += 1

    def _is_meant(self, one: Document, group: str, kind: str) -> bool:
        """Other projects have a BGPPeer as well; a group that is nearly ours is a mistake of typing."""
        right = "metalbgp.io" if kind in OWN else "metallb.io"
        versions = VERSIONS.get(kind, ("v1beta1",))
        if group == right and one.version in versions:
            return True
        written = one.body.get("apiVersion")
        fix = f"write apiVersion: {right}/{versions[0]}"
        if not written:
            self._add(one, "apiVersion", "is missing", fix)
        elif group in OURS:
            self._add(one, "apiVersion", f"there is no {kind} in {written}", fix)
        elif get_close_matches(group, OURS, n=1, cutoff=0.8):
            self._add(one, "apiVersion", f'nobody knows the group "{group}"{near(group, (right,))}', fix)
        else:
            return False
        return True

    def _configuration(self, one: Document) -> None:
        versions = self._schemas.get(one.kind, {})
        rules = versions.get(one.version) or next(iter(versions.values()), None)
        faults = list(schema.faults(one.body, rules)) if rules is not None else []
        for fault in faults:
            self._add(one, fault.field, fault.why, fault.fix)
        if not one.name:
            if not faults:
                self._add(one, "metadata.name", "is missing")
            return
        key = one.kind, one.name
        if any(fault.hard for fault in faults):
            self._spoilt.add(key)
        self._told |= {(*key, field) for fault in faults for field in (fault.field, fault.meant)}
        try:
            found = objects.from_mapping(one.body)
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
            if not faults:
                self._add(one, "metadata", str(error))
            return
        if (before := self.configuration.get(key)) is not None:
            self._twice(one, before[1])
        self.configuration[key] = found, one

    def _order(self, one: Document) -> None:
        """It is no part of the configuration: speakers watch it themselves."""
        rules = self._schemas.get(one.kind, {}).get(one.version)
        found = list(schema.faults(one.body, rules)) if rules is not None else []
        for fault in found:
            self._add(one, fault.field, fault.why, fault.fix)
        if not found:
            try:
                spec = msgspec.convert(one.body.get("spec"), orders.OrderSpec)
            except msgspec.ValidationError as error:
                self._add(one, "spec", str(error))
                return
            for fault in orders.faults(spec):
                self._add(one, fault.field, fault.why, fault.fix)

    def _service(self, one: Document) -> None:
        service = read_service(one.body)
        if service is None or not one.name:
            self._add(one, "spec", "is not a Service as Kubernetes has them")
            return
        if (before := self.services.get(service.key)) is not None:
            self._twice(one, before[1])
        self.services[service.key] = service, one

    def surprises(self, home: str, elsewhere: str) -> Iterable[Finding]:
        """Legal, and surely not meant: what one document says by itself. `elsewhere`: where kubectl would
        put what names no namespace; "": unknown."""
        for (kind, _), (_, one) in self.configuration.items():
            if not one.namespace and elsewhere not in ("", home):
                why = f"is missing, so kubectl apply puts it into {elsewhere}; only {home} is read"
                fix = f"write namespace: {home}, or kubectl apply -n {home}"
                yield at(one, "metadata.namespace", why, fix, verdict="warn", reason="OtherNamespace")
            if kind == "BGPPeer" and one.version == "v1beta1":
                fix = "write metallb.io/v1beta2; the fields have the same names"
                yield at(one, "apiVersion", "v1beta1 is deprecated", fix, verdict="warn", reason="Surprise")
        for service, one in self.services.values():
            notes = one.body["metadata"].get("annotations") or {}
            for told in of_service(service, notes):
                yield at(one, told.field, told.why, told.fix, verdict="warn", reason=told.name)

    def _twice(self, one: Document, before: Document) -> None:
        why = f"the same object stands in {before.file}:{before.first} as well; the last one counts"
        self._add(one, "metadata.name", why, "remove one of them")

    def _same_namespace(self, home: str) -> None:
        """Only objects of one namespace are read: that of the installation."""
        written = {key: one for key, (_, one) in self.configuration.items() if one.namespace}
        spaces = Counter(one.namespace for one in written.values())
        if not spaces or (not home and len(spaces) == 1):
            return
        right = home or max(sorted(spaces), key=lambda name: spaces[name])
        for key, one in written.items():
            if one.namespace == right:
                continue
            others = "metalbgp stands" if home else "the others stand"
            why = f"is {one.namespace}, and {others} in {right}: objects of one namespace only are read"
            fix = f"write namespace: {right}"
            self.findings.append(
                at(one, "metadata.namespace", why, fix, verdict="warn", reason="OtherNamespace")
            )
            if home:
                del self.configuration[key]

    def _add(self, one: Document, field: str, message: str, remedy: str = "") -> None:
        self.findings.append(at(one, field, message, remedy))


# ------------------------------------------------------------------ Services

ASSUMED: Final = {"IPv4": "192.0.2.1", "IPv6": "2001:db8::1"}  # for cluster IPs that the API server will give


def read_service(body: Mapping[str, Any]) -> Service | None:
    """As the API server would complete it: its cluster IPs are those that its families say."""
    spec, metadata = body.get("spec") or {}, body.get("metadata") or {}
    if not isinstance(spec, Mapping) or not isinstance(metadata, Mapping):
        return None
    whole = {name: value for name, value in metadata.items() if value is not None}
    spec = {name: value for name, value in spec.items() if value is not None}
    if not spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIPs"] = [ASSUMED[name] for name in _families(spec, metadata)]
    try:
        encoded = msgspec.json.encode({"metadata": {"namespace": "default", **whole}, "spec": spec})
        return decode.service(encoded)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        return None


def _families(spec: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """What a file leaves open, the cluster decides; it is guessed so that the Service can be served."""
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        return "IPv4", "IPv6"
    families = spec.get("ipFamilies")
    if isinstance(families, list) and families and all(name in ASSUMED for name in families):
        return tuple(families)
    notes = metadata.get("annotations")
    asked = str(spec.get("loadBalancerIP") or "")
    if isinstance(notes, Mapping):
        asked += "".join(
            f",{value}" for name, value in notes.items() if str(name).endswith("loadBalancerIPs")
        )
    found = {
        "IPv6" if ":" in text and "." not in text else "IPv4" for text in asked.split(",") if text.strip()
    }
    if found:
        return tuple(sorted(found)) if spec.get("ipFamilyPolicy") == "PreferDualStack" else (min(found),)
    return ("IPv4", "IPv6") if spec.get("ipFamilyPolicy") == "PreferDualStack" else ("IPv4",)
