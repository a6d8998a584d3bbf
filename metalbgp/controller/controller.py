"""The controller's loop: views feed the inventory, what they touch is queued, and only a leader works.

In:  a Client, an Elector, options. Out: everything that the controller writes.
Elsewhere: one Service is reconcile.py; the configuration is configure.py; who leads is cluster/election.py.

Both replicas keep their views warm, so that the one that takes over begins within milliseconds.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from msgspec import Raw, Struct

from metalbgp import logs
from metalbgp.allocate.claims import adopt
from metalbgp.allocate.taken import use_of
from metalbgp.cluster import decode
from metalbgp.cluster.client import Client
from metalbgp.cluster.reflector import Changed, Reflector, Removed, Synced
from metalbgp.cluster.resources import (
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICE_CIDRS,
    SERVICES,
    VIRTUAL_IPS,
    Resource,
)
from metalbgp.cluster.trouble import tell_trouble
from metalbgp.config import virtualip
from metalbgp.controller.addresses import Addresses
from metalbgp.controller.admission import Admission
from metalbgp.controller.claims import Claims
from metalbgp.controller.configure import Configurator
from metalbgp.controller.metrics import ControllerMetrics
from metalbgp.controller.queue import Done, Outcome, WorkQueue
from metalbgp.controller.reconcile import Reconciler
from metalbgp.controller.segments import Segments
from metalbgp.controller.tell import Emit, Tell
from metalbgp.controller.writes import Writes, is_marked
from metalbgp.inventory.inventory import IDLE_PHASES, Inventory
from metalbgp.inventory.touched import Touched
from metalbgp.model.names import INSTALLATION, SPEAKER_PODS
from metalbgp.model.services import Pod, Service
from metalbgp.model.virtualips import VirtualIP

COALESCE = 0.05  # seconds that a mere change of endpoint counts waits for the next one (contracts.md)


class Options(Struct, frozen=True):
    namespace: str
    installation: str
    load_balancer_class: str | None = None
    ignore_exclude_label: bool = False
    speaker_labels: str = SPEAKER_PODS


class Controller:
    def __init__(self, client: Client, fenced: Client, emit: Emit, options: Options) -> None:
        self._client = client
        self._options = options
        self.inventory = Inventory(options.installation, options.load_balancer_class)
        self.claims = Claims(self.inventory)
        self.leading = False
        self._first_seen: dict[str, float] = {}
        self._speakers: dict[str, Pod] = {}  # those that are not being deleted, by namespace/name
        tell = Tell(emit, options.namespace)
        self.queue = WorkQueue(self._work)
        self.configurator = Configurator(
            client,
            fenced,
            self.inventory,
            self.claims,
            tell,
            namespace=options.namespace,
            ignore_exclude_label=options.ignore_exclude_label,
            touched=self.touch,
            settled=self._settled,
        )
        self.metrics = ControllerMetrics(self.configurator.pool_use)
        self.configurator.metrics = self.metrics
        self.metrics.queue.set_function(lambda: self.queue.depth)
        writes = Writes(fenced, options.installation, self.metrics)
        self._addresses = Addresses(
            self.inventory,
            self.claims,
            writes,
            touched=self.touch,
            now=now,
            later=self.queue.add_later,
        )
        self._segments = Segments(client, self.claims, options.namespace, options.installation, self.touch)
        self._reconciler = Reconciler(
            self.inventory,
            self.claims,
            writes,
            tell,
            self._addresses,
            touched=self.touch,
            now=now,
            later=self.queue.add_later,
            shown=self._shown,
            probes=self._segments.probes,
            ask=self._segments.ask,
        )
        self.admission = Admission(client, self.inventory, self.claims, self.configurator.scene)
        self._reflectors = self._make_reflectors()
        # API servers before 1.33 have no such kind.
        self._service_networks = Reflector(client, SERVICE_CIDRS, decode.service_network, optional=True)

    # ------------------------------------------------------------------ views

    def _make_reflectors(self) -> list[tuple[Reflector[Any], Callable[[Any], None]]]:
        options = self._options

        def view(
            resource: Resource, read: Callable[[Raw], Any], handle: Callable[[Any], None], **selectors: str
        ) -> tuple[Reflector[Any], Callable[[Any], None]]:
            return Reflector(self._client, resource, read, **selectors), handle  # type: ignore[arg-type]  # selectors are its str keywords

        return [
            view(SERVICES, relevant_service, self._on_service),
            view(ENDPOINT_SLICES, decode.endpoint_slice, self._on_slice),
            view(NODES, decode.node, self._on_node),
            view(NAMESPACES, decode.namespace, self._on_namespace),
            view(
                VIRTUAL_IPS,
                virtualip.decode,
                self._on_claim,
                label_selector=f"{INSTALLATION}={options.installation}",
            ),
            view(
                PODS,
                decode.pod,
                self._on_pod,
                namespace=options.namespace,
                label_selector=options.speaker_labels,
            ),
        ]

    def _on_service(self, event: Any) -> None:
        match event:
            case Changed(key=key, new=service):
                if not service.ingress:
                    self._first_seen.setdefault(key, asyncio.get_running_loop().time())
                elif not self.leading:  # a leader's own write comes back before it is counted
                    self._first_seen.pop(key, None)
                self.touch(self.inventory.put_service(service))
            case Removed(key=key):
                self._first_seen.pop(key, None)
                self.touch(self.inventory.drop_service(key))
            case _:
                tell_trouble(event, self.metrics.update_errors)

    def _on_slice(self, event: Any) -> None:
        match event:
            case Changed(new=piece):
                self.touch(self.inventory.put_slice(piece))
            case Removed(key=key):
                self.touch(self.inventory.drop_slice(key))
            case _:
                tell_trouble(event, self.metrics.update_errors)

    def _on_node(self, event: Any) -> None:
        match event:
            case Changed(old=old, new=node):
                self.touch(self.inventory.put_node(node))
                if old is None or (old.addresses, old.pod_cidrs) != (node.addresses, node.pod_cidrs):
                    self._occupy()
            case Removed(key=key):
                self.touch(self.inventory.drop_node(key))
                self._occupy()
            case _:
                tell_trouble(event, self.metrics.update_errors)

    def _on_service_network(self, event: Any) -> None:
        match event:
            case Changed(key=key, new=cidrs):
                self.inventory.put_service_network(key, cidrs)
            case Removed(key=key):
                self.inventory.drop_service_network(key)
            case _:
                return
        self._occupy()

    def _occupy(self) -> None:
        """The cluster's own addresses changed: no new address is one of them, and some may be free now."""
        if self.leading:  # who begins to lead takes them in with everything else
            self.claims.taken.occupy(self.inventory.occupied())
            self.touch(Touched(services=frozenset(self.inventory.pending)))

    def _on_namespace(self, event: Any) -> None:
        match event:
            case Changed(new=namespace):
                self.touch(self.inventory.put_namespace(namespace))
            case Removed(key=key):
                self.touch(self.inventory.drop_namespace(key))
            case _:
                tell_trouble(event, self.metrics.update_errors)

    def _on_claim(self, event: Any) -> None:
        match event:
            case Changed(new=vip):
                self.touch(self.claims.learn(vip))
            case Removed(old=vip) if vip is not None:
                known = self.claims.get(vip.address)
                touched = self.claims.forget(vip)
                if known is not None and known.uid == vip.uid and known.phase == "bound":
                    self._keep_for_holders(vip)
                self.touch(touched)
            case Synced(went_back=True):
                logs.warn("claims-went-back", why="the API server was restored")
                view = next(one for one, _ in self._reflectors if one.resource is VIRTUAL_IPS)
                self.touch(self.claims.start_over(view.values.values()))
            case _:
                tell_trouble(event, self.metrics.update_errors)

    def _keep_for_holders(self, vip: VirtualIP) -> None:
        """Deleted by other hands: only the living Services that it names may claim its address again."""
        for key, holder in vip.holders.items():
            service = self.inventory.services.get(key)
            if service is not None and service.uid == holder.uid and self.inventory.is_ours(service):
                logs.warn("claim-deleted", address=vip.address, service=key, by="other hands")
                self.claims.taken.hold(vip.address, use_of(service))

    def _on_pod(self, event: Any) -> None:
        match event:
            case Changed(key=key, new=pod):
                if not pod.deleting and pod.node:
                    self._speakers[key] = pod
                else:
                    self._speakers.pop(key, None)
            case Removed(key=key):
                self._speakers.pop(key, None)
            case _:
                tell_trouble(event, self.metrics.update_errors)
        self.touch(self.inventory.live(live_nodes(self._speakers.values())))

    # ------------------------------------------------------------------ work

    def touch(self, touched: Touched, *, first: bool = False) -> None:
        """Queue what a change concerns; a replica that does not lead only remembers."""
        self.metrics.updates.inc()
        if not self.leading or not touched:
            return
        if touched.addresses:
            touched |= self.claims.spread.look_again(touched.addresses)
        # Who waits longest comes first: the queue is worked on in this order, and whoever is worked on
        # holds what it chose before anybody else looks.
        for key in sorted(touched.services, key=self._age):
            self.queue.add(f"service:{key}", first=first)
        for key in touched.counts:
            self.queue.add_later(f"service:{key}", COALESCE)
        for address in touched.addresses:
            self.queue.add(f"rerank:{address}")
        for address in touched.idle:
            self.queue.add(f"memory:{address}")
        self.configurator.count_pools_soon()

    def _age(self, key: str) -> tuple[str, str]:
        service = self.inventory.services.get(key)
        return service.created if service is not None else "", key

    async def _work(self, key: str) -> Outcome:
        if not self.leading:
            return Done()
        kind, _, rest = key.partition(":")
        match kind:
            case "service":
                return await self._reconciler.service(rest)
            case "release":
                return await self._addresses.release(rest)
            case "rerank":
                return await self._addresses.rerank(rest)
            case "memory":
                return await self._addresses.remember(rest)
            case "answers":  # a stranger had it; who wants it now asks again
                self.claims.taken.silent(rest)
                self.touch(Touched(services=frozenset(self.inventory.pending)))
                return Done()
            case _:  # "foreign": an address of another installation may be free again
                self.claims.taken.open(rest)
                self.touch(Touched(services=frozenset(self.inventory.pending), idle=frozenset({rest})))
                return Done()

    def _shown(self, service: Service) -> None:
        seen = self._first_seen.pop(service.key, None)
        if seen is not None:
            self.metrics.to_address.observe(asyncio.get_running_loop().time() - seen)

    async def _settled(self) -> None:
        """Everything that a configuration touched was written (order of writes, contracts.md)."""
        await self.queue.settled()

    # ------------------------------------------------------------------ life

    async def run(self, elector_leads: Callable[[], Any]) -> None:
        """Until cancelled. `elector_leads()` answers True when leading begins and False when it ends."""
        async with asyncio.TaskGroup() as group:
            for reflector, handle in self._reflectors:
                group.create_task(reflector.run(handle))
            group.create_task(self._service_networks.run(self._on_service_network))
            group.create_task(self._segments.run())
            group.create_task(self.configurator.watch())
            group.create_task(self.queue.run())
            group.create_task(self._follow(elector_leads, group))

    async def _follow(self, elector_leads: Callable[[], Any], group: asyncio.TaskGroup) -> None:
        beginning: asyncio.Task[None] | None = None
        while True:
            leads = await elector_leads()
            if beginning is not None:  # it may wait for views or answers that come when another leads
                beginning.cancel()
                await asyncio.wait([beginning])
                beginning = None
            if leads:
                beginning = group.create_task(self._begin())
            else:
                self.leading = False
                self.claims.spread.end()
                self.metrics.leading.set(0)
                self.configurator.stop()
                self.queue.clear()
                logs.log("not-leading")

    async def _begin(self) -> None:
        """Every claim and every status is taken before any pending Service is served (contracts.md)."""
        for reflector, _ in self._reflectors:
            await reflector.wait_synced()
        await self._service_networks.wait_synced()  # or an address of theirs could be given out
        await self.configurator.begin()
        inventory = self.inventory
        taken, lost = adopt(
            inventory.claims.values(),
            (s for s in inventory.services.values() if inventory.is_ours(s)),
            inventory.configuration.reservations,
            inventory.occupied(),
        )
        self.claims.replace_taken(taken)
        for one in lost:
            logs.warn("address-lost", service=one.service, address=one.address, why=one.reason.explain())
        self.claims.spread.begin()
        self.leading = True
        self.metrics.leading.set(1)
        logs.log("leading", claims=len(inventory.claims), services=len(inventory.services))
        for vip in inventory.claims.values():
            if vip.phase == "releasing":
                self.queue.add_later(f"release:{vip.address}", 1.0)
            elif vip.phase in IDLE_PHASES:
                self.queue.add(f"memory:{vip.address}")
            else:
                self.queue.add(f"rerank:{vip.address}")
        for reservation in inventory.configuration.reservations:
            for address in reservation.addresses:
                self.queue.add(f"memory:{address}")
        assigned = [s for s in inventory.services.values() if s.ingress or inventory.held(s.key)]
        for service in sorted(assigned, key=lambda service: (service.created, service.key)):
            self.queue.add(f"service:{service.key}", first=True)
        for key in inventory.orphans():
            self.queue.add(f"service:{key}", first=True)
        await self.queue.idle()
        for service in sorted(
            inventory.services.values(), key=lambda service: (service.created, service.key)
        ):
            self.queue.add(f"service:{service.key}")

    @property
    def synced(self) -> bool:
        return all(reflector.synced for reflector, _ in self._reflectors) and self.configurator.synced


def live_nodes(speakers: Iterable[Pod]) -> frozenset[str]:
    """Nodes with a ready speaker; when none is ready, those with any.

    After an outage of the API server Kubernetes may call every Pod of every node not ready for half a minute.
    That all speakers died at once is less likely, and believing it would take every L2 address off the wire.
    """
    pods = tuple(speakers)
    return frozenset(pod.node for pod in pods if pod.ready) or frozenset(pod.node for pod in pods)


def relevant_service(raw: Raw) -> Service | None:
    """LoadBalancers, and what was one of ours until its type changed: its status is still to be cleared."""
    service = decode.service(raw)
    return service if service.type == "LoadBalancer" or is_marked(service) else None


def now() -> datetime:
    return datetime.now(UTC)
