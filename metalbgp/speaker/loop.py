"""The agent's loop: watch what this node shall announce, tell parent and reflex, hear what became of it.

In:  VirtualIPs, the SpeakerConfiguration, the own Node and its Pods, one Secret, orders (views.py); no more.
Out: differences to the parent (routes) and the reflex (L2 duties); statuses, metrics, health.
Elsewhere: what is wanted is announcer.py; what became of it is record.py; objects are status.py.

It may die at any moment: the parent keeps routes and sessions, the reflex keeps answering, and the journal
that opens the next connection says where the parent stands. Until the views are complete nothing is said,
so a speaker that knows nothing withdraws nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from math import inf
from typing import Any

import msgspec
from msgspec import structs

from metalbgp import logs
from metalbgp.cluster.client import Client
from metalbgp.cluster.reflector import Changed, Reflector, Removed
from metalbgp.cluster.trouble import tell_trouble
from metalbgp.model.configuration import Peer
from metalbgp.model.orders import Order
from metalbgp.model.report import ProbeReport
from metalbgp.reflex.client import May, ReflexClient
from metalbgp.speaker.announcer import Announcer, Changes
from metalbgp.speaker.around import Around
from metalbgp.speaker.doubt import Doubt
from metalbgp.speaker.fencing import Fencing
from metalbgp.speaker.guard import Guard, Want, limits
from metalbgp.speaker.link import ParentLink
from metalbgp.speaker.metrics import SpeakerMetrics
from metalbgp.speaker.order_book import OrderBook
from metalbgp.speaker.record import PROBLEM_AGE, Record, probe_reports
from metalbgp.speaker.snapshot import Snapshots
from metalbgp.speaker.views import Options, Views

COMPANY = 1.0  # seconds that the orders may come later than all other views
PATIENCE = 5.0  # seconds for the API server to answer before the snapshot of the last run is used


class Agent:
    def __init__(self, client: Client, options: Options) -> None:
        self._options = options
        self.announcer = Announcer(time.monotonic)
        self.guard = Guard(self.announcer.silent)
        self.guard.set_free(self._meant, 0.0)
        self.record = Record(options.node, self.guard)
        self.metrics = SpeakerMetrics(self.snapshot_for_metrics)
        self.link = ParentLink(options.run_dir / "parent.sock", self._on_parent)
        self.reflex = ReflexClient(
            options.run_dir / "reflex.sock",
            on_conflict=self._on_conflict,
            on_state=self._on_reflex,
            on_owned=self._on_owned,
            on_wants=self._on_wants,
        )
        self.fencing = Fencing(
            client, options.namespace, options.node, self.reflex.fence, lambda: self.reflex.fenced
        )
        self.changed = asyncio.Event()  # statuses are due
        self.urgent = asyncio.Event()  # ... and somebody waits for them
        self.probes: tuple[ProbeReport, ...] = ()
        self.speaking = False  # the views are complete, or the snapshot stands in for them
        self._stood_in = False  # it does, or did
        self._last_life = -inf  # when the API server was heard of which the snapshot tells; time.monotonic()
        self._configured = asyncio.Event()
        self._duties_due = asyncio.Event()
        self.snapshots = Snapshots(
            options.run_dir / "snapshot.json", options.node, options.installation, options.snapshot_limit
        )
        self.snapshots.holding = self.guard.all_held
        self._doubt = Doubt(self._drop)
        self._later: asyncio.TimerHandle | None = None  # when some address begins or ends to be announced
        self._limited: tuple[Peer, ...] | None = None  # whose limits the guard has
        self._asked: dict[tuple[str, str], float] = {}  # route → when its change was asked for
        views = Views(client, options)
        self.vips = views.vips
        self._decisive: tuple[Reflector[Any], ...] = (views.vips, views.configuration)
        self._views: tuple[tuple[Reflector[Any], Callable[[Any], None]], ...] = (
            (views.vips, self._on_vip),
            (views.configuration, self._on_configuration),
            (views.node, self._on_node),
            (views.secret, self._on_secret),
        )
        self.orders, self.pods = views.orders, views.pods  # which speaking does not wait for
        self.book = OrderBook(self._on_orders)
        self.around = Around(
            client,
            options.namespace,
            lambda: self.announcer.draining.active,
            lambda nodes, reports: self._tell(self.announcer.set_others(nodes, reports)),
        )

    # ------------------------------------------------------------------ views

    def _on_vip(self, event: Any) -> None:
        match event:
            case Changed(new=vip):
                self._doubt.back(vip.address)
                self._tell(self.announcer.set_vip(vip.address, vip))
            case Removed(old=vip) if vip is not None:
                self._doubt.vanished(vip)
            case _:
                tell_trouble(event, self.metrics.update_errors)

    def _drop(self, address: str) -> None:
        self._tell(self.announcer.set_vip(address, None))

    def _on_configuration(self, event: Any) -> None:
        match event:
            case Changed(new=configuration):
                logs.log("configuration", sequence=configuration.sequence, peers=len(configuration.peers))
                self.metrics.config_loaded.set(1)
                self._configured.set()
                self._tell(self.announcer.set_configuration(configuration))
            case Removed():
                logs.warn("configuration-deleted", keeps="the last one")
            case _:
                tell_trouble(event, self.metrics.update_errors)

    def _on_node(self, event: Any) -> None:
        match event:
            case Changed(old=old, new=node):
                if old is None or msgspec.structs.replace(old, uid=node.uid) != node:
                    self._tell(self.announcer.set_node(node))
            case Removed():
                logs.warn("node-deleted", keeps="the last one")
            case _:
                tell_trouble(event, self.metrics.update_errors)

    def _on_secret(self, event: Any) -> None:
        match event:
            case Changed(new=found):
                if found.heartbeat_key != self.announcer.heartbeat_key:
                    logs.log("heartbeat-key", known=bool(found.heartbeat_key))
                    self.announcer.heartbeat_key = found.heartbeat_key
                    self._duties_due.set()
                    self.snapshots.due()
                self._tell(self.announcer.set_passwords(found.passwords))
            case Removed():
                logs.warn("secret-deleted", keeps="the last passwords and the last heartbeat key")
            case _:
                tell_trouble(event, self.metrics.update_errors)

    def _on_orders(self, known: tuple[Order, ...]) -> None:
        before = self.announcer.orders
        self._tell(self.announcer.set_orders(known, time.time()), said=True)
        if self.speaking:
            now = time.monotonic()
            self._want(self.guard.set_free(self._meant, now), now)
        if self.announcer.orders != before:
            self.urgent.set()  # somebody looks whether he is obeyed

    def _meant(self, key: str) -> bool:
        """Whether this session's withdrawals are a person's wish: released, shut, or the node leaves (which
        takes no last next hop away)."""
        orders, name = self.announcer.orders, self.announcer.peer_name(key)
        return self.announcer.draining.active or name in orders.releases or name in orders.shuts

    def _on_order(self, event: Any) -> None:
        if not self.book.event(event):
            tell_trouble(event, self.metrics.update_errors)

    def _on_pod(self, event: Any) -> None:
        match event:
            case Changed(key=key, new=pod):
                self._tell_pods(self.announcer.set_pod(key, pod))
            case Removed(key=key):
                self._tell_pods(self.announcer.set_pod(key, None))
            case _:
                tell_trouble(event, self.metrics.update_errors)

    def _tell_pods(self, changes: Changes) -> None:
        """Most Pods of a node are behind no Service of ours: nothing follows, and nothing is written."""
        if changes != Changes():
            self._tell(changes)
        else:
            self._arm()

    # ------------------------------------------------------------------ telling

    def _tell(self, changes: Changes, *, said: bool = False) -> None:
        """`said`: a person ordered it."""
        self.metrics.updates.inc()
        if not self.speaking:
            return
        self.around.due()
        if changes.neighbors is not None:
            made = [msgspec.to_builtins(one) for one in changes.neighbors]
            self.link.neighbors(made, self.announcer.farewells)
        now = time.monotonic()
        if self._limited is not self.announcer.peers:
            self._limited = self.announcer.peers
            self._want(self.guard.set_limits(limits(self._limited), now), now)
        if self.link.connected:  # else the journal that opens the connection begins anew
            self._want(self.guard.judge(changes.wants, now, said=said), now)
            self._want(self.guard.silenced(changes.silenced, now), now)
        if changes.duties or changes.probes:
            self._duties_due.set()
        self.changed.set()
        self.snapshots.due()
        self._arm()

    def _want(self, wants: list[Want], now: float) -> None:
        for peer, prefix, attributes in wants:
            if attributes is None:
                self._asked.pop((peer, prefix), None)
            else:
                self._asked[peer, prefix] = now
            self.record.want(peer, prefix, attributes)
        self.link.want(
            (peer, prefix, None if attributes is None else msgspec.to_builtins(attributes))
            for peer, prefix, attributes in wants
        )

    def _arm(self) -> None:
        if self._later is not None:
            self._later.cancel()
        deadline = self.announcer.deadline
        loop = asyncio.get_running_loop()  # its time is the announcer's clock
        self._later = (
            None if deadline is None else loop.call_at(deadline, lambda: self._tell(self.announcer.due()))
        )

    async def _keep_duties(self) -> None:
        """The reflex is told the full set; its client sends the differences."""
        while True:
            await self._duties_due.wait()
            self._duties_due.clear()
            if not self.speaking:
                continue
            key = self.announcer.heartbeat_key
            await self.reflex.set_identity(self._options.node, [key] if key else [])
            await self.reflex.set_duties(
                {
                    one.address: May(one.interfaces, one.candidates, one.revertive, one.fenced, one.declined)
                    for one in self.announcer.table.duties(declined=True)
                }
            )
            await self.reflex.set_probes(
                {one.address: (one.interfaces, one.uid) for one in self.announcer.table.probes()}
            )

    def _on_wants(self, addresses: frozenset[str]) -> None:
        """Fenced addresses that this node would answer for, had it their Leases."""
        self.fencing.wants(addresses)

    def _on_owned(self) -> None:
        """This node came to answer for addresses, or does so no more."""
        self.changed.set()

    def _on_parent(self, message: dict[str, Any]) -> None:
        """The journal first, then what changes in it."""
        if "journal" in message:
            self.record.journal(message["journal"])
            if self.speaking:
                self._settle()
        if "orders" in message:
            self.book.local(msgspec.convert(message["orders"], list[Order]))
        for route in message.get("routes", ()):
            self.record.route(*route)
            asked = self._asked.pop((route[0], route[1]), None) if route[2] == "confirmed" else None
            if asked is not None:
                self.metrics.to_wire.observe(time.monotonic() - asked)
        if "session" in message:
            self.record.session(message["session"])
        if "problem" in message:
            self.record.problem(message["problem"], time.monotonic())
            asyncio.get_running_loop().call_later(PROBLEM_AGE + 1.0, self.changed.set)  # it is gone by then
        if "exabgp" in message:
            self.record.child(message["exabgp"])
        self.changed.set()

    def _settle(self) -> None:
        """Compare everything wanted with what the parent was told, and say the difference."""
        told = self.record.told()
        self.guard.standing(told, self.announcer.wanted().keys(), time.monotonic())
        self._tell(self.announcer.against_journal(told, whole=not self.from_snapshot))
        self.link.synced()

    def _on_conflict(self, conflict: dict[str, Any]) -> None:
        logs.warn("address-conflict", **conflict)
        self.changed.set()

    def _on_reflex(self, state: dict[str, Any]) -> None:
        """A Service waits for what a probe found: it is written without the usual pause."""
        found = probe_reports(state)
        if found != self.probes:
            for one in found:
                if one.done and one not in self.probes:
                    logs.log("probed", address=one.address, mac=one.mac, on=one.interface, failed=one.failed)
            self.probes = found
            self.changed.set()
            self.urgent.set()

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        self.reflex.start()
        self.snapshots.look()
        self.announcer.pods.remember(self.snapshots.ended())
        self.guard.remember(self.snapshots.held())
        async with asyncio.TaskGroup() as group:
            for reflector, handle in self._views:
                group.create_task(reflector.run(handle))
            group.create_task(self.orders.run(self._on_order))
            group.create_task(self.pods.run(self._on_pod))
            group.create_task(self.around.run())
            group.create_task(self.link.run())
            group.create_task(self._begin())
            group.create_task(self._keep_duties())
            group.create_task(self.fencing.run())
            group.create_task(self.snapshots.keep(self.announcer, lambda: self.view_age, self.changed.set))

    async def _begin(self) -> None:
        """Speak once the views are complete, or once the API server had its time and a snapshot stands in."""
        synced = asyncio.gather(*(reflector.wait_synced() for reflector, _ in self._views))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(synced)
                await self.orders.wait_synced()
        self.book.remember(self.snapshots.orders())
        if not self.synced and self.snapshots.restore(self.announcer, vips=not self.vips.synced):
            self._last_life = time.monotonic() - self.snapshots.age
            self._stood_in = True
            logs.warn("from-snapshot", age=round(self.snapshots.age), why="the API server does not answer")
            self._speak()
        await synced
        self.snapshots.forget()
        self.announcer.pods.remember(())
        known = {vip.address for vip in self.vips.values.values()}
        for address in self.announcer.vips.keys() - known:
            if address not in self._doubt:  # the snapshot knew it, the API server does not
                self._doubt.vanished(self.announcer.vips[address])
        await self._configured.wait()  # before a controller wrote one, nothing can be announced
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMPANY):
                await self.orders.wait_synced()  # what is held must not be announced for a moment
                await self.pods.wait_synced()  # and what was remembered of them may be over
        await self.around.first()
        self._speak()

    def _speak(self) -> None:
        if not self.speaking:
            self.speaking = self.announcer.patience.started = True
            logs.log("speaking", addresses=len(self.announcer.vips))
        self._settle()
        self._duties_due.set()

    @property
    def synced(self) -> bool:
        return all(reflector.synced for reflector, _ in self._views)

    @property
    def from_snapshot(self) -> bool:
        """Whether what is announced was known before the start, and nobody has said that it still holds."""
        return self._stood_in and not all(one.synced for one in self._decisive)

    @property
    def view_age(self) -> float:
        """Seconds since the API server was last heard: by this process, or by the one before it whose
        snapshot speaks. Infinite: nothing is known at all."""
        return min(self.vips.age, time.monotonic() - self._last_life) if self.from_snapshot else self.vips.age

    def ready(self) -> str:
        """What is missing; "" when configuration and child are there (a router may be down)."""
        if self.announcer.configuration is None:
            return "no SpeakerConfiguration yet: does a controller run?"
        if not self.speaking:
            return "the views are not complete yet"
        if not self.link.connected:
            return "no connection to the parent"
        return "" if self.record.child_runs else "ExaBGP does not run"

    def blind(self) -> tuple[str, ...]:
        """What is not seen of this node's Pods, if anything."""
        if self.pods.lists or not self.pods.trouble:
            return ()
        return (f"own Pods are not watched, so none is missed: {self.pods.trouble}",)

    async def ask_reflex(self) -> None:
        """Fresh counters for a scrape; without a reflex the last ones stay."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            await self.reflex.ask()

    def snapshot_for_metrics(self) -> Any:
        found = self.record.snapshot(self.announcer, self.reflex, self.view_age)
        refused, unwritten = self.snapshots.refused, self.snapshots.unwritten
        return structs.replace(
            found,
            own_pods=len(self.pods.values),
            from_snapshot=self.from_snapshot,
            snapshot_refused=refused.name if refused is not None else "",
            snapshot_unwritten=unwritten is not None,
        )
