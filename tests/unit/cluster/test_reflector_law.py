"""A view reaches the server's state from any sequence of changes, cuts, compactions and lists cut short.

The judge is the server's own dict; what the events say, replayed, must be the same as `values` at every step.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from metalbgp.cluster.client import Page, WatchEvent
from metalbgp.cluster.errors import ClusterError, Gone, Timeout, Unreachable, WatchFailed
from metalbgp.cluster.reflector import Broken, Changed, Event, Reflector, Removed
from metalbgp.cluster.resources import SERVICES

BAD = "bad"  # a colour that cannot be read


class Store:
    """An API server's watch cache: state, history, and how far back history reaches."""

    def __init__(self) -> None:
        self.version = 1
        self.state: dict[str, tuple[int, str]] = {}
        self.history: list[tuple[int, str, str, str]] = []
        self.oldest = 0
        self.budget = 0  # how much of an answer arrives before the connection is cut
        self.ending: ClusterError | None = None

    def put(self, name: str, colour: str) -> None:
        self.version += 1
        kind = "MODIFIED" if name in self.state else "ADDED"
        self.state[name] = (self.version, colour)
        self.history.append((self.version, kind, name, colour))

    def remove(self, name: str) -> None:
        if name in self.state:
            self.version += 1
            _, colour = self.state.pop(name)
            self.history.append((self.version, "DELETED", name, colour))

    def compact(self) -> None:
        self.oldest = self.version
        self.history.clear()

    def spend(self) -> None:
        if self.budget <= 0:
            raise self.ending or Unreachable("WATCH", "cut")
        self.budget -= 1

    async def watch(
        self, *_: Any, resource_version: str = "", initial: bool = False, **__: Any
    ) -> AsyncGenerator[WatchEvent, None]:
        begin = self.version if initial else int(resource_version)
        if initial:
            for name, (version, colour) in sorted(self.state.items()):
                self.spend()
                yield event("ADDED", name, version, colour)
            self.spend()
            note = {"k8s.io/initial-events-end": "true"}
            meta = {"resourceVersion": str(self.version), "annotations": note}
            yield WatchEvent("BOOKMARK", raw({"metadata": meta}))
        elif begin < self.oldest:
            raise Gone("WATCH", "too old")
        for version, kind, name, colour in [entry for entry in self.history if entry[0] > begin]:
            self.spend()
            yield event(kind, name, version, colour)
        if self.ending is not None:
            raise self.ending

    async def list_pages(self, *_: Any, **__: Any) -> AsyncGenerator[Page, None]:
        names = sorted(self.state)
        for at in range(0, max(1, len(names)), 2):
            self.spend()
            items = [thing(name, *self.state[name]) for name in names[at : at + 2]]
            body = {"metadata": {"resourceVersion": str(self.version)}, "items": items}
            yield msgspec.json.decode(json.dumps(body).encode(), type=Page)


def thing(name: str, version: int, colour: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "colour": colour}


def raw(tree: Any) -> Raw:
    return Raw(json.dumps(tree).encode())


def event(kind: str, name: str, version: int, colour: str) -> WatchEvent:
    return WatchEvent(kind, raw(thing(name, version, colour)))


def colour_of(data: Raw) -> str | None:
    found: str = msgspec.json.decode(data)["colour"]
    if found == BAD:
        raise ValueError("unreadable")
    return None if found == "invisible" else found


STEP = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abcde"), st.sampled_from(["red", "blue", "invisible", BAD])),
    st.tuples(st.just("remove"), st.sampled_from("abcde"), st.none()),
    st.tuples(st.just("compact"), st.none(), st.none()),
    st.tuples(
        st.just("connect"),
        st.integers(0, 8),
        st.sampled_from(
            [None, Unreachable("W", "reset"), Timeout("W", "late"), Gone("W", "old"), WatchFailed("W", "?")]
        ),
    ),
)


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(STEP, max_size=40), by_pages=st.booleans())
def test_a_view_reaches_the_servers_state(steps: list[tuple[str, Any, Any]], by_pages: bool) -> None:
    asyncio.run(play(steps, by_pages))


async def play(steps: list[tuple[str, Any, Any]], by_pages: bool) -> None:
    store = Store()
    replayed: dict[str, str] = {}
    broken: set[str] = set()

    def handle(told: Event[str]) -> None:
        match told:
            case Changed(key, old, new):
                assert replayed.get(key) == old
                assert old != new or key in broken, "told a change that is none"
                replayed[key] = new
                broken.discard(key)
            case Removed(key, old):
                assert replayed.pop(key, None) == old
                broken.discard(key)
            case Broken(key, old, _):
                assert replayed.get(key) == old
                broken.add(key)
            case _:
                pass

    reflector: Reflector[str] = Reflector(store, SERVICES, colour_of)  # type: ignore[arg-type]  # its two verbs
    reflector._by_pages = by_pages
    reflector._handle = handle

    async def connect(budget: int, ending: ClusterError | None) -> None:
        store.budget, store.ending = budget, ending
        try:
            await reflector._follow()
        except ClusterError as error:
            reflector._learn(error)
        assert replayed == reflector.values

    for verb, one, other in steps:
        match verb:
            case "put":
                store.put(one, other)
            case "remove":
                store.remove(one)
            case "compact":
                store.compact()
            case _:
                await connect(one, other)
    await connect(1000, None)  # may find that it must list
    await connect(1000, None)
    readable = {name: colour for name, (_, colour) in store.state.items() if colour not in (BAD, "invisible")}
    unreadable = {name for name, (_, colour) in store.state.items() if colour == BAD}
    assert {key: value for key, value in reflector.values.items() if key not in unreadable} == readable
    assert broken == unreadable
