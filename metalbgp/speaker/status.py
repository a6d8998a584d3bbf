"""What a speaker writes into the cluster: its NodeState, and the intent that MetalLB's users look for.

In:  the agent's announcer and record, woken by its `changed`.
Out: NodeState (at most every 5 s, at least every 5 minutes),
     ServiceBGPStatus and ServiceL2Status (on changes of intent only, up to INTENTS objects a node).
Elsewhere: what the fields mean is model/report.py; the truth per route stays on the parent's socket.

Names are made from what they speak of, so that two runs write the same object: no generateName, no leftovers.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from metalbgp import logs
from metalbgp.cluster.client import Client
from metalbgp.cluster.configuration_state import ConfigurationState
from metalbgp.cluster.errors import AlreadyExists, ClusterError, NotFound
from metalbgp.cluster.resources import (
    NODE_STATES,
    SERVICE_BGP_STATUSES,
    SERVICE_L2_STATUSES,
    SERVICES,
    Reference,
    Resource,
)
from metalbgp.config import nodestate
from metalbgp.model.reasons import Reason
from metalbgp.model.report import REPORTED_EVERY, NodeReport

PACE = 5.0  # seconds between two NodeStates (contracts.md)
SETTLE = 0.3  # a change rarely comes alone: wait for what belongs to it, or the next pace tells the rest
INTENTS = (
    200  # ServiceBGPStatus and ServiceL2Status objects a node writes at most; beyond it none, and said so
)

Intent = tuple[str, str]  # ("bgp" or "layer2", service namespace/name)
Detail = tuple[str, ...]  # sorted peers, or interfaces


class _Interface(msgspec.Struct, frozen=True):
    name: str = ""


class _StandingStatus(msgspec.Struct, frozen=True):
    service: str = msgspec.field(default="", name="serviceName")
    namespace: str = msgspec.field(default="", name="serviceNamespace")
    peers: tuple[str, ...] = ()
    interfaces: tuple[_Interface, ...] = ()


class _Owner(msgspec.Struct, frozen=True):
    uid: str = ""


class _StandingMeta(msgspec.Struct, frozen=True):
    name: str = ""
    owners: tuple[_Owner, ...] = msgspec.field(default=(), name="ownerReferences")


class _Standing(msgspec.Struct, frozen=True):
    metadata: _StandingMeta = _StandingMeta()
    status: _StandingStatus = _StandingStatus()


class Status:
    def __init__(
        self,
        client: Client,
        emit: Callable[[Reference, str, str, str], None],
        *,
        node: str,
        pod: str,
        pod_uid: str,
        namespace: str,
        installation: str,
        report: Callable[[], NodeReport],
        intents: Callable[[], Mapping[Intent, Detail]],
        owners: Callable[[], list[dict[str, str]]],  # the Node: states of a node that is gone go as well
        mistakes: Callable[[], Iterable[str]],  # of the configuration, as this node sees it
        uids: Callable[[], Mapping[str, str]],  # of the Services behind the addresses, by namespace/name
        warnings: Callable[
            [], Iterable[tuple[Reference, Reason]]
        ],  # of objects that this node cannot do justice to
        now: Callable[[], str],
    ) -> None:
        self._client = client
        self._emit = emit
        self._node, self._pod, self._pod_uid, self._namespace = node, pod, pod_uid, namespace
        self._installation = installation
        self._report, self._intents, self._uids, self._now = report, intents, uids, now
        self._mistakes, self._owners, self._warnings = mistakes, owners, warnings
        self._owner: dict[str, str] | None = None  # of the NodeState, as last written
        self._warned: set[tuple[Reference, str]] = set()
        self._state = ConfigurationState(
            client,
            namespace,
            f"speaker-{node}",
            condition="configReconcilerValid",
            labels={"metallb.io/component-type": "speaker", "metallb.io/node-name": label(node)},
            owners=owners,
        )
        self._written: NodeReport | None = None
        self._written_at = 0.0
        self._standing: dict[Intent, Detail] = {}  # what the objects say
        self._orphans: set[Intent] = set()  # of them, those that would go with a Pod before ours
        self._announced: dict[Intent, str] = {}  # and the uid of its Service; "": not known
        self._silenced = False

    async def run(self, changed: asyncio.Event, urgent: asyncio.Event) -> None:
        """Until cancelled. A write that fails is tried again with the next pace; `urgent` ends a pause."""
        known = False
        while True:
            await _pause(REPORTED_EVERY, changed)
            await _pause(SETTLE, urgent)
            changed.clear()
            urgent.clear()
            try:
                if not known:
                    await self._read_standing()
                    # Said by the life before us: an event is for a change, not for a restart.
                    self._announced = dict.fromkeys(self._standing, "")
                    known = True
                self._warn()
                await self._write_report()
                await self._state.write(self._mistakes())
                await self._write_intents()
            except ClusterError as error:
                logs.warn("status-failed", error=str(error))
                changed.set()
            await _pause(PACE, urgent)

    def _warn(self) -> None:
        """An event when something begins; how much it is, is in the NodeState."""
        now = {(reference, why.name): why for reference, why in self._warnings()}
        for (reference, name), why in now.items():
            if (reference, name) not in self._warned:
                text = f"node {self._node}: {why.explain()}; {why.remedy()}"
                self._emit(reference, "Warning", name, text)
        self._warned = set(now)

    async def _write_report(self) -> None:
        report, owner = self._report(), next(iter(self._owners()), None)
        fresh = owner if owner != self._owner else None  # the state of a Node that is gone went with it
        told = self._written is not None and _timeless(report) == _timeless(self._written)
        if told and fresh is None and not self._stale():
            return
        try:
            patch = nodestate.merge_patch(report, fresh)
            await self._client.patch(NODE_STATES, self._node, patch, self._namespace)
        except NotFound:
            body = nodestate.encode(report, self._namespace, self._installation, owner)
            await self._client.create(NODE_STATES, body, self._namespace)
        self._owner, self._written, self._written_at = owner, report, asyncio.get_running_loop().time()

    def _stale(self) -> bool:
        return asyncio.get_running_loop().time() - self._written_at >= REPORTED_EVERY

    async def _read_standing(self) -> None:
        """What an earlier life of this agent wrote: it is removed unless it is still meant."""
        for resource, protocol in ((SERVICE_BGP_STATUSES, "bgp"), (SERVICE_L2_STATUSES, "layer2")):
            pages = self._client.list_pages(
                resource, self._namespace, label_selector=f"metallb.io/node={label(self._node)}"
            )
            async for page in pages:
                for item in page.items or ():
                    try:
                        found = msgspec.json.decode(item, type=_Standing)
                    except msgspec.MsgspecError:
                        continue  # other hands wrote it; it goes with our Pod
                    self._found(protocol, found)

    def _found(self, protocol: str, found: _Standing) -> None:
        status = found.status
        intent = protocol, f"{status.namespace}/{status.service}"
        if not status.service or not status.namespace or found.metadata.name != self._object(intent)[1]:
            return
        self._standing[intent] = status.peers or tuple(one.name for one in status.interfaces)
        if [owner.uid for owner in found.metadata.owners] != ([self._pod_uid] if self._pod_uid else []):
            self._orphans.add(intent)

    async def _write_intents(self) -> None:
        """Only what differs from what stands; nothing at all beyond the limit."""
        wanted = dict(self._intents())
        uids = self._uids()
        announced = {one: uids.get(one[1]) or self._announced.get(one, "") for one in wanted}
        fresh = sorted(intent for intent in wanted if self._is_news(intent, announced[intent]))
        if len(fresh) <= INTENTS:  # beyond it a restart finds nothing standing, and none of them is news
            for protocol, service in fresh:
                self._say(protocol, service, announced[protocol, service])
        self._announced = announced
        if len(wanted) > INTENTS:
            if not self._silenced:
                logs.warn("intents-off", wanted=len(wanted), limit=INTENTS, see="metalbgp routes")
            self._silenced = True
            wanted = {}
        else:
            self._silenced = False
        for intent in self._standing.keys() - wanted.keys():
            await self._remove(intent)
            del self._standing[intent]
            self._orphans.discard(intent)
        for intent, detail in wanted.items():
            if self._standing.get(intent) != detail or intent in self._orphans:
                await self._put(intent, detail)
                self._standing[intent] = detail
                self._orphans.discard(intent)

    def _is_news(self, intent: Intent, uid: str) -> bool:
        """It was not announced, or was for another Service of that name."""
        before = self._announced.get(intent)
        return before is None or (bool(before) and before != uid)

    async def _put(self, intent: Intent, detail: Detail) -> None:
        protocol, service = intent
        resource, name = self._object(intent)
        namespace, _, short = service.partition("/")
        labels = {
            "metallb.io/node": label(self._node),
            "metallb.io/service-name": label(short),
            "metallb.io/service-namespace": label(namespace),
        }
        meta: dict[str, Any] = {"name": name, "labels": labels}
        if self._pod_uid:
            meta["ownerReferences"] = [
                {"apiVersion": "v1", "kind": "Pod", "name": self._pod, "uid": self._pod_uid}
            ]
        status: dict[str, Any] = {
            "node": self._node,
            "serviceName": short,
            "serviceNamespace": namespace,
        }
        if protocol == "bgp":
            status["peers"] = list(detail)
        else:
            status["interfaces"] = [{"name": interface} for interface in detail]
        stands = self._standing.get(intent)
        if stands is not None and intent in self._orphans:
            try:
                await self._client.patch(resource, name, {"metadata": meta}, self._namespace)
            except NotFound:
                stands = None  # it went with its Pod meanwhile
        if stands is None:
            try:
                await self._client.create(resource, {"metadata": meta, "spec": {}}, self._namespace)
            except AlreadyExists:
                await self._client.patch(resource, name, {"metadata": meta}, self._namespace)
        if stands != detail:
            body = {"status": status}
            try:
                await self._client.patch(resource, name, body, self._namespace, subresource="status")
            except NotFound:
                self._standing.pop(intent, None)  # other hands removed it: the next pass makes it again
                raise

    async def _remove(self, intent: Intent) -> None:
        resource, name = self._object(intent)
        try:
            await self._client.delete(resource, name, self._namespace)
        except NotFound:
            return

    def _object(self, intent: Intent) -> tuple[Resource, str]:
        protocol, service = intent
        # A digest keeps the name legal and unique whatever the lengths; the labels are for people.
        digest = hashlib.sha256(f"{self._node} {service}".encode()).hexdigest()[:16]
        if protocol == "bgp":
            return SERVICE_BGP_STATUSES, f"bgp-{digest}"
        return SERVICE_L2_STATUSES, f"l2-{digest}"

    def _say(self, protocol: str, service: str, uid: str) -> None:
        """The event that users know, once per change instead of once per pass."""
        namespace, _, name = service.partition("/")
        words = f'announcing from node "{self._node}" with protocol "{protocol}"'
        self._emit(Reference(SERVICES, name, namespace, uid), "Normal", "nodeAssigned", words)


async def _pause(seconds: float, end: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await end.wait()


def _timeless(report: NodeReport) -> NodeReport:
    """What is worth a write."""
    return msgspec.structs.replace(report, updated="", heard="")


def label(text: str) -> str:
    """A label value has at most 63 characters; a longer name is cut (the status has it whole)."""
    return text[:63].rstrip("-._")
