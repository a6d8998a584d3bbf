"""metallb.io objects → one SpeakerConfiguration, the speakers' Secret, and what each object is told.

In:  views of the configuration kinds; the queue's "everything touched is written".
Out: the SpeakerConfiguration, in the order that withdraws nothing both ends keep: what is new is added, then
     the VirtualIPs follow, then what is old is removed (contracts.md, order of writes).
Elsewhere: validation and last-good are config/compile.py; speaker_secret.py; pool counters are pools.py.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw, structs

from metalbgp import logs
from metalbgp.cluster.client import Client
from metalbgp.cluster.configuration_state import ConfigurationState
from metalbgp.cluster.errors import ClusterError, NotFound, Refused
from metalbgp.cluster.reflector import Broken, Changed, Reflector, Removed, Synced
from metalbgp.cluster.resources import SPEAKER_CONFIGURATIONS
from metalbgp.config import compiled, jsonpatch, objects
from metalbgp.config.admit import Scene
from metalbgp.config.compile import compile as compile_objects
from metalbgp.controller.claims import Claims
from metalbgp.controller.metrics import ControllerMetrics, PoolUse
from metalbgp.controller.pools import PoolCounters
from metalbgp.controller.speaker_secret import SpeakerSecret
from metalbgp.controller.tell import KINDS, Tell
from metalbgp.controller.verdicts import Verdicts
from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import Touched
from metalbgp.model.configuration import Configuration
from metalbgp.model.names import OURS, PART_OF
from metalbgp.model.reasons import Invalid

COALESCE: Final = 0.25  # seconds; a first change goes at once, those that follow it wait so long together
COALESCE_AT_MOST: Final = 2.0  # ... and ever longer while they go on: kubectl needs half a minute for 1,000
AGAIN: Final = 1.0  # seconds before the next try of a pass that failed, doubled up to AGAIN_AT_MOST
AGAIN_AT_MOST: Final = 8.0
STATE_AGAIN: Final = 30.0  # seconds before a ConfigurationState that could not be written is tried again
SETTLE: Final = 10.0  # seconds that removals wait for VirtualIPs which cannot be written


class Configurator:
    metrics: ControllerMetrics  # set by the controller, whose metrics ask us for the pools

    def __init__(
        self,
        client: Client,
        fenced: Client,
        inventory: Inventory,
        claims: Claims,
        tell: Tell,
        *,
        namespace: str,
        ignore_exclude_label: bool,
        touched: Callable[[Touched], None],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        self._client, self._fenced = client, fenced
        self._inventory, self._tell, self._claims = inventory, tell, claims
        self._namespace = namespace
        self._ignore_exclude_label = ignore_exclude_label
        self._touched, self._settled = touched, settled
        self._pools = PoolCounters(fenced, inventory, claims, namespace)
        self._verdicts = Verdicts(fenced, inventory, claims, namespace)
        self._state = ConfigurationState(
            fenced,
            namespace,
            "controller",
            condition="poolReconcilerValid",
            labels={"metallb.io/component-type": "controller"},
        )
        self._objects: dict[tuple[str, str], Any] = {}  # (kind, name) → object of config/objects.py
        self._seen: Configuration | None = None  # the SpeakerConfiguration, as a replica that waits sees it
        self._due = asyncio.Event()
        self._passes = asyncio.Lock()  # a pass of an earlier term may not have ended when the next begins
        self._leading = False
        self._term = 0  # counts how often leading ended
        self._written: Configuration | None = (
            None  # what the SpeakerConfiguration holds; None: it is not there
        )
        self._version = 0  # its resourceVersion when we wrote or read it last
        self._rubble: dict[str, Any] | None = None  # its spec, when that cannot be read
        self._sure = False  # whether these are still so: not after a write without an answer, or an edit
        self._sending: Configuration | None = None  # its event may come before the answer to the write
        self._secret = SpeakerSecret(client, fenced, namespace, self._due.set)
        self._views: list[tuple[Reflector[Any], Callable[[Any], None]]] = [
            (
                Reflector(client, resource, self._reader(kind), namespace=namespace),
                self._handler(kind),
            )
            for kind, resource in KINDS.items()
        ]
        self._views += self._secret.views
        self._views.append(
            (
                Reflector(
                    client,
                    SPEAKER_CONFIGURATIONS,
                    compiled.decode_stored,
                    namespace=namespace,
                    field_selector=f"metadata.name={inventory.configuration.installation}",
                ),
                self._on_speaker_configuration,
            )
        )

    # ------------------------------------------------------------------ views

    def _reader(self, kind: str) -> Callable[[Raw], objects.AnyObject]:
        """Decodes what users wrote; what stands in the status concerns the verdicts alone."""
        read = objects.READERS[kind]

        def decode(data: Raw) -> objects.AnyObject:
            found = read(data)
            self._verdicts.seen(kind, found.metadata, data)
            return found

        return decode

    def _handler(self, kind: str) -> Callable[[Any], None]:
        def handle(event: Any) -> None:
            match event:
                case Changed(new=found):
                    self._objects[kind, found.metadata.name] = found
                case Removed(key=key):
                    self._objects.pop((kind, key.rpartition("/")[2]), None)
                    self._verdicts.gone(kind, key.rpartition("/")[2])
                case Broken(key=key, error=error):
                    # The schema was changed or bypassed; the last good version stays, as for any invalid one.
                    logs.error("unreadable-object", kind=kind, key=key, error=error)
                    return
                case _:
                    return
            self._due.set()

        return handle

    def _on_speaker_configuration(self, event: Any) -> None:
        """Edited or deleted by other hands: read and written again. Our own writes come back equal."""
        if isinstance(event, Changed | Removed):
            self._seen = event.new.configuration if isinstance(event, Changed) else None
        match event:
            case Changed(new=found):
                ours = int(found.resource_version or 0) <= self._version or found.configuration in (
                    self._written,
                    self._sending,
                )
            case Removed(old=found):
                ours = found is not None and int(found.resource_version or 0) < self._version
            case Broken() | Synced(went_back=True):  # restored: versions of before prove nothing any more
                ours = False
            case _:
                return
        if self._leading and not ours:
            if not isinstance(event, Synced):
                logs.warn("speaker-configuration-edited", by="other hands", how=type(event).__name__.lower())
            self._sure = False
            self._due.set()

    @property
    def synced(self) -> bool:
        return all(reflector.synced for reflector, _ in self._views)

    def scene(self) -> Scene:
        """What stands there and what is in force, for admission: on every replica, whoever leads."""
        own = self._inventory.configuration
        return Scene(
            namespace=self._namespace,
            others=frozenset(
                one.name
                for one in self._inventory.namespaces.values()
                if one.labels.get(PART_OF) == OURS and one.name != self._namespace
            ),
            objects=tuple(self._objects.values()),
            in_force=own if self._leading or self._seen is None else self._seen,
            ignore_exclude_label=self._ignore_exclude_label,
            secrets=self._secret.names,
        )

    async def watch(self) -> None:
        """Keep the views and, while leading, the SpeakerConfiguration, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector, handle in self._views:
                group.create_task(reflector.run(handle))
            group.create_task(self._follow())
            group.create_task(self._pools.run())
            group.create_task(self._verdicts.run())

    # ------------------------------------------------------------------ leading

    async def begin(self) -> None:
        """Before any Service is served: read what is in force, compile, write."""
        for reflector, _ in self._views:
            await reflector.wait_synced()
        async with self._passes:
            while not await self._begun():  # noqa: ASYNC110  # each turn asks the API server again
                await asyncio.sleep(AGAIN)
        self._leading = self._pools.leading = self._verdicts.leading = True
        self._due.set()  # what came meanwhile; and what VirtualIPs named before is still to be removed
        self.count_pools_soon()

    async def _begun(self) -> bool:
        """Whether Services may be served with what is in force now."""
        try:
            await self._take_over()
            await self._configure(first=True)
        except ClusterError as error:
            logs.warn("configuration-failed", error=str(error))
            # A new version that the API server does not take must not keep Services waiting: the last good
            # one is in force. Without one they wait, for to serve them from no pools would take all away.
            return isinstance(error, Refused) and self._written is not None
        return True

    def stop(self) -> None:
        self._leading = self._pools.leading = self._verdicts.leading = False
        self._term += 1

    async def _take_over(self) -> None:
        """The last good of every object stands in the SpeakerConfiguration; our counter goes on from it."""
        await self._read_written()
        planned = max((vip.configuration for vip in self._inventory.claims.values()), default=0)
        in_force = self._written or Configuration(installation=self._inventory.configuration.installation)
        self._inventory.configuration = structs.replace(in_force, sequence=max(in_force.sequence, planned))
        await self._secret.read()

    async def _read_written(self) -> None:
        """What stands in the cluster, whoever wrote it."""
        name = self._inventory.configuration.installation
        self._written, self._rubble = None, None
        try:
            answer = await self._client.get(SPEAKER_CONFIGURATIONS, name, self._namespace)
        except NotFound:
            self._sure = True
            return
        self._sure = True  # before the look at it: an edit that comes later makes it false again
        try:
            self._note(answer)
        except ValueError as error:  # other hands wrote what nobody can read; it is overwritten
            logs.error("speaker-configuration-unreadable", error=str(error))
            spec = msgspec.json.decode(answer).get("spec")
            self._rubble = spec if isinstance(spec, dict) else {}

    def _note(self, answer: bytes) -> None:
        stored = compiled.decode_stored(answer)
        self._written, self._version = stored.configuration, int(stored.resource_version or 0)

    async def _follow(self) -> None:
        pause, lull = AGAIN, COALESCE
        while True:
            await self._due.wait()
            self._due.clear()
            before = self._inventory.configuration
            try:
                async with self._passes:
                    if self._leading:
                        await self._configure()
                pause = AGAIN
            except ClusterError as error:
                logs.warn("configuration-failed", error=str(error), again_in=pause)
            except Exception as error:  # a bug that one object meets must not end the service to all others
                logs.exception("configuration-failed", error, again_in=pause)
            else:
                await asyncio.sleep(lull)
                # Our own words on the objects come back here as well: only what changed something is a burst.
                goes_on = self._due.is_set() and before != self._inventory.configuration
                lull = min(lull * 2, COALESCE_AT_MOST) if goes_on else COALESCE
                continue
            self._due.set()
            await asyncio.sleep(pause)
            pause = min(pause * 2, AGAIN_AT_MOST)

    async def _configure(self, *, first: bool = False) -> None:
        if not self._sure:
            await self._read_written()
        before = self._inventory.configuration
        result = compile_objects(
            objects.gather(list(self._objects.values())),
            before,
            ignore_exclude_label=self._ignore_exclude_label,
        )
        self._tell.configuration(result.invalid, result.not_in_force, self._uid)
        self._verdicts.judged(result.invalid, result.not_in_force)
        self.metrics.config_stale.set(float(bool(result.invalid)))
        await self._secret.write(
            {name: one for (kind, name), one in self._objects.items() if kind == "BGPPeer"},
            result.configuration.peers,
            before.peers,
        )
        wanted = structs.replace(result.configuration, sequence=before.sequence)
        if wanted != before or self._written is None:
            wanted = structs.replace(wanted, sequence=self._next(before))
            await self._write(bridge(wanted, before, *filter(None, [self._written])))
            self._claims.taken.reserve(wanted.reservations)  # before anybody asks for an address
            self._touched(self._inventory.configure(wanted))
            logs.log("configured", sequence=wanted.sequence)
        if (
            self._written != wanted and not first
        ):  # at first nothing is served yet, so nothing can have settled
            await self._remove_old(wanted)
        self.metrics.config_loaded.set(1)
        await self._write_state(result.invalid)
        self.count_pools_soon()

    def _next(self, before: Configuration) -> int:
        return 1 + max(before.sequence, self._written.sequence if self._written else 0)

    async def _remove_old(self, wanted: Configuration) -> None:
        """What VirtualIPs named before goes only after they were all written anew."""
        term = self._term
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE):  # Python 3.11's wait_for may swallow a cancellation
                await self._settled()
        if self._term != term:
            return  # nothing settled: the queue was emptied; who leads now removes
        last = structs.replace(wanted, sequence=self._next(wanted))
        await self._write(last)
        self._inventory.configuration = last

    async def _write_state(self, invalid: Iterable[Invalid]) -> None:
        """For people: that it cannot be written keeps no Service waiting."""
        try:
            await self._state.write(one.explain() for one in invalid)
        except ClusterError as error:
            logs.warn("configuration-state-failed", error=str(error), again_in=STATE_AGAIN)
            asyncio.get_running_loop().call_later(STATE_AGAIN, self._due.set)

    def _uid(self, kind: str, name: str) -> str:
        found = self._objects.get((kind, name))
        return found.metadata.uid if found is not None else ""

    async def _write(self, configuration: Configuration) -> None:
        """A merge patch from what stands there; defaults are left out, so what vanished must be named."""
        if self._rubble is not None:
            patch = jsonpatch.merge_patch({"spec": self._rubble}, {"spec": compiled.spec(configuration)})
        elif self._written is not None:
            patch = compiled.merge_patch(self._written, configuration)
        else:
            patch = compiled.encode(configuration, self._namespace)
        if patch is None:
            self._written = configuration
            return
        name, new = configuration.installation, self._written is None and self._rubble is None
        self._sending, self._sure = configuration, False  # without an answer it is unknown what stands there
        try:
            if new:
                answer = await self._fenced.create(SPEAKER_CONFIGURATIONS, patch, self._namespace)
            else:
                answer = await self._fenced.patch(SPEAKER_CONFIGURATIONS, name, patch, self._namespace)
        finally:
            self._sending = None
        self._sure = True
        self._note(answer)
        self._rubble = None

    # ------------------------------------------------------------------ pools

    def count_pools_soon(self) -> None:
        self._pools.due()
        self._verdicts.due()

    def pool_use(self) -> tuple[PoolUse, ...]:
        return self._pools.use()


def bridge(wanted: Configuration, *before: Configuration) -> Configuration:
    """`wanted`, and behind it what VirtualIPs planned with any of `before` still name."""
    for old in before:
        pools = {(pool.name, pool.ranges) for pool in wanted.pools}
        bgp = {one.name for one in wanted.bgp_advertisements}
        l2 = {one.name for one in wanted.l2_advertisements}
        wanted = structs.replace(
            wanted,
            pools=wanted.pools + tuple(one for one in old.pools if (one.name, one.ranges) not in pools),
            bgp_advertisements=wanted.bgp_advertisements
            + tuple(one for one in old.bgp_advertisements if one.name not in bgp),
            l2_advertisements=wanted.l2_advertisements
            + tuple(one for one in old.l2_advertisements if one.name not in l2),
        )
    return wanted
