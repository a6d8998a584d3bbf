"""python -m bench statuses: what 500 speakers with 10,000 Services write into Kubernetes, by simulation.

In:  the product's own Announcer, Record, Status and EventRecorder for one node, on a clock that jumps, and an
     API server in memory (tests/fakeapi.py) whose requests are counted. All nodes are alike (policy Cluster),
     so the writes of one are laid over each other for all.
Out: requests and bytes a second: in the steady state, at a rolling restart, when one advertisement changes.
The pace at which routes are confirmed is a parameter, measured by `python -m bench bgp`.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final

import msgspec
from rich.console import Console

from bench import aims
from bench.aims import Line
from bench.virtual import run
from metalbgp.cluster.events import EventRecorder
from metalbgp.cluster.resources import Resource
from metalbgp.model.addresses import range_from_text
from metalbgp.model.configuration import BGPAdvertisement, Configuration, Peer, Pool
from metalbgp.model.report import REPORTED_EVERY
from metalbgp.model.services import Node
from metalbgp.model.virtualips import Holder, VirtualIP
from metalbgp.speaker.agent import intents, owners, uids
from metalbgp.speaker.announcer import Announcer, Changes
from metalbgp.speaker.record import Record
from metalbgp.speaker.status import INTENTS, PACE, Status
from tests.fakeapi import FakeClient

NODES: Final = 500
SERVICES: Final = 10_000
RATE: Final = 1000.0  # routes a second that a node's routers confirm
RESTART: Final = 5.0  # seconds from one speaker's restart to the next one's (maxUnavailable: 1)
SPACE: Final = "metallb-system"
Write = tuple[float, str, int]  # when, the resource, bytes of the request's body


class Counted(FakeClient):
    """Every request that is to change something, also one that is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Write] = []

    def _note(self, resource: Resource, body: Mapping[str, Any]) -> None:
        size = len(msgspec.json.encode(body))
        self.log.append((asyncio.get_running_loop().time(), resource.plural, size))

    async def create(self, resource: Resource, body: Mapping[str, Any], namespace: str = "") -> bytes:
        self._note(resource, body)
        return await super().create(resource, body, namespace)

    async def patch(
        self, resource: Resource, name: str, body: Mapping[str, Any], namespace: str = "", **options: Any
    ) -> bytes:
        self._note(resource, body)
        return await super().patch(resource, name, body, namespace, **options)

    async def delete(self, resource: Resource, name: str, namespace: str = "", **options: Any) -> None:
        self._note(resource, {})
        await super().delete(resource, name, namespace, **options)


class Speaker:
    """One life of one node's agent: what it wants is confirmed at RATE."""

    def __init__(self, client: Counted, services: int, pod: str) -> None:
        self._client, self._services = client, services
        self.announcer, self.record = Announcer(), Record("node-1")
        self._changed = asyncio.Event()
        self._unconfirmed: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        recorder = EventRecorder(client, "metallb-speaker", instance="node-1", clock=loop.time)
        reflex: Any = SimpleNamespace(state={"realtime": "fifo"}, owned={}, counters={})
        agent: Any = SimpleNamespace(announcer=self.announcer, reflex=reflex)
        status = Status(
            client,
            recorder.emit,
            node="node-1",
            pod=pod,
            pod_uid=f"uid-{pod}",
            namespace=SPACE,
            installation=SPACE,
            report=lambda: self.record.report(
                self.announcer,
                reflex,
                loop.time(),
                pod=pod,
                version="1",
                updated=f"{loop.time()}",
                ready=True,
            ),
            intents=lambda: intents(agent),
            owners=lambda: owners(agent),
            mistakes=tuple,
            warnings=tuple,
            uids=lambda: uids(agent),
            now=lambda: f"{loop.time()}",
        )
        self._tasks = [
            asyncio.create_task(status.run(self._changed, asyncio.Event())),
            asyncio.create_task(recorder.run()),
            asyncio.create_task(self._confirm()),
        ]
        self.announcer.set_node(Node(name="node-1", uid="uid-node-1", addresses=("192.0.2.11",)))
        for number in range(services):
            self.announcer.set_vip(*vip(number))
        self._tell(self.announcer.set_configuration(configuration(1)))
        for peer in self.announcer.neighbors:
            self.record.session(
                {"peer": peer.address, "state": "Established", "since": 0.0, "families": ["ipv4"]}
            )
        self._changed.set()

    def advertise(self, sequence: int, *communities: tuple[int, int]) -> None:
        self._tell(self.announcer.set_configuration(configuration(sequence, *communities)))

    def add(self, number: int) -> None:
        self._tell(self.announcer.set_vip(*vip(number)))

    def _tell(self, changes: Changes) -> None:
        for peer, prefix, attributes in changes.wants:
            self.record.want(peer, prefix, attributes)
            self.record.route(peer, prefix, "wanted", asyncio.get_running_loop().time())
            self._unconfirmed.put_nowait((peer, prefix))
        self._changed.set()

    async def _confirm(self) -> None:
        while True:
            key = await self._unconfirmed.get()
            await asyncio.sleep(1 / RATE)
            self.record.route(*key, "confirmed", asyncio.get_running_loop().time())
            self._changed.set()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def vip(number: int) -> tuple[str, VirtualIP]:
    address = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
    holder = Holder(uid=f"uid-{number}", bgp=("all",), serving=True, ports=("TCP/80",))
    return address, VirtualIP(address, "pool", configuration=1, holders={f"shop/service-{number}": holder})


def configuration(sequence: int, *communities: tuple[int, int]) -> Configuration:
    return Configuration(
        installation=SPACE,
        sequence=sequence,
        pools=(Pool("pool", (range_from_text("10.0.0.0-10.255.255.255"),)),),
        peers=tuple(Peer(f"tor-{n}", 65001, f"192.0.2.{n}", peer_asn=65100) for n in (1, 2)),
        bgp_advertisements=(BGPAdvertisement("all", ("pool",), communities=communities),),
    )


class Life(msgspec.Struct):
    """What one node wrote in each of the situations; times count from what caused it."""

    steady: list[Write]
    advertisement: list[Write]
    service: list[Write]
    restart: list[Write]


async def life(services: int) -> Life:
    client = Counted()
    quiet = services * 2 / RATE + 60

    async def seen(cause: Callable[[], Any], seconds: float = quiet) -> list[Write]:
        client.log.clear()
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        cause()
        await asyncio.sleep(seconds)
        return [(when - began, resource, size) for when, resource, size in client.log]

    one = Speaker(client, services, "speaker-a")
    await asyncio.sleep(quiet)
    steady = await seen(lambda: None, 3600)
    advertisement = await seen(lambda: one.advertise(2, (65001, 77)))
    service = await seen(lambda: one.add(services))
    await one.end()
    lives: list[Speaker] = []
    restart = await seen(lambda: lives.append(Speaker(client, services + 1, "speaker-b")))
    await lives[0].end()
    return Life(steady=steady, advertisement=advertisement, service=service, restart=restart)


def laid_over(writes: list[Write], starts: list[float]) -> Iterator[tuple[float, int]]:
    for start in starts:
        for when, _, size in writes:
            yield start + when, size


def busiest(writes: list[Write], starts: list[float]) -> tuple[int, float]:
    """Requests and KiB of the fullest second; they need not be the same second."""
    requests: Counter[int] = Counter()
    volume: Counter[int] = Counter()
    for when, size in laid_over(writes, starts):
        requests[int(when)] += 1
        volume[int(when)] += size
    return max(requests.values(), default=0), max(volume.values(), default=0) / 1024


def lines(found: Life, services: int) -> list[Line]:
    chance = random.Random(1)  # noqa: S311 - the moments at which a watch tells 500 nodes
    together = [chance.uniform(0, 1) for _ in range(NODES)]
    rolling = [number * RESTART for number in range(NODES)]
    most = NODES / PACE  # contracts.md: a NodeState at most every 5 s
    size = max((size for _, kind, size in found.restart if kind == "nodestates"), default=0) / 1024
    (a_writes, a_bytes), (s_writes, s_bytes) = (
        busiest(writes, together) for writes in (found.advertisement, found.service)
    )
    r_writes, r_bytes = busiest(found.restart, rolling)
    kinds = Counter(kind for _, kind, _ in found.restart)
    what = f"{NODES} nodes, {services:,} Services"
    return [
        Line(f"{what}: steady state, an hour: requests a node", len(found.steady), "", 3600 / REPORTED_EVERY),
        Line("the largest NodeState", size, "KiB", 64),
        Line("an advertisement changes: requests a node", len(found.advertisement), ""),
        Line(
            "… NodeStates a second over the first 30 s, all nodes", _mean(found.advertisement, 30), "/s", most
        ),
        Line("… requests in the busiest second", a_writes, "/s"),
        Line("… bytes in the busiest second", a_bytes, "KiB/s"),
        Line("a Service more: requests a node", len(found.service), ""),
        Line("… requests in the busiest second", s_writes, "/s"),
        Line("… bytes in the busiest second", s_bytes, "KiB/s"),
        Line(f"a rolling restart, a node every {RESTART:g} s: requests a node", len(found.restart), ""),
        *(Line(f"… {kind}", count, "") for kind, count in sorted(kinds.items())),
        Line("… requests a second, all the time", len(found.restart) / RESTART, "/s", most),
        Line("… requests in the busiest second", r_writes, "/s"),
        Line("… bytes in the busiest second", r_bytes, "KiB/s"),
    ]


def _mean(writes: list[Write], seconds: float) -> float:
    states = sum(kind == "nodestates" and when <= seconds for when, kind, _ in writes)
    return states * NODES / seconds


def main(console: Console) -> int:
    good = True
    for services in (SERVICES, INTENTS // 2):
        seen = lines(run(life(services)), services)
        good = aims.show(console, f"status traffic with {services:,} Services", seen) and good
    return 0 if good else 1
