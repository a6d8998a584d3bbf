"""What uninstalling removes, in which order, and what stays.

In:  the cluster. Out: a Survey of what is there; Steps (words and requests); the lines about what is left.
Elsewhere: doing and waiting is uninstall.py.

The order: speakers first, while the rights that they ask by exist, so that they withdraw; then the
controller; then the policy that lets nobody but them write our objects; then those; the rights last.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from metalbgp.cli.access import DEPLOYMENTS, Cluster
from metalbgp.cli.errors import Absent, NotAllowed
from metalbgp.cli.render import many
from metalbgp.cluster.decode import meta
from metalbgp.cluster.resources import (
    ADDRESS_RESERVATIONS,
    BFD_PROFILES,
    BGP_ADVERTISEMENTS,
    BGP_PEERS,
    COMMUNITIES,
    CONFIGURATION_STATES,
    CRDS,
    DAEMON_SETS,
    IP_ADDRESS_POOLS,
    L2_ADVERTISEMENTS,
    LEASES,
    NAMESPACES,
    NODE_STATES,
    POOL_POLICIES,
    SECRETS,
    SERVICE_BGP_STATUSES,
    SERVICE_L2_STATUSES,
    SERVICES,
    SPEAKER_CONFIGURATIONS,
    SPEAKER_ORDERS,
    VALIDATING_WEBHOOKS,
    VIRTUAL_IPS,
    Resource,
)
from metalbgp.model.names import INSTALLATION, LEASE, PART_OF, SPEAKER_SECRET, WEBHOOK_SECRET
from metalbgp.model.names import OURS as METALBGP

PART: Final = f"{PART_OF}={METALBGP}"
RBAC: Final = "rbac.authorization.k8s.io"
ADMISSION: Final = "admissionregistration.k8s.io"
POLICIES: Final = (
    Resource(ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False),
    Resource(ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False),
    VALIDATING_WEBHOOKS,
)
OURS: Final = (VIRTUAL_IPS, SPEAKER_CONFIGURATIONS, NODE_STATES)
STATUSES: Final = (SERVICE_BGP_STATUSES, SERVICE_L2_STATUSES, CONFIGURATION_STATES)
NAMESPACED: Final = (
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    SERVICES,
    Resource(RBAC, "v1", "rolebindings", "RoleBinding"),
    Resource(RBAC, "v1", "roles", "Role"),
    Resource("", "v1", "serviceaccounts", "ServiceAccount"),
)
CLUSTER_WIDE: Final = (
    Resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", False),
    Resource(RBAC, "v1", "clusterroles", "ClusterRole", False),
)
USERS: Final = (
    IP_ADDRESS_POOLS,
    BGP_PEERS,
    BGP_ADVERTISEMENTS,
    L2_ADVERTISEMENTS,
    COMMUNITIES,
    BFD_PROFILES,
    POOL_POLICIES,
    ADDRESS_RESERVATIONS,
    SPEAKER_ORDERS,
)
Request = tuple[str, str, dict[str, Any] | None]  # method, path, body


class Step(Struct, frozen=True):
    words: str
    requests: tuple[Request, ...]
    until_gone: str = ""  # component whose Pods must be gone before the next step


class Survey(Struct, frozen=True):
    """What is there. Names by plural."""

    installation: str
    names: Mapping[str, tuple[str, ...]]
    shared: bool  # another installation uses what is cluster-wide
    addresses: int  # Services that show an address of ours

    def of(self, resource: Resource) -> tuple[str, ...]:
        return self.names.get(resource.plural, ())


async def survey(cluster: Cluster) -> Survey:
    here = cluster.installation
    names: dict[str, tuple[str, ...]] = {}

    async def names_of(resource: Resource, namespace: str, selector: str = "") -> tuple[tuple[str, str], ...]:
        try:
            query = [("labelSelector", selector)] if selector else []
            items = await cluster.items(resource, namespace, query)
        except Absent:
            return ()
        except NotAllowed:
            cluster.note(f"not allowed to list {resource.plural}")
            return ()
        return tuple((found.namespace, found.name) for found in map(meta, items))

    for resource in (DAEMON_SETS, DEPLOYMENTS, *NAMESPACED):
        names[resource.plural] = _names(await names_of(resource, here, PART))
    everywhere = await names_of(DEPLOYMENTS, "", PART)
    for resource in (*POLICIES, *CLUSTER_WIDE):
        names[resource.plural] = _names(await names_of(resource, "", PART))
    names[VIRTUAL_IPS.plural] = _names(await names_of(VIRTUAL_IPS, "", f"{INSTALLATION}={here}"))
    for resource in (SPEAKER_CONFIGURATIONS, NODE_STATES, *STATUSES, *USERS):
        names[resource.plural] = _names(await names_of(resource, here))
    names[LEASES.plural] = tuple(name for name in _names(await names_of(LEASES, here)) if name == LEASE)
    names[SECRETS.plural] = tuple(
        name for name in _names(await names_of(SECRETS, here)) if name in (SPEAKER_SECRET, WEBHOOK_SECRET)
    )
    kinds = _names(await names_of(CRDS, ""))
    names[CRDS.plural] = tuple(one for one in kinds if one.endswith((".metallb.io", ".metalbgp.io")))
    claimed = await _claimed(cluster, here)
    services = await cluster.services() or ()
    return Survey(
        installation=here,
        names=names,
        shared=any(namespace != here for namespace, _ in everywhere),
        addresses=sum(any(address in claimed for address in one.ingress) for one in services),
    )


def _names(found: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted(name for _, name in found))


async def _claimed(cluster: Cluster, installation: str) -> frozenset[str]:
    try:
        items = await cluster.items(VIRTUAL_IPS, "", [("labelSelector", f"{INSTALLATION}={installation}")])
    except (Absent, NotAllowed):
        return frozenset()
    return frozenset(msgspec.json.decode(item)["spec"]["address"] for item in items)


def steps(found: Survey) -> list[Step]:
    return [step for step in _steps(found) if step.requests]


def _steps(found: Survey) -> Iterator[Step]:
    here = found.installation
    waits = {"propagationPolicy": "Foreground"}
    daemons = [("DELETE", DAEMON_SETS.path(here, name), waits) for name in found.of(DAEMON_SETS)]
    yield Step(
        "delete DaemonSet speaker: each speaker withdraws its routes, gives up its L2 addresses, and ends",
        tuple(daemons),
        until_gone="speaker",
    )
    controllers = [("DELETE", DEPLOYMENTS.path(here, name), waits) for name in found.of(DEPLOYMENTS)]
    yield Step("delete Deployment controller", tuple(controllers), until_gone="controller")
    wide = not found.shared
    if wide:
        yield _delete("delete the admission policies and the webhook of our objects", found, "", POLICIES)
    yield _delete(_counted("delete", found, OURS), found, here, OURS)
    yield _delete(_counted("delete", found, STATUSES), found, here, STATUSES)
    yield _delete(
        "delete the Lease, and the Secrets with the copied passwords and the webhook's key",
        found,
        here,
        (LEASES, SECRETS),
    )
    yield _delete("delete rights and accounts of the namespace", found, here, NAMESPACED)
    if wide:
        yield _delete("delete ClusterRoles and their bindings", found, "", CLUSTER_WIDE)


def _delete(words: str, found: Survey, namespace: str, resources: Iterable[Resource]) -> Step:
    return Step(
        words,
        tuple(
            ("DELETE", resource.path(namespace, name), None)
            for resource in resources
            for name in found.of(resource)
        ),
    )


def _counted(verb: str, found: Survey, resources: Iterable[Resource]) -> str:
    parts = [_many(found, one) for one in resources if found.of(one)]
    return f"{verb} {', '.join(parts)}"


def _many(found: Survey, resource: Resource) -> str:
    kind = resource.kind
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}es" if kind.endswith("s") else f"{kind}s"
    return many(len(found.of(resource)), kind, plural)


def left(found: Survey) -> list[str]:
    """What stays, and how whoever wants that gone gets rid of it."""
    yours = [_many(found, one) for one in USERS if found.of(one)]
    said = ["stays:"]
    if found.of(CRDS):
        said.append(
            f"  {many(len(found.of(CRDS)), 'CustomResourceDefinition')}"
            "   (kubectl delete -f crds.yaml deletes them with every object of theirs)"
        )
    if yours:
        said.append(f"  {', '.join(yours)}   (yours; a new installation finds them)")
    said.append(f"  {NAMESPACES.kind} {found.installation}   (your objects live in it)")
    if found.addresses:
        said.append(
            f"  {many(found.addresses, 'Service')} with an address in its status, announced no longer   "
            "(a new installation keeps it)"
        )
    if found.shared:
        said.append("  ClusterRoles and the admission policy   (another installation uses them)")
    return said
