"""metallb.io objects → one SpeakerConfiguration, the passwords' Secret, and what each object is told.

In:  views of the configuration kinds and of basic-auth Secrets; the queue's "everything touched is written".
Out: the SpeakerConfiguration, in the order that withdraws nothing both ends keep: what is new is added, then
     the VirtualIPs follow, then what is old is removed (contracts.md, order of writes).
Elsewhere: validation and last-good are config/compile.py; pool counters are pools.py.
"""

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import structs

from metalbgp import logs
from metalbgp.cluster import decode
from metalbgp.cluster.client import Client
from metalbgp.cluster.configuration_state import ConfigurationState
from metalbgp.cluster.errors import AlreadyExists, ClusterError, NotFound
from metalbgp.cluster.reflector import Broken, Changed, Reflector, Removed
from metalbgp.cluster.resources import SECRETS, SPEAKER_CONFIGURATIONS
from metalbgp.config import compiled, objects
from metalbgp.config.compile import compile as compile_objects
from metalbgp.controller.claims import Claims
from metalbgp.controller.metrics import ControllerMetrics, PoolUse
from metalbgp.controller.pools import PoolCounters
from metalbgp.controller.tell import KINDS, Tell
from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import Touched
from metalbgp.model.configuration import Configuration

SECRET: Final = "metalbgp-speaker"  # noqa: S105  # a name
COALESCE = 0.25  # seconds; a first change goes at once, those that follow it wait so long together
SETTLE = 10.0  # seconds that removals wait for VirtualIPs which cannot be written


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
        self._inventory, self._tell = inventory, tell
        self._namespace = namespace
        self._ignore_exclude_label = ignore_exclude_label
        self._touched, self._settled = touched, settled
        self._pools = PoolCounters(fenced, inventory, claims, namespace)
        self._state = ConfigurationState(
            fenced,
            namespace,
            "controller",
            condition="poolReconcilerValid",
            labels={"metallb.io/component-type": "controller"},
        )
        self._objects: dict[tuple[str, str], Any] = {}  # (kind, name) → object of config/objects.py
        self._secrets: dict[str, decode.Secret] = {}
        self._due = asyncio.Event()
        self._leading = False
        self._written: Configuration | None = None  # what the SpeakerConfiguration holds
        self._passwords: dict[str, bytes] | None = None  # what the Secret holds
        self._views: list[tuple[Reflector[Any], Callable[[Any], None]]] = [
            (
                Reflector(client, resource, objects.READERS[kind], namespace=namespace),
                self._handler(kind),
            )
            for kind, resource in KINDS.items()
        ]
        self._views.append(
            (
                Reflector(
                    client,
                    SECRETS,
                    decode.secret,
                    namespace=namespace,
                    field_selector="type=kubernetes.io/basic-auth",
                ),
                self._on_secret,
            )
        )
        self._views.append(
            (
                Reflector(
                    client,
                    SPEAKER_CONFIGURATIONS,
                    compiled.decode,
                    namespace=namespace,
                    field_selector=f"metadata.name={inventory.configuration.installation}",
                ),
                self._on_speaker_configuration,
            )
        )

    # ------------------------------------------------------------------ views

    def _handler(self, kind: str) -> Callable[[Any], None]:
        def handle(event: Any) -> None:
            match event:
                case Changed(new=found):
                    self._objects[kind, found.metadata.name] = found
                case Removed(key=key):
                    self._objects.pop((kind, key.rpartition("/")[2]), None)
                case Broken(key=key, error=error):
                    # The schema was changed or bypassed; the last good version stays, as for any invalid one.
                    logs.error("unreadable-object", kind=kind, key=key, error=error)
                    return
                case _:
                    return
            self._due.set()

        return handle

    def _on_secret(self, event: Any) -> None:
        match event:
            case Changed(new=secret):
                self._secrets[secret.name] = secret
            case Removed(key=key):
                self._secrets.pop(key.rpartition("/")[2], None)
            case _:
                return
        self._due.set()

    def _on_speaker_configuration(self, event: Any) -> None:
        """Edited or deleted by other hands: written again. Our own writes come back equal."""
        found = event.new if isinstance(event, Changed) else None
        if not isinstance(event, Changed | Removed) or self._written is None:
            return
        if found != self._written and (found is None or found.sequence >= self._written.sequence):
            logs.warn("speaker-configuration-edited", by="other hands", deleted=found is None)
            self._written = None if found is None else found
            self._due.set()

    @property
    def synced(self) -> bool:
        return all(reflector.synced for reflector, _ in self._views)

    async def watch(self) -> None:
        """Keep the views and, while leading, the SpeakerConfiguration, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector, handle in self._views:
                group.create_task(reflector.run(handle))
            group.create_task(self._follow())
            group.create_task(self._pools.run())

    # ------------------------------------------------------------------ leading

    async def begin(self) -> None:
        """Before any Service is served: read what is in force, compile, write."""
        for reflector, _ in self._views:
            await reflector.wait_synced()
        while True:
            try:
                await self._read_written()
                self._leading = True
                await self._configure(first=True)
                break
            except ClusterError as error:
                logs.warn("configuration-failed", error=str(error))
                await asyncio.sleep(1.0)
        self._pools.leading = True
        self.count_pools_soon()

    def stop(self) -> None:
        self._leading = self._pools.leading = False

    async def _read_written(self) -> None:
        """The last good of every object stands in the SpeakerConfiguration; our counter goes on from it."""
        installation = self._inventory.configuration.installation
        try:
            self._written = compiled.decode(
                await self._client.get(SPEAKER_CONFIGURATIONS, installation, self._namespace)
            )
        except NotFound:
            self._written = None
        planned = max((vip.configuration for vip in self._inventory.claims.values()), default=0)
        in_force = self._written or Configuration(installation=installation)
        self._inventory.configuration = structs.replace(in_force, sequence=max(in_force.sequence, planned))
        try:
            held = decode.secret(await self._client.get(SECRETS, SECRET, self._namespace))
            self._passwords = dict(held.data)
        except NotFound:
            self._passwords = None

    async def _follow(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            if self._leading:
                try:
                    await self._configure()
                except ClusterError as error:
                    logs.warn("configuration-failed", error=str(error))
                    self._due.set()
                    await asyncio.sleep(1.0)
            await asyncio.sleep(COALESCE)

    async def _configure(self, *, first: bool = False) -> None:
        before = self._inventory.configuration
        result = compile_objects(
            objects.gather(list(self._objects.values())),
            before,
            ignore_exclude_label=self._ignore_exclude_label,
        )
        await self._write_passwords()
        wanted = structs.replace(result.configuration, sequence=before.sequence)
        if wanted != before or self._written is None:
            wanted = structs.replace(wanted, sequence=before.sequence + 1)
            await self._write(bridge(wanted, self._written or before))
            self._touched(self._inventory.configure(wanted))
            logs.log("configured", sequence=wanted.sequence)
        if self._written != wanted:
            if first:  # nothing is served yet, so nothing can have settled: the next pass removes
                self._due.set()
            else:
                await self._remove_old(wanted)
        self.metrics.config_loaded.set(1)
        self.metrics.config_stale.set(float(bool(result.invalid)))
        self._tell.configuration(result.invalid, result.not_in_force, self._uid)
        await self._state.write(one.explain() for one in result.invalid)
        self.count_pools_soon()

    async def _remove_old(self, wanted: Configuration) -> None:
        """What VirtualIPs named before goes only after they were all written anew."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled(), SETTLE)
        last = structs.replace(wanted, sequence=wanted.sequence + 1)
        await self._write(last)
        self._inventory.configuration = last

    def _uid(self, kind: str, name: str) -> str:
        found = self._objects.get((kind, name))
        return found.metadata.uid if found is not None else ""

    async def _write(self, configuration: Configuration) -> None:
        """A merge patch from what stands there; defaults are left out, so what vanished must be named."""
        name = configuration.installation
        before, self._written = self._written, configuration  # the watch may show it before the answer comes
        patch = None if before is None else compiled.merge_patch(before, configuration)
        try:
            if before is None:
                body = compiled.encode(configuration, self._namespace)
                await self._fenced.create(SPEAKER_CONFIGURATIONS, body, self._namespace)
            elif patch is not None:
                await self._fenced.patch(SPEAKER_CONFIGURATIONS, name, patch, self._namespace)
        except (NotFound, AlreadyExists):
            await self._read_written()  # the next pass begins with what is really there
            raise
        except ClusterError:
            self._written = None  # whether it was written is unknown
            raise

    def _resolved(self, peer: objects.BGPPeer) -> bytes:
        """The peer's password, b"" when it has none or its Secret does not (yet) exist."""
        if peer.spec.password:
            return peer.spec.password.encode()
        reference = peer.spec.password_secret
        secret = self._secrets.get(reference.name or "") if reference is not None else None
        return secret.data.get("password", b"") if secret is not None else b""

    async def _write_passwords(self) -> None:
        """Resolved BGP passwords for the speakers, in the one Secret that they may read."""
        wanted: dict[str, bytes] = {}
        for (kind, name), peer in self._objects.items():
            if kind == "BGPPeer" and (word := self._resolved(peer)):
                wanted[f"peer.{name}"] = word
        if wanted == self._passwords:
            return
        data: dict[str, str | None] = dict.fromkeys((self._passwords or {}).keys() - wanted.keys())
        data |= {key: base64.b64encode(word).decode() for key, word in wanted.items()}
        body = {"metadata": {"name": SECRET}, "type": "Opaque", "data": data}
        try:
            await self._fenced.patch(SECRETS, SECRET, body, self._namespace)
        except NotFound:
            await self._fenced.create(SECRETS, body, self._namespace)
        self._passwords = wanted
        logs.log("passwords-written", peers=sorted(key.removeprefix("peer.") for key in wanted))

    # ------------------------------------------------------------------ pools

    def count_pools_soon(self) -> None:
        self._pools.due()

    def pool_use(self) -> tuple[PoolUse, ...]:
        return self._pools.use()


def bridge(wanted: Configuration, before: Configuration) -> Configuration:
    """`wanted`, and behind it what VirtualIPs planned with `before` still name."""
    pools = {pool.name: pool.ranges for pool in wanted.pools}
    bgp = {one.name for one in wanted.bgp_advertisements}
    l2 = {one.name for one in wanted.l2_advertisements}
    return structs.replace(
        wanted,
        pools=wanted.pools + tuple(one for one in before.pools if pools.get(one.name) != one.ranges),
        bgp_advertisements=wanted.bgp_advertisements
        + tuple(one for one in before.bgp_advertisements if one.name not in bgp),
        l2_advertisements=wanted.l2_advertisements
        + tuple(one for one in before.l2_advertisements if one.name not in l2),
    )
