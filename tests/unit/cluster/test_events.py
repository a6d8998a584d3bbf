"""Events say what changed, once, and never disturb anything."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from metalbgp.cluster.client import Client
from metalbgp.cluster.events import EventRecorder
from metalbgp.cluster.resources import NODES, SERVICES, Reference
from metalbgp.model.reasons import NoPools
from tests.unit.cluster.misbehaving import Act, Server, answer, refuse

WEB = Reference(SERVICES, "web", "default", "u1", "7")
NOON = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)


class Time:
    def __init__(self) -> None:
        self.now = 1000.0
        self.due: list[Callable[[], None]] = []

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        self.due.append(do)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        due, self.due = self.due, []
        for do in due:
            do()


@asynccontextmanager
async def recorder(server: Server, time: Time, *script: Act, **options: Any) -> AsyncIterator[EventRecorder]:
    await server.start(*script)
    async with Client(server.access) as client:
        made = EventRecorder(
            client,
            "metallb-controller",
            instance="pod-1",
            clock=lambda: time.now,
            now=lambda: NOON,
            later=time.later,
            **options,
        )
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_an_event_has_what_kubectl_describe_shows(server: Server) -> None:
    async with recorder(server, Time(), answer(201)) as events:
        events.emit(WEB, "Normal", "IPAllocated", 'Assigned IP ["192.0.2.1"]')
        await events.drain()
    (asked,) = server.requests
    assert (asked.method, asked.path) == ("POST", "/api/v1/namespaces/default/events")
    body = asked.body
    assert body["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "name": "web",
        "namespace": "default",
        "uid": "u1",
        "resourceVersion": "7",
    }
    assert (body["type"], body["reason"]) == ("Normal", "IPAllocated")
    assert body["source"] == {"component": "metallb-controller", "host": "pod-1"}
    assert body["firstTimestamp"] == body["lastTimestamp"] == "2026-11-25T12:00:00Z"


async def test_a_repeat_is_a_count_and_only_after_a_while(server: Server) -> None:
    time = Time()
    async with recorder(server, time, answer(201), answer(200)) as events:
        for _ in range(5):
            events.emit(WEB, "Warning", "AllocationFailed", "no pool")
            await events.drain()
        assert len(server.requests) == 1
        time.passes(61)
        await events.drain()
    patch = server.requests[1]
    assert (patch.method, patch.body["count"]) == ("PATCH", 5)
    assert patch.path.endswith(server.requests[0].body["metadata"]["name"])


async def test_a_repeat_after_a_restart_counts_on(server: Server) -> None:
    script = (refuse(409, "AlreadyExists"), answer(200, {"count": 3}), answer(200))
    async with recorder(server, Time(), *script) as events:
        events.emit(WEB, "Warning", "AllocationFailed", "no pool")
        await events.drain()
    assert [asked.method for asked in server.requests] == ["POST", "GET", "PATCH"]
    assert server.requests[2].body["count"] == 4


async def test_an_event_that_expired_is_written_again(server: Server) -> None:
    time = Time()
    async with recorder(server, time, answer(201), refuse(404, "NotFound"), answer(201)) as events:
        events.emit(WEB, "Warning", "AllocationFailed", "no pool")
        await events.drain()
        time.passes(7200)
        events.emit(WEB, "Warning", "AllocationFailed", "no pool")
        await events.drain()
    assert [asked.method for asked in server.requests] == ["POST", "PATCH", "POST"]
    assert server.requests[2].body["count"] == 1


async def test_other_words_are_another_event(server: Server) -> None:
    async with recorder(server, Time(), answer(201), answer(201)) as events:
        events.emit(WEB, "Warning", "AllocationFailed", "no pool")
        events.emit(WEB, "Warning", "AllocationFailed", "pool a is full")
        await events.drain()
    assert len({asked.body["metadata"]["name"] for asked in server.requests}) == 2


async def test_an_event_that_cannot_be_written_disturbs_nothing(server: Server) -> None:
    script = (refuse(403, "Forbidden"), answer(409, "<html>"), answer(201))
    async with recorder(server, Time(), *script) as events:
        for words in ("one", "two", "three"):
            events.emit(WEB, "Normal", "Said", words)
            await events.drain()
        assert events.dropped == 2
    assert len(server.requests) == 3


async def test_a_flood_is_dropped_not_kept(server: Server) -> None:
    async with recorder(server, Time(), waiting=3) as events:
        for number in range(10):
            events.emit(WEB, "Normal", "Said", str(number))
        assert events.dropped == 7


async def test_long_words_are_cut_to_what_kubernetes_takes(server: Server) -> None:
    async with recorder(server, Time(), answer(201)) as events:
        events.emit(WEB, "Normal", "R" * 500, "m" * 5000)
        await events.drain()
    assert len(server.requests[0].body["reason"]) == 128
    assert len(server.requests[0].body["message"]) == 1024


async def test_a_reason_brings_its_name_words_and_remedy_and_a_node_goes_to_default(server: Server) -> None:
    async with recorder(server, Time(), answer(201)) as events:
        events.explain(Reference(NODES, "n1"), "Warning", NoPools())
        await events.drain()
    (asked,) = server.requests
    assert asked.path == "/api/v1/namespaces/default/events"
    assert asked.body["reason"] == "NoPools"
    assert asked.body["message"].startswith("there is no IPAddressPool yet. Remedy: kubectl apply")
