"""Never two who may write: laws of the Lease on a clock of our own, with answers lost, late and doubled."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metalbgp.cluster.decode import lease
from metalbgp.cluster.election import Elector, micro_time
from metalbgp.cluster.errors import AlreadyExists, Conflict, NotFound, NotLeading, Timeout, Unreachable
from metalbgp.cluster.reflector import Changed, Removed

DURATION, RENEW, RETRY = 15.0, 10.0, 2.0


class World:
    """One clock for all (each reads it with an offset of its own), and what must hold at any moment."""

    def __init__(self) -> None:
        self.now = 0.0
        self.electors: list[Elector] = []
        self.most_at_once = 0

    def passes(self, seconds: float) -> None:
        """Time passes in steps, so that no moment goes unseen."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 0.5)
            self.look()

    def look(self) -> None:
        writing = [elector.identity for elector in self.electors if elector.may_write()]
        self.most_at_once = max(self.most_at_once, len(writing))
        assert len(writing) <= 1, f"at {self.now}: {writing} may all write"


Fault = Callable[[], Awaitable[None]]


async def fine() -> None:
    pass


class Leases:
    """The API server's side of one Lease: compare-and-swap, and faults as told for the next request."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.object: dict[str, Any] | None = None
        self.version = 0
        self.holders: list[str | None] = []
        self.fault: Fault = fine  # before the request arrives
        self.loss: Fault = fine  # after it was carried out

    async def call(self, method: str, path: str, body: Any = None, **_: Any) -> bytes:
        await asyncio.sleep(0)
        await self.fault()
        answer = self._do(method, body)
        self.world.look()
        await self.loss()
        return json.dumps(answer).encode()

    def _do(self, method: str, body: Any) -> Any:
        if method == "POST":
            if self.object is not None:
                raise AlreadyExists("POST leases", "exists")
            self.object = {"metadata": {"name": "x"}, "spec": {}}
        elif self.object is None:
            raise NotFound(f"{method} leases", "none")
        if method != "GET":
            if method == "PATCH" and body["metadata"]["resourceVersion"] != str(self.version):
                raise Conflict("PATCH leases", "stale")
            self.version += 1
            self.object["metadata"]["resourceVersion"] = str(self.version)
            self.object["spec"] |= body["spec"]
            if self.holders[-1:] != [holder := self.object["spec"]["holderIdentity"]]:
                self.holders.append(holder)
        return self.object


def elector(world: World, leases: Leases, name: str, offset: float = 0.0, **options: Any) -> Elector:
    made = Elector(
        leases,  # type: ignore[arg-type]  # has the one method of Client that is used
        "metallb-system",
        "x",
        name,
        duration=DURATION,
        renew=RENEW,
        retry=RETRY,
        clock=lambda: world.now + offset,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=world.now),
        **options,
    )
    world.electors.append(made)
    return made


def two() -> tuple[World, Leases, Elector, Elector]:
    world = World()
    leases = Leases(world)
    return world, leases, elector(world, leases, "a"), elector(world, leases, "b", offset=5000.0)


def slow(world: World, seconds: float) -> Fault:
    async def wait() -> None:
        world.passes(seconds)

    return wait


STEP = st.tuples(
    st.sampled_from([0, 1, 2]),  # who tries
    st.sampled_from(["ok", "lost", "answer lost", "late", "answer late"]),
    st.floats(0, 30),  # how late
    st.floats(0, 20),  # how long until the next step: a pause of everyone but whom the next step names
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=30))
def test_never_two_who_may_write_whatever_is_lost_or_late(steps: list[tuple[int, str, float, float]]) -> None:
    asyncio.run(play(steps))


async def play(steps: list[tuple[int, str, float, float]]) -> None:
    world = World()
    leases = Leases(world)
    for number in range(3):
        elector(world, leases, f"e{number}", offset=number * 1000.0)

    async def lose() -> None:
        raise Unreachable("PATCH leases", "reset")

    async def delay(seconds: float, who: int) -> None:
        """The request of `who` is under way; the others go on meanwhile."""
        leases.fault = leases.loss = fine
        until = world.now + seconds
        while world.now < until:
            world.passes(min(2.0, until - world.now))
            for other in world.electors:
                if other is not world.electors[who]:
                    await other.attempt()
                    world.look()

    for who, how, late, pause in steps:
        leases.fault = leases.loss = fine
        match how:
            case "lost":
                leases.fault = lose
            case "answer lost":
                leases.loss = lose
            case "late":
                leases.fault = partial(delay, late, who)
            case "answer late":
                leases.loss = partial(delay, late, who)
        await world.electors[who].attempt()
        world.look()
        world.passes(pause)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "both"]), max_size=20))
def test_of_two_who_try_at_once_one_at_most_leads(rounds: list[str]) -> None:
    async def play() -> None:
        world, _, a, b = two()
        for who in rounds:
            tries = [e.attempt() for e in (a, b) if who in (e.identity, "both")]
            await asyncio.gather(*tries)
            world.look()
            world.passes(9)

    asyncio.run(play())


async def test_the_first_makes_the_lease_itself_and_leads() -> None:
    _, leases, a, b = two()
    await a.attempt()
    await b.attempt()
    assert (a.may_write(), b.may_write()) == (True, False)
    assert leases.object is not None
    spec = leases.object["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("a", 15, 0)
    assert (a.holder, b.holder) == ("a", "a")


async def test_a_leader_that_was_paused_may_write_nothing_more() -> None:
    world, _, a, b = two()
    await a.attempt()
    await b.attempt()
    world.passes(16)  # SIGSTOP of a
    await b.attempt()
    assert b.may_write()
    with pytest.raises(NotLeading, match="held by nobody in time"):
        a.fence()  # before it even looked at the Lease again
    await a.attempt()
    await a.attempt()
    with pytest.raises(NotLeading, match="held by b"):
        a.fence()


async def test_the_right_counts_from_when_the_renewal_was_sent() -> None:
    world, leases, a, _ = two()
    leases.loss = slow(world, 4)
    await a.attempt()  # GET (4 s), POST (4 s)
    assert a.fence() == RENEW - 4


async def test_an_answer_that_is_older_than_the_right_gives_none() -> None:
    world, leases, a, _ = two()
    leases.loss = slow(world, 11)
    await a.attempt()
    assert not a.may_write()


async def test_a_renewal_is_one_request() -> None:
    _, leases, a, _ = two()
    await a.attempt()
    calls: list[int] = []

    async def count() -> None:
        calls.append(1)

    leases.fault = count
    await a.attempt()
    assert len(calls) == 1


async def test_a_lease_is_taken_only_after_it_stood_still_for_its_whole_duration() -> None:
    world, leases, a, b = two()
    await a.attempt()
    for _ in range(10):
        world.passes(4)
        await a.attempt()
        await b.attempt()
        assert not b.may_write()
    world.passes(14.5)
    await b.attempt()
    assert not b.may_write()
    world.passes(1)
    await b.attempt()
    assert b.may_write()
    assert leases.holders == ["a", "b"]
    assert b.transitions == 1


async def test_a_leader_that_cannot_reach_the_server_stops_in_time() -> None:
    world, leases, a, _ = two()
    await a.attempt()

    async def away() -> None:
        raise Timeout("PATCH leases", "no answer")

    leases.fault = away
    for _ in range(4):
        world.passes(2)
        await a.attempt()
        assert a.may_write()
    world.passes(2)
    assert not a.may_write()
    assert "no answer" in a.trouble


async def test_leaving_gives_the_lease_back_so_that_the_next_begins_at_once() -> None:
    _, leases, a, b = two()
    told: list[bool] = []
    leases.world = world = World()
    c = elector(world, leases, "c", on_change=told.append)
    task = asyncio.create_task(c.run())
    await leads(c)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told == [True, False]
    assert leases.object is not None
    assert leases.object["spec"]["holderIdentity"] is None
    await b.attempt()
    assert b.may_write()
    assert not a.may_write()


async def test_a_lease_given_back_is_taken_as_soon_as_that_is_heard_and_not_at_the_next_look() -> None:
    _, leases, a, b = two()
    one, other = asyncio.create_task(a.run()), asyncio.create_task(b.run())
    try:
        await leads(a)
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        assert not b.may_write()  # nobody told it, and its next look is RETRY away
        b.heard(Changed("metallb-system/x", None, lease(json.dumps(leases.object).encode())))
        async with asyncio.timeout(RETRY / 2):
            await leads(b)
    finally:
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


async def test_what_a_watch_tells_of_our_own_writes_or_late_costs_no_leadership() -> None:
    _, leases, a, b = two()
    await a.attempt()
    before = lease(json.dumps(leases.object).encode())
    await a._release()
    await b.attempt()
    b.heard(Changed("metallb-system/x", None, before))  # as it was before b took it
    b.heard(Removed("metallb-system/x", before))
    assert b.may_write()
    await b.attempt()
    assert b.may_write()


async def test_a_follower_looks_when_the_lease_is_due_and_not_a_whole_pause_later() -> None:
    world, _, a, b = two()
    await a.attempt()
    await b.attempt()
    assert RETRY <= b._pause() <= RETRY * 1.2
    world.passes(DURATION - 0.5)
    assert 0.5 <= b._pause() <= 0.6
    world.passes(0.7)
    await b.attempt()
    assert b.may_write()


async def leads(one: Elector) -> None:
    while not one.may_write():  # noqa: ASYNC110  # each turn lets its task run
        await asyncio.sleep(0.001)


def test_times_are_utc_with_microseconds() -> None:
    there = datetime(2026, 1, 1, 2, 0, 0, 7, tzinfo=timezone(timedelta(hours=2)))
    assert micro_time(there) == "2026-01-01T00:00:00.000007Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", micro_time(datetime.now(UTC)))


def test_figures_that_would_let_two_lead_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold"):
        Elector(None, "n", "x", "a", duration=10, renew=10)  # type: ignore[arg-type]  # never used
