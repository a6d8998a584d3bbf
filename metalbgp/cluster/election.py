"""Who may write: a Lease, and a deadline that is asked before every write.

    elector = Elector(client, namespace, "metalbgp-controller", identity)
    task = asyncio.create_task(elector.run())          # until cancelled; then the Lease is given back
    view = elector.view(); view.run(elector.heard)     # optional: looks at once when another writes the Lease
    writer = client.behind(elector.fence)              # each write: NotLeading, or so many seconds at most

In:  an (unguarded) Client, a name, and CLOCK_BOOTTIME, which goes on while a process or machine is paused.
Out: may_write(), fence(), and on_change(leading) when leadership begins or is seen to have ended.

The law: our right ends `renew` seconds after the last successful renewal was SENT. Another may take the Lease
only after it watched it unchanged for the whole `duration`, beginning when it received it. Since duration is
longer than renew and each measures on a clock of its own, the rights of two never overlap; a write that
is already on its way is bounded by the fence's answer. (What a pause between check and send could still do is
harmless: every write is a claim or a compare-and-swap.)
Elsewhere: what leadership saves is only wasted work; one address is kept from two Services by its VirtualIP.
"""

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from metalbgp import logs
from metalbgp.clocks import clock
from metalbgp.cluster.backoff import Random
from metalbgp.cluster.client import MERGE_PATCH, Client
from metalbgp.cluster.decode import Lease, LeaseSpec, lease
from metalbgp.cluster.errors import AlreadyExists, ClusterError, Conflict, NotFound, NotLeading
from metalbgp.cluster.reflector import Changed, Event, Reflector, Removed
from metalbgp.cluster.resources import LEASES

Now = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def micro_time(moment: datetime) -> str:
    """RFC 3339 with microseconds, in UTC (meta/v1 MicroTime)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Elector:
    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,  # unique per process: a Pod's name and something random
        *,
        duration: float = 15.0,
        renew: float = 10.0,
        retry: float = 2.0,
        on_change: Callable[[bool], None] = lambda leading: None,
        clock: Callable[[], float] = clock,
        now: Now = utc_now,
        rand: Random = random.random,
    ) -> None:
        if not duration > renew > retry > 0:
            raise ValueError(f"duration {duration} > renew {renew} > retry {retry} > 0 must hold")
        self.identity = identity
        self.holder = ""  # who holds the Lease, as last seen
        self.transitions = 0
        self.trouble = ""  # words of the last failed attempt
        self._client = client
        self._namespace = namespace
        self._name = name
        self._duration = duration
        self._renew = renew
        self._retry = retry
        self._on_change = on_change
        self._clock = clock
        self._now = now
        self._random = rand
        self._deadline = float("-inf")
        self._leading = False  # what on_change was told last
        self._seen: Lease | None = None
        self._last_version = ""
        self._seen_at = float("-inf")  # when the Lease was first seen in its present version
        self._news = asyncio.Event()  # another wrote the Lease, or it is gone

    # ------------------------------------------------------------------ the right

    def may_write(self) -> bool:
        return self._clock() < self._deadline

    def fence(self) -> float:
        """Seconds for which writing is allowed; raises NotLeading. Ask immediately before each write."""
        left = self._deadline - self._clock()
        if left <= 0:
            holder = self.holder if self.holder != self.identity else ""
            raise NotLeading(f"lease {self._namespace}/{self._name}", f"held by {holder or 'nobody in time'}")
        return left

    # ------------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Acquire and renew until cancelled, then give the Lease back: cancel the writers before."""
        try:
            while True:
                self._news.clear()
                await self.attempt()
                self._tell()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._news.wait()
        finally:
            await self._release()
            self._tell()

    def _pause(self) -> float:
        if self._leading:
            return self._retry
        # Followers look at the Lease a little apart from each other, and when it is due.
        apart = 0.2 * self._retry * self._random()
        due = self._seen_at + self._duration - self._clock()
        return (due + apart / 4) if 0 < due < self._retry else self._retry + apart

    def view(self) -> Reflector[Lease]:
        """Of the Lease alone, for `heard`. Without the right to watch, or any news, run() looks by itself."""
        name = f"metadata.name={self._name}"
        return Reflector(
            self._client, LEASES, lease, namespace=self._namespace, field_selector=name, optional=True
        )

    def heard(self, event: Event[Lease]) -> None:
        """Only ever a reason to look: what a watch tells may be older than what we wrote ourselves."""
        match event:
            case Changed(new=found) if found.spec.holder_identity != self.identity:
                self._news.set()
            case Removed():
                self._news.set()

    async def attempt(self) -> None:
        """One try to renew or acquire, bounded in time: a renewal that hangs must leave room for the next."""
        try:
            async with asyncio.timeout(self._renew / 3):
                await self._try()
            self.trouble = ""
        except Conflict:
            self._seen = None  # somebody else wrote it: look before the next try
        except AlreadyExists:
            self._seen = None
        except (ClusterError, TimeoutError) as error:
            self._seen = None
            self.trouble = str(error) or "no answer in time"
            logs.warn("lease-attempt-failed", lease=self._name, error=self.trouble)

    async def _try(self) -> None:
        seen = self._seen
        if seen is None or seen.spec.holder_identity != self.identity:
            try:
                seen = self._look(lease(await self._send("GET")))
            except NotFound:
                await self._take(None)
                return
        if seen.spec.holder_identity == self.identity or self._is_free(seen.spec):
            await self._take(seen)

    def _look(self, found: Lease) -> Lease:
        """Note what the Lease is. Its age is counted from when WE first saw this version of it."""
        if self._last_version != found.metadata.resource_version:
            self._seen_at = self._clock()
            self._last_version = found.metadata.resource_version
        self._seen = found
        self.holder = found.spec.holder_identity or ""
        self.transitions = found.spec.lease_transitions or 0
        if self.holder != self.identity:
            self._deadline = float("-inf")
        return found

    def _is_free(self, spec: LeaseSpec) -> bool:
        if not spec.holder_identity:
            return True
        return self._clock() > self._seen_at + (spec.lease_duration_seconds or self._duration)

    async def _take(self, seen: Lease | None) -> None:
        """Create, renew or take over. Only a success moves the deadline, counted from before it was sent."""
        stamp = micro_time(self._now())
        spec: dict[str, Any] = {"holderIdentity": self.identity, "renewTime": stamp}
        ours = seen is not None and seen.spec.holder_identity == self.identity
        if not ours:
            before = (seen.spec.lease_transitions or 0) if seen is not None else -1
            spec |= {"acquireTime": stamp, "leaseTransitions": before + 1}
        spec["leaseDurationSeconds"] = math.ceil(self._duration)  # whole seconds, never fewer than we promise
        sent = self._clock()
        if seen is None:
            answer = await self._send("POST", {"metadata": {"name": self._name}, "spec": spec})
        else:
            metadata = {"resourceVersion": seen.metadata.resource_version}
            answer = await self._send("PATCH", {"metadata": metadata, "spec": spec})
        self._look(lease(answer))
        self._deadline = sent + self._renew

    async def _release(self) -> None:
        """Stop writing, then let the next one begin at once instead of after the whole duration."""
        seen, self._deadline = self._seen, float("-inf")
        if seen is None or seen.spec.holder_identity != self.identity:
            return
        body = {
            "metadata": {"resourceVersion": seen.metadata.resource_version},
            "spec": {"holderIdentity": None, "renewTime": micro_time(self._now())},
        }
        try:
            async with asyncio.timeout(self._retry):
                await self._send("PATCH", body)
            self.holder = ""
        except (ClusterError, TimeoutError) as error:
            logs.warn("lease-not-released", lease=self._name, error=str(error))

    async def _send(self, method: str, body: dict[str, Any] | None = None) -> bytes:
        name = "" if method == "POST" else self._name
        if method == "POST":
            body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, **(body or {})}
        return await self._client.call(
            method,
            LEASES.path(self._namespace, name),
            body,
            what=LEASES.words(self._namespace, self._name),
            content_type=MERGE_PATCH if method == "PATCH" else "application/json",
            urgent=True,
            timeout=self._renew / 3,
        )

    def _tell(self) -> None:
        leading = self.may_write()
        if leading != self._leading:
            self._leading = leading
            logs.log("leading" if leading else "not-leading", lease=self._name, holder=self.holder)
            self._on_change(leading)
