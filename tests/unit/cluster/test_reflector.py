"""A view keeps up with a server that misbehaves in every way that was seen or read of.

One file because it is one list of misbehaviours, each with what the view must show after it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec import Raw, Struct

from metalbgp.cluster.client import Client
from metalbgp.cluster.reflector import Broken, Changed, Event, HeldBack, Reflector, Removed, Synced
from metalbgp.cluster.resources import SERVICES
from tests.unit.cluster.misbehaving import (
    Act,
    Naps,
    Server,
    added,
    answer,
    bookmark,
    deleted,
    error,
    modified,
    page,
    refuse,
    synced,
    thing,
    until,
    watch,
)


class _Spec(Struct):
    colour: str


class _Thing(Struct):
    spec: _Spec


def colour(raw: Raw) -> str | None:
    """The colour of a thing; invisible things are none of our business."""
    found = msgspec.json.decode(raw, type=_Thing).spec.colour
    return None if found == "invisible" else found


class View:
    def __init__(self, server: Server, client: Client, **options: Any) -> None:
        self.server = server
        self.naps = Naps()
        self.events: list[Event[str]] = []
        options = {"sleep": self.naps, "rand": lambda: 0.0} | options
        self.reflector: Reflector[str] = Reflector(client, SERVICES, colour, **options)

    async def becomes(self, wanted: dict[str, str]) -> None:
        await until(
            lambda: dict(self.reflector.values) == wanted, lambda: (self.reflector.values, self.events)
        )

    async def sees(self, wanted: Event[str]) -> None:
        await until(lambda: wanted in self.events, lambda: self.events)

    async def asks(self, count: int) -> None:
        await until(lambda: len(self.server.requests) >= count, lambda: len(self.server.requests))

    @property
    def words(self) -> list[str]:
        """Events in short, without Synced."""
        return [
            f"{type(event).__name__} {event.key}"
            for event in self.events
            if isinstance(event, Changed | Removed | Broken)
        ]


@asynccontextmanager
async def view(server: Server, *script: Act, **options: Any) -> AsyncIterator[View]:
    await server.start(*script)
    async with Client(server.access) as client:
        seen = View(server, client, **options)
        task = asyncio.create_task(seen.reflector.run(seen.events.append))
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


LIST = (added("a", 1), added("b", 2), synced(5))  # what a watch list begins with


# ------------------------------------------------------------------ the ordinary


async def test_a_watch_list_gives_what_exists_and_then_what_changes(server: Server) -> None:
    stream = watch(*LIST, modified("a", 6, "blue"), deleted("b", 7), then="hang")
    async with view(server, stream) as seen:
        await seen.becomes({"default/a": "blue"})
        assert seen.events == [
            Changed("default/a", None, "red"),
            Changed("default/b", None, "red"),
            Synced(2, True),
            Changed("default/a", "red", "blue"),
            Removed("default/b", "red"),
        ]
        asked = server.requests[0]
        assert asked.query["sendInitialEvents"] == "true"
        assert asked.query["resourceVersionMatch"] == "NotOlderThan"
        assert asked.query["allowWatchBookmarks"] == "true"
        assert seen.reflector.synced
        assert seen.reflector.trouble == ""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (422, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the gate is on"),
        (400, "resourceVersionMatch is forbidden for watch"),
    ],
)
async def test_an_older_server_is_listed_by_pages(server: Server, code: int, words: str) -> None:
    script = (
        refuse(code, "Invalid", words),
        page(thing("a", 1), version=9, more="next"),
        page(thing("b", 2), version=9),
        watch(modified("b", 10, "blue"), then="hang"),
    )
    async with view(server, *script) as seen:
        await seen.becomes({"default/a": "red", "default/b": "blue"})
        assert server.requests[1].query["limit"] == "500"
        assert server.requests[2].query["continue"] == "next"
        assert server.requests[3].watches_from == "9"


async def test_a_list_without_items_is_an_empty_list(server: Server) -> None:
    script = (
        refuse(400, "BadRequest", "sendInitialEvents is unknown"),
        answer(200, {"metadata": {"resourceVersion": "3"}, "items": None}),
    )
    async with view(server, *script) as seen:
        await seen.sees(Synced(0, True))


async def test_an_object_that_no_longer_concerns_us_is_removed(server: Server) -> None:
    async with view(server, watch(*LIST, modified("a", 6, "invisible"), then="hang")) as seen:
        await seen.becomes({"default/b": "red"})
        assert seen.words[-1] == "Removed default/a"


async def test_a_prefilter_that_the_server_does_not_know_is_dropped(server: Server) -> None:
    script = (refuse(400, "BadRequest", "field label not supported: spec.type"), watch(*LIST, then="hang"))
    async with view(server, *script, prefilter="spec.type=LoadBalancer") as seen:
        await seen.becomes({"default/a": "red", "default/b": "red"})
        assert [asked.query.get("fieldSelector") for asked in server.requests] == [
            "spec.type=LoadBalancer",
            None,
        ]


# ------------------------------------------------------------------ where to go on


async def test_bookmarks_move_the_version_that_a_watch_resumes_from(server: Server) -> None:
    async with view(server, watch(*LIST, modified("a", 6, "blue"), bookmark(40))) as seen:
        await seen.asks(2)
        assert server.requests[1].watches_from == "40"


async def test_a_watch_that_ends_cleanly_goes_on_after_its_last_event(server: Server) -> None:
    async with view(server, watch(*LIST, modified("a", 6, "blue")), watch(deleted("b", 8))) as seen:
        await seen.asks(3)
        assert [asked.watches_from for asked in server.requests] == [None, "6", "8"]


GONE: dict[str, Callable[[], Act]] = {
    "as a status": lambda: refuse(410, "Expired", "too old resource version: 6 (900)"),
    "as an event": lambda: watch(error(410, "Expired", "too old resource version: 6 (900)")),
    "as an event with a bare code": lambda: watch({"type": "ERROR", "object": {"code": 410}}),
    "from the future, after a restore": lambda: refuse(
        504, "Timeout", "Too large resource version: 6, current: 2"
    ),
}


@pytest.mark.parametrize("how", GONE)
async def test_after_410_the_resource_is_listed_again(server: Server, how: str) -> None:
    again = watch(added("a", 1), added("c", 901, "green"), synced(910), then="hang")
    async with view(server, watch(*LIST), GONE[how](), again) as seen:
        await seen.becomes({"default/a": "red", "default/c": "green"})
        assert server.requests[2].watches_from is None


async def test_a_relist_passes_on_only_differences(server: Server) -> None:
    again = watch(added("a", 1), added("b", 7, "blue"), synced(910), then="hang")
    async with view(server, watch(*LIST), refuse(410, "Expired"), again) as seen:
        await seen.sees(Synced(2, False))
        before = seen.events.index(Synced(2, True))
        assert seen.events[before + 1 :] == [Changed("default/b", "red", "blue"), Synced(2, False)]


async def test_what_a_relist_lacks_counts_as_deleted(server: Server) -> None:
    again = watch(added("b", 2), synced(910), then="hang")
    async with view(server, watch(*LIST), refuse(410, "Expired"), again) as seen:
        await seen.sees(Removed("default/a", "red"))


async def test_a_continue_token_that_expired_starts_the_list_again(server: Server) -> None:
    script = (
        refuse(400, "BadRequest", "sendInitialEvents is unknown"),
        page(thing("a", 1), version=9, more="next"),
        refuse(410, "Expired", "The provided continue parameter is too old"),
        page(thing("a", 1), thing("b", 2), version=12),
    )
    async with view(server, *script) as seen:
        await seen.sees(Synced(2, True))
        assert "continue" not in server.requests[3].query
        assert seen.words == ["Changed default/a", "Changed default/b"]


# ------------------------------------------------------------------ what is no event


async def test_the_html_of_a_proxy_is_no_event(server: Server) -> None:
    html = "<html><h1>502 Bad Gateway</h1></html>"
    async with view(
        server, watch(*LIST), answer(502, html), watch(modified("a", 6, "blue"), then="hang")
    ) as seen:
        await seen.becomes({"default/a": "blue", "default/b": "red"})
        assert server.requests[2].watches_from == "5"


async def test_html_with_status_200_is_no_event(server: Server) -> None:
    html = "<html>log in first</html>\n"
    async with view(server, answer(200, html), watch(*LIST, then="hang")) as seen:
        await seen.becomes({"default/a": "red", "default/b": "red"})
        assert seen.words == ["Changed default/a", "Changed default/b"]


async def test_a_line_cut_off_is_no_event_and_comes_again(server: Server) -> None:
    half = b'{"type":"MODIFIED","object":{"metadata":{"name":"a","namesp'
    script = (watch(*LIST, half), watch(modified("a", 6, "blue"), then="hang"))
    async with view(server, *script) as seen:
        await seen.becomes({"default/a": "blue", "default/b": "red"})
        assert server.requests[1].watches_from == "5"
        assert seen.words == ["Changed default/a", "Changed default/b", "Changed default/a"]


async def test_a_line_split_anywhere_is_one_event(server: Server) -> None:
    line = msgspec.json.encode(modified("a", 6, "blue")) + b"\n"
    pieces = [line[at : at + 7] for at in range(0, len(line), 7)]
    async with view(server, watch(*LIST, *pieces, then="hang")) as seen:
        await seen.becomes({"default/a": "blue", "default/b": "red"})


async def test_a_line_over_4_mib_is_an_event_like_any_other(server: Server) -> None:
    huge = added("big", 6, "blue", ballast="x" * (5 << 20))
    async with view(server, watch(*LIST, huge, then="hang")) as seen:
        await seen.becomes({"default/a": "red", "default/b": "red", "default/big": "blue"})


async def test_an_error_event_without_reason_leads_to_a_new_list(server: Server) -> None:
    script = (watch(*LIST, error(500)), watch(added("a", 1), synced(8), then="hang"))
    async with view(server, *script) as seen:
        await seen.becomes({"default/a": "red"})


async def test_an_odd_object_costs_itself_only(server: Server) -> None:
    odd = {"type": "ADDED", "object": {**thing("odd", 3), "spec": {"colour": 7}}}
    async with view(server, watch(added("a", 1), odd, added("b", 2), synced(5), then="hang")) as seen:
        await seen.becomes({"default/a": "red", "default/b": "red"})
        (broken,) = [event for event in seen.events if isinstance(event, Broken)]
        assert broken.key == "default/odd"
        assert "Expected `str`, got `int`" in broken.error


async def test_an_object_that_breaks_keeps_its_last_good_value(server: Server) -> None:
    odd = {"type": "MODIFIED", "object": {**thing("a", 6), "spec": {"colour": None}}}
    async with view(server, watch(*LIST, odd, deleted("a", 9), then="hang")) as seen:
        await seen.becomes({"default/b": "red"})
        assert seen.words[2:] == ["Broken default/a", "Removed default/a"]
        assert [event.old for event in seen.events if isinstance(event, Broken | Removed)] == ["red", "red"]


async def test_an_object_that_is_mended_is_told_even_when_it_is_as_before(server: Server) -> None:
    odd = {"type": "MODIFIED", "object": {**thing("a", 6), "spec": {"colour": None}}}
    async with view(server, watch(*LIST, odd, modified("a", 7, "red"), then="hang")) as seen:
        await until(lambda: len(seen.words) == 4, lambda: seen.words)
        assert seen.words[2:] == ["Broken default/a", "Changed default/a"]


async def test_a_change_of_nothing_that_we_read_is_not_told(server: Server) -> None:
    async with view(server, watch(*LIST, modified("a", 6, "red"), deleted("b", 7), then="hang")) as seen:
        await seen.becomes({"default/a": "red"})
        assert seen.words == ["Changed default/a", "Changed default/b", "Removed default/b"]


async def test_an_object_without_metadata_costs_itself_only(server: Server) -> None:
    script = watch({"type": "ADDED", "object": {"spec": {}}}, *LIST, then="hang")
    async with view(server, script) as seen:
        await seen.becomes({"default/a": "red", "default/b": "red"})


# ------------------------------------------------------------------ connections


async def test_a_server_that_closes_at_once_is_not_asked_without_pause(server: Server) -> None:
    naps = Naps(most=12)
    async with view(server, watch(*LIST), *[watch()] * 50, sleep=naps) as seen:
        await seen.asks(13)
        assert naps.taken == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0, 15.0]


async def test_the_backoff_begins_anew_only_after_an_event(server: Server) -> None:
    naps = Naps(most=6)
    script = (watch(*LIST), watch(), watch(), watch(bookmark(9)), watch(), watch(), watch())
    async with view(server, *script, sleep=naps) as seen:
        await seen.asks(7)
        assert naps.taken == [0.05, 0.1, 0.2, 0.05, 0.1, 0.2]


async def test_a_list_alone_does_not_begin_the_backoff_anew(server: Server) -> None:
    naps = Naps(most=4)
    script = [watch(*LIST), refuse(410, "Expired")] * 3
    async with view(server, *script, sleep=naps) as seen:
        await seen.asks(5)
        assert naps.taken == [0.05, 0.1, 0.2, 0.4]


async def test_relists_of_many_nodes_are_spread(server: Server) -> None:
    naps = Naps(most=2)
    script = (watch(*LIST), refuse(410, "Expired"), watch(*LIST, then="hang"))
    async with view(server, *script, sleep=naps, spread=8.0, rand=lambda: 0.5) as seen:
        await seen.asks(3)
        assert naps.taken == pytest.approx([0.075, 0.15 + 4.0])


async def test_retry_after_of_a_refused_watch_is_waited_for(server: Server) -> None:
    naps = Naps()
    script = (refuse(429, "TooManyRequests", Retry_After="7"), watch(*LIST, then="hang"))
    async with view(server, *script, sleep=naps) as seen:
        await seen.becomes({"default/a": "red", "default/b": "red"})
        assert naps.taken == [7.05]


async def test_a_connection_reset_resumes_where_it_was(server: Server) -> None:
    script = (
        watch(*LIST, modified("a", 6, "blue"), then="reset"),
        watch(modified("b", 7, "blue"), then="hang"),
    )
    async with view(server, *script) as seen:
        await seen.becomes({"default/a": "blue", "default/b": "blue"})
        assert server.requests[1].watches_from == "6"


async def test_a_half_open_connection_is_noticed(server: Server) -> None:
    script = (watch(*LIST, then="hang"), watch(modified("a", 6, "blue"), then="hang"))
    async with view(server, *script, stall=0.1) as seen:
        await seen.becomes({"default/a": "blue", "default/b": "red"})
        assert server.requests[1].watches_from == "5"


async def test_a_server_with_less_history_than_we_saw_is_listed_again(server: Server) -> None:
    """Seen on 1.36: a watch from a version that a restore undid is accepted, and then silent for ever."""
    script = (watch(*LIST), watch(then="hang"), watch(added("a", 1), synced(2), then="hang"))
    async with view(server, *script, stall=0.1) as seen:
        await seen.becomes({"default/a": "red"})
        assert [asked.watches_from for asked in server.requests[:3]] == [None, "5", None]


async def test_a_server_that_is_away_is_trouble_with_words_and_grows_the_age(server: Server) -> None:
    now = [100.0]
    async with view(server, watch(*LIST), clock=lambda: now[0]) as seen:
        await seen.asks(2)
        assert seen.reflector.age == 0.0
        now[0] = 160.0
        assert seen.reflector.age == 60.0
        before = len(seen.naps.taken)
        seen.naps.most = before + 12
        await server.stop()
        await until(lambda: "WATCH services" in seen.reflector.trouble, lambda: seen.reflector.trouble)
        await until(lambda: len(seen.naps.taken) >= before + 12, lambda: seen.naps.taken)
        assert max(seen.naps.taken) <= 5.0  # a minute's outage must not cost half a minute more
        assert seen.naps.taken[-1] > 1.0
        assert dict(seen.reflector.values) == {"default/a": "red", "default/b": "red"}


@pytest.mark.parametrize(
    "answer", [refuse(410, "Expired"), refuse(429, "TooManyRequests", "storage is (re)initializing")]
)
async def test_a_server_that_is_back_is_not_waited_for_like_a_dead_one(server: Server, answer: Act) -> None:
    """After a restart the first answer is often 410 or 429: the second try must come soon."""
    naps = Naps(most=8)
    script = (watch(*LIST), *[watch(then="reset")] * 5, answer, watch(*LIST, then="hang"))
    async with view(server, *script, sleep=naps) as seen:
        await seen.asks(8)
        assert naps.taken[5] > 1.0
        assert naps.taken[6] == 0.05


async def test_a_kind_that_a_server_may_lack_is_an_empty_view_and_asked_for_rarely(server: Server) -> None:
    """ServiceCIDRs before Kubernetes 1.33: nobody waits for them, and nobody asks every second."""
    missing = refuse(404, "NotFound", "no such kind")
    async with view(server, missing, watch(*LIST, then="hang"), optional=True) as seen:
        await seen.reflector.wait_synced()
        await seen.becomes({"default/a": "red", "default/b": "red"})
        assert seen.naps.taken == [60.05]


async def test_an_optional_kind_that_is_forbidden_is_asked_for_soon_again_and_then_seldom(
    server: Server,
) -> None:
    """An API server that has just started forbids everything for a moment."""
    no = refuse(403, "Forbidden", "pods is forbidden")
    again = [no] * 9
    async with view(server, *again, watch(*LIST, then="hang"), optional=True) as seen:
        await seen.reflector.wait_synced()
        await seen.becomes({"default/a": "red", "default/b": "red"})
        assert max(seen.naps.taken[:7]) < 10 and sum(seen.naps.taken[:7]) < 26
        assert min(seen.naps.taken[7:]) >= 60


async def test_a_missing_crd_is_trouble_until_it_is_applied(server: Server) -> None:
    missing = refuse(404, "NotFound", "page not found")
    async with view(server, missing, missing, watch(*LIST, then="hang")) as seen:
        await seen.becomes({"default/a": "red", "default/b": "red"})
        assert seen.reflector.trouble == ""
        # Once a second, however often: an installation applies its CRDs while its pods wait for them.
        assert seen.naps.taken == [1.05, 1.05]


# ------------------------------------------------------------------ a list that lacks most


MANY = tuple(added(f"n{number}", number) for number in range(1, 21))
FEW = MANY[:4]


async def test_a_list_that_suddenly_lacks_most_is_held_back(server: Server) -> None:
    script = (
        watch(*MANY, synced(30)),
        refuse(410, "Expired"),
        watch(*FEW, synced(3), then="hang"),
        watch(*MANY, synced(40), then="hang"),
    )
    async with view(server, *script) as seen:
        await seen.sees(Synced(20, False))
        assert HeldBack(16, 20, 5.0) in seen.events
        assert 5.0 in seen.naps.taken
        assert not [event for event in seen.events if isinstance(event, Removed)]


async def test_a_list_that_lacks_most_twice_is_believed(server: Server) -> None:
    script = (
        watch(*MANY, synced(30)),
        refuse(410, "Expired"),
        watch(*FEW, synced(31), then="hang"),
        watch(*FEW, synced(32), then="hang"),
    )
    async with view(server, *script) as seen:
        await seen.sees(Synced(4, False))
        assert len([event for event in seen.events if isinstance(event, Removed)]) == 16


async def test_a_list_that_lacks_a_few_is_believed_at_once(server: Server) -> None:
    script = (watch(*MANY, synced(30)), refuse(410, "Expired"), watch(*MANY[:11], synced(31), then="hang"))
    async with view(server, *script) as seen:
        await seen.sees(Synced(11, False))
        assert not [event for event in seen.events if isinstance(event, HeldBack)]


async def test_deletions_that_are_announced_are_never_held_back(server: Server) -> None:
    goodbyes = [deleted(f"n{number}", 30 + number) for number in range(1, 21)]
    async with view(server, watch(*MANY, synced(30), *goodbyes, then="hang")) as seen:
        await seen.sees(Removed("default/n20", "red"))
        assert dict(seen.reflector.values) == {}
