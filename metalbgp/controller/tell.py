"""What users are told: one event and one log line per decision, when it changes, never per pass.

In:  decisions with their typed reasons. Out: Events on the object that the decision is about, log lines.
Elsewhere: the words stand beside the reasons (model/reasons.py); sending is cluster/events.py.
Event reasons keep MetalLB's names where users' habits and alerts know them (metallb.md 2.9).
"""

from collections.abc import Callable, Iterable

from metalbgp import logs
from metalbgp.allocate.allocate import Allocation
from metalbgp.cluster.resources import (
    ADDRESS_RESERVATIONS,
    BFD_PROFILES,
    BGP_ADVERTISEMENTS,
    BGP_PEERS,
    COMMUNITIES,
    IP_ADDRESS_POOLS,
    L2_ADVERTISEMENTS,
    POOL_POLICIES,
    SERVICES,
    Reference,
    Resource,
)
from metalbgp.model.reasons import AddressAnswers, FamilyMismatch, Invalid, NoAddress, NotInForce
from metalbgp.model.services import Service

LONGEST_CONDITION = 32_000  # characters of a condition's message; the API server takes 32,768
LONGEST = 900  # characters of an event's message; the API server takes 1,024

Emit = Callable[[Reference, str, str, str], None]  # object, Normal or Warning, reason, message

KINDS: dict[str, Resource] = {
    resource.kind: resource
    for resource in (
        IP_ADDRESS_POOLS,
        BGP_PEERS,
        BGP_ADVERTISEMENTS,
        L2_ADVERTISEMENTS,
        COMMUNITIES,
        BFD_PROFILES,
        POOL_POLICIES,
        ADDRESS_RESERVATIONS,
    )
}


class Tell:
    def __init__(self, emit: Emit, namespace: str) -> None:
        self._emit = emit
        self._namespace = namespace  # where the metallb.io objects live
        self._told: dict[str, str] = {}  # Service → the refusal that was told last
        self._misread: dict[str, tuple[tuple[str, str], ...]] = {}  # by Service: told last
        self._objects: dict[tuple[str, str, str], str] = {}  # (kind, object, field) → words told last

    # ------------------------------------------------------------------ Services

    def allocated(self, service: Service, answer: Allocation) -> None:
        self._told.pop(service.key, None)
        addresses = ", ".join(answer.addresses)
        words = f"Assigned IP {addresses} from pool {answer.pools}: {answer.why.explain()}"
        logs.log("address-assigned", service=service.key, addresses=list(answer.addresses), pool=answer.pools)
        self._service(service, "Normal", "IPAllocated", words)
        if answer.lacks is not None:
            self._service(service, "Normal", "AdditionalAssignFailed", answer.lacks.explain())
        if service.deprecated_annotations:
            self._service(
                service,
                "Warning",
                "deprecatedAnnotation",
                f"{', '.join(service.deprecated_annotations)}: honoured; the current prefix is metallb.io/",
            )

    def refused(self, service: Service, reason: NoAddress) -> None:
        words = in_lines(reason)
        if self._told.get(service.key) == words:
            return
        self._told[service.key] = words
        logs.warn("address-refused", service=service.key, reason=reason.name, why=reason.explain())
        self._service(
            service, "Warning", _event(service, reason), f"{reason.name}: {cut(words, service.key)}"
        )

    def contested(self, service: Service, others: tuple[str, ...]) -> None:
        """Another controller writes the same status; we wait longer and longer between our writes."""
        who = " and ".join(others) or "another client (managedFields does not say which)"
        words = (
            f"{who} keeps replacing the addresses that metalbgp writes into status.loadBalancer; they are "
            "written again, more and more rarely. Remedy: let one of the two serve this Service "
            "(spec.loadBalancerClass)"
        )
        logs.warn("status-contested", service=service.key, by=list(others))
        self._service(service, "Warning", "StatusContested", words)

    def bug(self, service: Service, error: Exception) -> None:
        """Nothing that a user wrote should end here."""
        words = (
            f"{type(error).__name__}: {error}. This is a bug of metalbgp; the log of the controller has more"
        )
        if self._told.get(service.key) != words:
            self._told[service.key] = words
            self._service(service, "Warning", "InternalError", words)

    def cleared(self, service: Service, reason: NoAddress) -> None:
        words = f"Released {', '.join(service.ingress)}: {reason.explain()}"
        self._service(service, "Normal", "ClearAssignment", words)

    def answers(self, service: Service, found: AddressAnswers) -> None:
        """A stranger has the address that the Service was to get; it gets another, or waits."""
        logs.warn(
            "address-in-use", service=service.key, address=found.address, mac=found.mac, node=found.node
        )
        self._service(service, "Warning", "AddressInUse", with_remedy(found.explain(), found.remedy()))

    def unasked(self, service: Service, address: str, why: str) -> None:
        words = f"{address} is used without having been asked for on its segment: {why}"
        logs.warn("address-not-probed", service=service.key, address=address, why=why)
        self._service(service, "Warning", "AddressNotProbed", words)

    def misread(self, service: Service) -> None:
        """Annotations for its routes that cannot be read: told once, and again when they change."""
        if self._misread.get(service.key, ()) == service.misread:
            return
        self._misread[service.key] = service.misread
        for name, why in service.misread:
            logs.warn("annotation-misread", service=service.key, annotation=name, why=why)
            self._service(service, "Warning", "AnnotationMisread", f"{name} does nothing: {why}")

    def forget(self, key: str) -> None:
        """The Service is gone: a new one of its name is told everything again."""
        self._told.pop(key, None)
        self._misread.pop(key, None)

    def _service(self, service: Service, kind: str, reason: str, words: str) -> None:
        reference = Reference(
            SERVICES, service.name, service.namespace, service.uid, service.resource_version
        )
        self._emit(reference, kind, reason, words)

    # ------------------------------------------------------------------ configuration objects

    def configuration(
        self,
        invalid: Iterable[Invalid],
        not_in_force: Iterable[NotInForce],
        uid_of: Callable[[str, str], str],
    ) -> None:
        """An object that does not validate, or asks for what nothing implements yet, says so itself."""
        current: dict[tuple[str, str, str], str] = {}
        told: list[Invalid | NotInForce] = [*invalid, *not_in_force]
        for reason in told:
            key = (reason.kind, reason.object, f"{reason.name} {reason.field}")
            words = current[key] = with_remedy(reason.explain(), reason.remedy())
            if self._objects.get(key) == words or reason.kind not in KINDS:
                continue
            kind = "Warning"
            logs.warn("configuration", kind=reason.kind, object=reason.object, reason=reason.name, why=words)
            uid = uid_of(reason.kind, reason.object)
            self._emit(
                Reference(KINDS[reason.kind], reason.object, self._namespace, uid), kind, reason.name, words
            )
        for mended in self._objects.keys() - current.keys():
            logs.log("configuration-mended", kind=mended[0], object=mended[1], what=mended[2])
        self._objects = current


def _event(service: Service, reason: NoAddress) -> str:
    """MetalLB's name for the event (metallb.md 2.9)."""
    if isinstance(reason, FamilyMismatch) and "RequireDualStack" in reason.wanted:
        return "not enough clusterips"
    asked = service.requested_addresses or service.load_balancer_ip
    if asked and service.pool_annotation is not None:
        return "LoadBalancerFailed"  # it had addresses, and asks for others that it cannot have
    return "AllocationFailed"


def in_lines(reason: NoAddress) -> str:
    """The answer, a line for each pool that was asked, and what can be done."""
    remedy = reason.remedy()
    return "\n".join((*reason.lines(), f"Remedy: {remedy}") if remedy else reason.lines())


def cut(words: str, key: str, most: int = LONGEST) -> str:
    """At the end of a line: an event's message has 1,024 characters; the command says it all."""
    if len(words) <= most:
        return words
    hint = f"… (all of it: metalbgp explain {key})"
    kept = words[: most - len(hint) - 1]
    whole = kept.rpartition("\n")[0] or kept
    return f"{whole}\n{hint}"


def with_remedy(words: str, remedy: str) -> str:
    return f"{words}. Remedy: {remedy}" if remedy else words
