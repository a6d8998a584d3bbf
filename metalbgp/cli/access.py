"""The cluster as values: each verb reads only what it shows, all of it at once.

In:  an Api, the installation's namespace. Out: model values, and `notes`: rights that are missing.
Elsewhere: the requests are api.py's; what is made of the values is each verb's file.

Without a right a screen shows less and says so in one line; only what a verb cannot do without ends it.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from metalbgp.cli.api import Api, Connection
from metalbgp.cli.errors import Absent, CliError, NotAllowed, Refused
from metalbgp.cli.pods import Pod, Workload, pod, workload
from metalbgp.cluster import decode
from metalbgp.cluster.decode import Lease
from metalbgp.cluster.resources import (
    ADDRESS_RESERVATIONS,
    BFD_PROFILES,
    BGP_ADVERTISEMENTS,
    BGP_PEERS,
    COMMUNITIES,
    CONFIG_MAPS,
    CONFIGURATION_STATES,
    CRDS,
    DAEMON_SETS,
    ENDPOINT_SLICES,
    IP_ADDRESS_POOLS,
    L2_ADVERTISEMENTS,
    LEASES,
    NAMESPACES,
    NODE_STATES,
    NODES,
    PODS,
    POOL_POLICIES,
    SECRETS,
    SERVICE_CIDRS,
    SERVICES,
    SPEAKER_CONFIGURATIONS,
    SPEAKER_ORDERS,
    VIRTUAL_IPS,
    Resource,
)
from metalbgp.config import compiled, nodestate, orders, virtualip
from metalbgp.config.objects import READERS, AnyObject
from metalbgp.config.surprises import Secret
from metalbgp.model.configuration import Configuration
from metalbgp.model.names import LEASE
from metalbgp.model.orders import Order
from metalbgp.model.report import NodeReport
from metalbgp.model.services import EndpointSlice, Namespace, Node, Service
from metalbgp.model.virtualips import VirtualIP

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
OURS = ("metallb.io", "metalbgp.io")
LABEL = "app=metallb"
Value = TypeVar("Value")


class _List(Struct):
    items: list[Raw] | None = None


class _ConfigMap(Struct):
    data: dict[str, str] | None = None


class _Name(Struct):
    name: str
    deletionTimestamp: str | None = None


class _Named(Struct):
    metadata: _Name


class _Errors(Struct, rename="camel"):
    error_summary: str = ""


class _State(Struct):
    status: _Errors = msgspec.field(default_factory=_Errors)


class Speakers(Struct, frozen=True):
    """Pods of the speakers, and whether they could be read at all."""

    pods: tuple[Pod, ...] = ()
    known: bool = True

    @property
    def live(self) -> frozenset[str]:
        return frozenset(one.node for one in self.pods if one.ready and not one.deleting)


class Cluster:
    """One for each answer."""

    def __init__(self, api: Api, connection: Connection) -> None:
        self.api = api
        self.installation = connection.installation
        self._notes: list[str] = []
        self._denied: set[str] = set()

    @property
    def notes(self) -> tuple[str, ...]:
        """All missing rights are one line."""
        denied = (missing_right(*sorted(self._denied)),) if self._denied else ()
        return (*denied, *self._notes)

    # ------------------------------------------------------------------ ours; there is no answer without

    async def reports(self) -> tuple[NodeReport, ...]:
        found = await self._list(NODE_STATES, nodestate.decode, self.installation)
        return tuple(sorted(found, key=lambda report: report.node))

    async def configuration(self) -> Configuration:
        """Of this installation, whatever its label says; an empty one when nothing was compiled yet."""
        found = await self._list(SPEAKER_CONFIGURATIONS, compiled.decode, self.installation)
        return configuration_of(self.installation, found)

    async def claims(self) -> tuple[VirtualIP, ...]:
        """Of every installation: the others' addresses are taken as well."""
        return await self._list(VIRTUAL_IPS, virtualip.decode)

    async def orders(self) -> tuple[Order, ...]:
        """In force or over; none where nobody brought the kind yet."""
        return await self._may(SPEAKER_ORDERS, orders.decode, self.installation) or ()

    # ------------------------------------------------------------------ Kubernetes'; less is shown without

    async def services(self) -> tuple[Service, ...] | None:
        """Of type LoadBalancer. None: not allowed."""
        try:
            found = await self._may(
                SERVICES, decode.load_balancer, "", [("fieldSelector", "spec.type=LoadBalancer")]
            )
        except Refused as error:  # a server before 1.36 does not know this selector
            if error.status != 400:
                raise
            found = await self._may(SERVICES, decode.load_balancer)
        return None if found is None else tuple(one for one in found if one is not None)

    async def service(self, namespace: str, name: str) -> Service | None:
        try:
            return decode.service(await self.api.request("GET", SERVICES.path(namespace, name)))
        except Absent:
            return None
        except NotAllowed as error:
            raise CliError(missing_right(SERVICES.plural)) from error

    async def slices(self, namespace: str = "", service: str = "") -> tuple[EndpointSlice, ...] | None:
        """None: not allowed."""
        query = [("labelSelector", f"{decode.SERVICE_NAME}={service}")] if service else []
        found = await self._may(ENDPOINT_SLICES, decode.endpoint_slice, namespace, query)
        return None if found is None else tuple(one for one in found if one is not None)

    async def nodes(self) -> tuple[Node, ...] | None:
        """None: not allowed."""
        return await self._may(NODES, decode.node)

    async def namespaces(self) -> Mapping[str, Namespace]:
        return {one.name: one for one in await self._may(NAMESPACES, decode.namespace) or ()}

    async def pods(self) -> tuple[Pod, ...] | None:
        """Of the installation's controller and speakers; None: not allowed."""
        return await self._may(PODS, pod, self.installation, [("labelSelector", LABEL)])

    async def speakers(self) -> Speakers:
        return speakers(await self.pods())

    async def all_pods(self) -> tuple[Pod, ...]:
        return await self._may(PODS, pod) or ()

    async def lease(self) -> Lease | None:
        return await self._one(LEASES, LEASE, decode.lease, self.installation)

    async def controller(self) -> Workload | None:
        return await self._one(DEPLOYMENTS, "controller", workload, self.installation)

    async def speaker_set(self) -> Workload | None:
        return await self._one(DAEMON_SETS, "speaker", workload, self.installation)

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Its data; None: there is none. Raises NotAllowed."""
        try:
            data = await self.api.request("GET", CONFIG_MAPS.path(namespace, name))
        except Absent:
            return None
        return msgspec.json.decode(data, type=_ConfigMap).data or {}

    async def kinds(self) -> frozenset[str] | None:
        """Names of the CustomResourceDefinitions; None: not allowed."""
        found = await self._may(CRDS, lambda data: msgspec.json.decode(data, type=_Named).metadata)
        return None if found is None else frozenset(one.name for one in found if not one.deletionTimestamp)

    async def configuration_errors(self) -> tuple[str, ...]:
        """What the controller could not put in force; quiet where there is no such object yet."""
        read = msgspec.json.Decoder(_State).decode
        found = await self._may(CONFIGURATION_STATES, read, self.installation, quiet=True) or ()
        texts = (line for one in found for line in one.status.error_summary.splitlines())
        return tuple(text.removeprefix("configuration error: ") for text in texts if text)

    async def configuration_objects(self) -> tuple[AnyObject, ...]:
        """What users wrote, of all kinds. A password is part of it, and never shown."""
        kinds = (
            IP_ADDRESS_POOLS,
            BGP_PEERS,
            BGP_ADVERTISEMENTS,
            L2_ADVERTISEMENTS,
            COMMUNITIES,
            BFD_PROFILES,
            POOL_POLICIES,
            ADDRESS_RESERVATIONS,
        )
        found = await together(*(self._may(one, READERS[one.kind], self.installation) for one in kinds))
        return tuple(one for group in found for one in group or ())

    async def secret(self, name: str) -> Secret | None:
        """Of the installation: its type and the names of its keys, nothing else. Raises NotAllowed."""
        try:
            found = decode.secret(await self.api.request("GET", SECRETS.path(self.installation, name)))
        except Absent:
            return None
        return Secret(type=found.type, keys=tuple(sorted(found.data)))

    async def of_others(self, kinds: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[Any, ...] | None]:
        """Objects of other products as they stand there, by CRD with its versions; None: not allowed."""

        def read(data: Raw) -> Any:
            return msgspec.json.decode(data)

        async def one(name: str, versions: tuple[str, ...]) -> tuple[Any, ...] | None:
            plural, _, group = name.partition(".")
            for version in versions:
                found = await self._may(Resource(group, version, plural, plural), read, quiet=True)
                if found is None or found:
                    return found
            return ()

        values = await together(*(one(name, versions) for name, versions in kinds.items()))
        return dict(zip(kinds, values, strict=True))

    async def service_networks(self) -> Mapping[str, tuple[str, ...]]:
        """CIDRs by ServiceCIDR; none on API servers before 1.33."""

        def read(data: Raw) -> tuple[str, tuple[str, ...]]:
            return decode.meta(data).name, decode.service_network(data)

        return dict(await self._may(SERVICE_CIDRS, read, quiet=True) or ())

    # ------------------------------------------------------------------ how

    async def items(
        self, resource: Resource, namespace: str = "", query: list[tuple[str, str]] | None = None
    ) -> list[Raw]:
        data = await self.api.request("GET", resource.path(namespace), query or [])
        return msgspec.json.decode(data, type=_List).items or []

    async def _list(
        self, resource: Resource, read: Callable[[Raw], Value], namespace: str = ""
    ) -> tuple[Value, ...]:
        try:
            found = await self.items(resource, namespace)
        except NotAllowed as error:
            raise CliError(missing_right(resource.plural)) from error
        except Absent as error:
            raise CliError(
                f"metalbgp is not installed: there is no kind {resource.kind} ({resource.api_version}) here"
            ) from error
        return self._read(resource, found, read)

    async def _may(
        self,
        resource: Resource,
        read: Callable[[Raw], Value],
        namespace: str = "",
        query: list[tuple[str, str]] | None = None,
        *,
        quiet: bool = False,
    ) -> tuple[Value, ...] | None:
        try:
            found = await self.items(resource, namespace, query)
        except NotAllowed:
            if not quiet:
                self._denied.add(resource.plural)
            return None
        except Absent:
            return ()
        return self._read(resource, found, read)

    async def _one(
        self, resource: Resource, name: str, read: Callable[[bytes], Value], namespace: str
    ) -> Value | None:
        try:
            return read(await self.api.request("GET", resource.path(namespace, name)))
        except NotAllowed:
            self._denied.add(resource.plural)
            return None
        except Absent:
            return None

    def _read(self, resource: Resource, found: list[Raw], read: Callable[[Raw], Value]) -> tuple[Value, ...]:
        """One odd object costs itself and a line, not the screen."""
        values = []
        for raw in found:
            try:
                values.append(read(raw))
            except (msgspec.ValidationError, ValueError) as error:
                name = decode.meta(raw).name
                self.note(f"{resource.kind} {name} cannot be read and is left out: {error}")
        return tuple(values)

    def note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)


def configuration_of(installation: str, found: Collection[Configuration]) -> Configuration:
    by_name = {one.installation: one for one in found}
    if installation in by_name:
        return by_name[installation]
    return next(iter(found)) if len(found) == 1 else Configuration(installation=installation)


def speakers(pods: tuple[Pod, ...] | None) -> Speakers:
    if pods is None:
        return Speakers(known=False)
    return Speakers(tuple(one for one in pods if one.component == "speaker"))


def missing_right(*plurals: str) -> str:
    """Nobody guesses which role it is that he lacks."""
    return f"not allowed to read {', '.join(plurals)}; ask for ClusterRole metalbgp-viewer"


async def together(*reads: Any) -> Any:
    """All reads at once; the first failure ends the others before it is told."""
    tasks = [asyncio.ensure_future(read) for read in reads]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
