"""Kubernetes Events: what users read with `kubectl describe`. They never disturb anything.

    recorder = EventRecorder(client, "metallb-controller", instance=pod_name)
    task = asyncio.create_task(recorder.run())
    recorder.emit(reference, "Warning", "AllocationFailed", "…")      # returns at once, never raises

In:  an object by reference, Normal or Warning, a reason (a stable word), a message (a sentence).
Out: core/v1 Events. The same words on the same object are one Event whose count grows, also across restarts
     (its name is made of them), and are sent at most once a `pace`; what cannot be sent is dropped.
Elsewhere: whether something is news at all is decided by the caller: on changes, never on passes.
The component names are the ones that users' habits and alerts know: metallb-controller, metallb-speaker.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from metalbgp import logs
from metalbgp.cluster.client import Client
from metalbgp.cluster.election import Now, micro_time, utc_now
from metalbgp.cluster.errors import AlreadyExists, NotFound
from metalbgp.cluster.resources import EVENTS, Reference
from metalbgp.model.reasons import Reason

LONGEST_REASON = 128  # core/v1 refuses longer ones
LONGEST_MESSAGE = 1024
REMEMBERED = 20_000  # words on objects, so that repeats are known as such


Later = Callable[[float, Callable[[], None]], object]  # after so many seconds, do


class _Told(Struct):
    """What was said of an object, and what is still to be sent of it."""

    reference: Reference
    type: str
    reason: str
    message: str
    name: str
    first: str
    count: int = 0  # as far as we know; 0 also when another life of this process said it before
    unsent: int = 0
    sent_at: float = float("-inf")
    scheduled: bool = False


class _Counted(Struct):
    count: int | None = None


class EventRecorder:
    def __init__(
        self,
        client: Client,
        component: str,
        *,
        instance: str = "",
        pace: float = 60.0,  # seconds between two writes about the same words
        waiting: int = 2000,
        workers: int = 2,  # few: events must not stand in the way of addresses
        clock: Callable[[], float] = time.monotonic,
        now: Now = utc_now,
        later: Later = lambda seconds, do: asyncio.get_running_loop().call_later(seconds, do),
    ) -> None:
        self.dropped = 0
        self._client = client
        self._component = component
        self._instance = instance
        self._pace = pace
        self._workers = workers
        self._clock = clock
        self._now = now
        self._later = later
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._queue: asyncio.Queue[_Told] = asyncio.Queue(waiting)

    def emit(self, reference: Reference, type_: str, reason: str, message: str) -> None:
        """Say it, soon. A repeat within the pace is only counted, and sent with the next one."""
        key = "\0".join(
            (
                reference.resource.kind,
                reference.namespace,
                reference.name,
                reference.uid,
                type_,
                reason,
                message,
            )
        )
        told = self._told.get(key)
        if told is None:
            digest = hashlib.sha256(key.encode()).hexdigest()[:16]
            told = self._told[key] = _Told(
                reference=reference,
                type=type_,
                reason=reason[:LONGEST_REASON],
                message=message[:LONGEST_MESSAGE],
                name=f"{reference.name[:200]}.{digest}",
                first=self._stamp(),
            )
        self._told.move_to_end(key)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        told.unsent += 1
        wait = told.sent_at + self._pace - self._clock()
        if wait <= 0:
            self._enqueue(told)
        elif not told.scheduled:  # said a moment ago: this and what follows goes out as one
            told.scheduled = True
            self._later(wait, lambda: self._enqueue(told))

    def explain(self, reference: Reference, type_: str, reason: Reason) -> None:
        """The class name is the Event's reason, its words and remedy the message."""
        remedy = reason.remedy()
        words = f"{reason.explain()}. Remedy: {remedy}" if remedy else reason.explain()
        self.emit(reference, type_, reason.name, words)

    def _enqueue(self, told: _Told) -> None:
        told.scheduled = False
        try:
            self._queue.put_nowait(told)
            told.sent_at = self._clock()
        except asyncio.QueueFull:
            self._drop(told, "too many are waiting")

    # ------------------------------------------------------------------ sending

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            told = await self._queue.get()
            try:
                await self._send(told)
            except Exception as error:  # whatever it is, an Event is not worth a disturbance
                self._drop(told, str(error))
            finally:
                self._queue.task_done()

    async def drain(self) -> None:
        """Until nothing waits any more (at the end of a command, in tests)."""
        await self._queue.join()

    async def _send(self, told: _Told) -> None:
        news, told.unsent = told.unsent, 0
        namespace = told.reference.namespace or "default"  # where core/v1 wants those of cluster-wide objects
        if told.count == 0:
            try:
                await self._client.create(EVENTS, self._event(told, namespace, news), namespace)
                told.count = news
                return
            except AlreadyExists:
                raw = await self._client.get(EVENTS, told.name, namespace)
                told.count = msgspec.json.decode(raw, type=_Counted).count or 1
        body = {"count": told.count + news, "lastTimestamp": self._stamp()}
        try:
            await self._client.patch(EVENTS, told.name, body, namespace)
            told.count += news
        except NotFound:  # events live for an hour only
            told.first = self._stamp()
            await self._client.create(EVENTS, self._event(told, namespace, news), namespace)
            told.count = news

    def _event(self, told: _Told, namespace: str, count: int) -> dict[str, Any]:
        about = told.reference
        involved = {
            "apiVersion": about.resource.api_version,
            "kind": about.resource.kind,
            "name": about.name,
            "namespace": about.namespace,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        }
        return {
            "metadata": {"name": told.name, "namespace": namespace},
            "involvedObject": {key: value for key, value in involved.items() if value},
            "type": told.type,
            "reason": told.reason,
            "message": told.message,
            "count": count,
            "firstTimestamp": told.first,
            "lastTimestamp": self._stamp(),
            "source": {"component": self._component} | ({"host": self._instance} if self._instance else {}),
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }

    def _stamp(self) -> str:
        return micro_time(self._now())[:19] + "Z"  # meta/v1 Time has whole seconds

    def _drop(self, told: _Told, why: str) -> None:
        self.dropped += 1
        logs.debug("event-dropped", object=told.reference.name, reason=told.reason, why=why)
