"""What became of objects meanwhile: every version of each, as a watch of the API server told it.

    with history(product, VIPS, SERVICES) as seen:
        ...
    seen.writes  # how often each object was written; seen.versions("default/web") in their order

In:  a Product, paths of collections. Out: History. The API server must stay up for the whole of the block.
Elsewhere: the router's side of "nothing happened" is Product.never_lost.
"""

from __future__ import annotations

import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any

from tests.lab.product import TICK, Product


class History:
    def __init__(self) -> None:
        self._seen: dict[str, list[dict[str, Any]]] = {}
        self.deleted: list[str] = []
        self.trouble: BaseException | None = None  # of a watch; then nothing here proves anything

    def take(self, event: dict[str, Any], first: bool = False) -> None:
        """What stood there at first counts as no write."""
        whole = event["object"]
        key = _key(whole)
        if event["type"] == "DELETED":
            self.deleted.append(key)
            return
        before = self._seen.setdefault(key, [])
        version = whole["metadata"]["resourceVersion"]
        if not before or before[-1]["metadata"]["resourceVersion"] != version:
            before.append({**whole, "seen": time.time(), "first": first})

    def only(self, kind: str, there: list[dict[str, Any]]) -> None:
        """Of this kind nothing else is there."""
        gone = {key for key in self._seen if key.startswith(f"{kind}/")} - {_key(one) for one in there}
        self.deleted += sorted(gone - set(self.deleted))

    def versions(self, key: str) -> list[dict[str, Any]]:
        """Of one object, Kind/namespace/name; the first is how it stood when the block began. `seen`: when it
        was heard of, seconds since 1970."""
        return self._seen.get(key, [])

    @property
    def writes(self) -> dict[str, int]:
        """Of each object that was written at all."""
        counted = {key: sum(not one["first"] for one in found) for key, found in self._seen.items()}
        return {key: count for key, count in counted.items() if count}

    def of_kind(self, kind: str) -> dict[str, int]:
        return {key: count for key, count in self.writes.items() if key.startswith(f"{kind}/")}


def _key(whole: dict[str, Any]) -> str:
    meta = whole["metadata"]
    return "/".join((whole["kind"], *filter(None, (meta.get("namespace"), meta["name"]))))


@contextmanager
def history(product: Product, *paths: str) -> Iterator[History]:
    """From the moment at which the block begins to the moment at which it ends."""
    seen = History()
    ends: list[threading.Event] = []
    threads = []
    for path in paths:
        end, version = threading.Event(), _listed(product, path, seen, first=True)
        ends.append(end)
        threads.append(
            threading.Thread(target=_follow, args=(product, path, version, seen, end), daemon=True)
        )
        threads[-1].start()
    try:
        yield seen
    finally:
        for end in ends:
            end.set()
        for thread in threads:
            thread.join(10)
    assert seen.trouble is None, seen.trouble
    assert not any(thread.is_alive() for thread in threads)


def _follow(product: Product, path: str, version: str, seen: History, end: threading.Event) -> None:
    """A watch of a second at a time, from where the last one ended: nothing is missed, and it ends soon."""
    try:
        while True:
            last = end.is_set()
            try:
                version = _watched(product, path, version, seen)
            except urllib.error.HTTPError as refusal:
                # A kind whose definition has just changed says the one for a moment, and then remembers no
                # older version: what changed between is seen as one write.
                if refusal.code not in (410, 429):
                    raise
                last = False
                end.wait(TICK)
                if refusal.code == 410:
                    version = _listed(product, path, seen)
            if last:
                return
    except BaseException as trouble:
        seen.trouble = trouble
        raise


def _watched(product: Product, path: str, version: str, seen: History) -> str:
    for event in product.api.watch(f"{path}?watch=1&timeoutSeconds=1&resourceVersion={version}"):
        whole = event["object"]
        if event["type"] == "ERROR":
            raise urllib.error.HTTPError(path, whole["code"], whole["message"], Message(), None)
        version = whole["metadata"]["resourceVersion"]
        seen.take(event)
    return version


def _listed(product: Product, path: str, seen: History, *, first: bool = False) -> str:
    """What is there now; returns the list's version."""
    found = product.api.get(path)
    kind = found["kind"].removesuffix("List")
    whole = [{"kind": kind, **item} for item in found["items"]]
    for one in whole:
        seen.take({"type": "ADDED", "object": one}, first=first)
    seen.only(kind, whole)
    return str(found["metadata"]["resourceVersion"])
