"""The work queue: one key at a time, first things first, and nothing lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from metalbgp.controller.queue import Done, Outcome, Retry, WorkQueue


@asynccontextmanager
async def running(work: Callable[[str], Awaitable[Outcome]], workers: int = 4) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(work, workers)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_key_is_never_worked_on_twice_at_once_and_what_came_meanwhile_is_not_lost() -> None:
    inside: set[str] = set()
    turns: list[str] = []
    begun, gate = asyncio.Event(), asyncio.Event()

    async def work(key: str) -> Outcome:
        assert key not in inside
        inside.add(key)
        turns.append(key)
        begun.set()
        await gate.wait()
        inside.discard(key)
        return Done()

    async with running(work) as queue:
        queue.add("a")
        await begun.wait()
        queue.add("a")
        queue.add("a")
        gate.set()
        await queue.idle()
    assert turns == ["a", "a"]


async def test_first_keys_go_before_those_that_wait_longer() -> None:
    turns: list[str] = []

    async def work(key: str) -> Outcome:
        turns.append(key)
        return Done()

    async with running(work, workers=1) as queue:
        for key in ("pending-1", "pending-2"):
            queue.add(key)
        queue.add("claimed", first=True)
        await queue.idle()
    assert turns == ["claimed", "pending-1", "pending-2"]


async def test_a_key_that_failed_is_tried_again_and_a_bug_in_one_stops_no_other() -> None:
    tries: dict[str, int] = {}
    done = asyncio.Event()

    async def work(key: str) -> Outcome:
        tries[key] = tries.get(key, 0) + 1
        if key == "bug" and tries[key] == 1:
            raise RuntimeError("a bug")
        if key == "busy" and tries[key] < 3:
            return Retry(why="not yet")
        if tries.get("busy") == 3 and tries.get("bug") == 2:
            done.set()
        return Done()

    async with running(work, workers=1) as queue:
        for key in ("bug", "busy", "fine"):
            queue.add(key)
        async with asyncio.timeout(10):
            await done.wait()
    assert tries == {"bug": 2, "busy": 3, "fine": 1}


async def test_a_replica_that_no_longer_leads_forgets_what_waits() -> None:
    turns: list[str] = []

    async def work(key: str) -> Outcome:
        turns.append(key)
        return Done()

    queue = WorkQueue(work)
    queue.add("a")
    queue.add_later("b", 0.0)
    queue.clear()
    async with asyncio.timeout(5):
        await queue.idle()
    task = asyncio.create_task(queue.run())
    queue.add("c")
    await queue.idle()
    task.cancel()
    assert turns == ["c"]


async def test_settled_waits_for_what_is_to_be_tried_again_and_idle_does_not() -> None:
    tries: list[str] = []

    async def work(key: str) -> Outcome:
        tries.append(key)
        return Retry(why="not yet") if len(tries) < 3 else Done()

    async with running(work) as queue:
        queue.add("a")
        await queue.idle()
        assert len(tries) == 1
        async with asyncio.timeout(5):
            await queue.settled()
        assert len(tries) == 3


async def test_what_is_asked_for_sooner_does_not_wait_for_what_was_asked_for_later() -> None:
    done = asyncio.Event()

    async def work(key: str) -> Outcome:
        done.set()
        return Done()

    async with running(work) as queue:
        queue.add_later("a", 60.0)
        queue.add_later("a", 0.01)
        queue.add_later("a", 60.0)
        async with asyncio.timeout(5):
            await done.wait()


async def test_a_queue_that_is_cleared_is_settled() -> None:
    async def work(key: str) -> Outcome:
        return Retry(why="never")

    async with running(work) as queue:
        queue.add("a")
        await queue.idle()
        queue.clear()
        async with asyncio.timeout(5):
            await queue.settled()
