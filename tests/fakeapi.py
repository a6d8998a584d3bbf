"""An API server in memory, for tests of what is done in which order: objects, versions, watches, refusals.

In:  FakeClient in place of cluster/client.py's Client; put() and take() are what other hands do.
     `fails(verb, path)` may raise before a write, `loses(verb, path)` after it: the answer is lost then.
Out: `writes`, every write that was made, in order.
Elsewhere: what a real API server does is tests/apiserver.py; this one validates nothing.
"""

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from metalbgp.cluster.client import Client, Page, WatchEvent
from metalbgp.cluster.errors import AlreadyExists, Conflict, Gone, NotFound
from metalbgp.cluster.resources import Resource

Key = tuple[str, str, str]  # plural, namespace, name


def merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


class FakeClient(Client):
    def __init__(self) -> None:
        self.objects: dict[Key, dict[str, Any]] = {}
        self.writes: list[tuple[str, str, dict[str, Any]]] = []
        self.fails: Callable[[str, str], None] = lambda verb, path: None
        self.loses: Callable[[str, str], None] = lambda verb, path: None
        self._newest = 0
        self._watchers: list[tuple[str, str, str, str, asyncio.Queue[WatchEvent]]] = []

    def behind(self, fence: Callable[[], float]) -> "FakeClient":
        return self

    # ------------------------------------------------------------------ what other hands do

    def put(
        self, resource: Resource, name: str, body: Mapping[str, Any], namespace: str = ""
    ) -> dict[str, Any]:
        """Create or replace, whatever stood there."""
        key = (resource.plural, namespace if resource.namespaced else "", name)
        before = self.objects.get(key)
        version = self._next()
        meta = {"uid": before["metadata"]["uid"] if before else f"uid-{version}", **body.get("metadata", {})}
        meta |= {"name": name, "resourceVersion": version}
        if key[1]:
            meta["namespace"] = key[1]
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body, "metadata": meta}
        self.objects[key] = copy.deepcopy(whole)
        self._say(key, "MODIFIED" if before else "ADDED", before)
        return whole

    def take(self, resource: Resource, name: str, namespace: str = "") -> None:
        key = (resource.plural, namespace if resource.namespaced else "", name)
        self.objects[key]["metadata"]["resourceVersion"] = self._next()
        self._say(key, "DELETED", None)
        del self.objects[key]

    def restore(self, objects: dict[Key, dict[str, Any]]) -> None:
        """From a backup, as with etcd: versions go back as well, and whoever watches must list anew."""
        self.objects = copy.deepcopy(objects)
        self._newest = max(
            (int(whole["metadata"]["resourceVersion"]) for whole in objects.values()), default=0
        )
        for *_, events in self._watchers:
            events.put_nowait(WatchEvent(type="RESTORED", object=Raw(b"{}")))

    def _next(self) -> str:
        self._newest += 1
        return str(self._newest)

    def spec(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self.objects[resource.plural, namespace, name]["spec"]
        return found

    def _say(self, key: Key, kind: str, before: dict[str, Any] | None) -> None:
        whole = self.objects[key]
        for plural, namespace, labels, fields, events in self._watchers:
            if plural != key[0] or namespace not in ("", key[1]) or not matches(whole, fields):
                continue
            now = kind
            if kind != "DELETED" and not labelled(whole, labels):
                if before is None or not labelled(before, labels):
                    continue
                now = "DELETED"
            elif not labelled(whole, labels):
                continue
            events.put_nowait(WatchEvent(type=now, object=Raw(msgspec.json.encode(whole))))

    # ------------------------------------------------------------------ Client

    async def get(self, resource: Resource, name: str, namespace: str = "") -> bytes:
        await asyncio.sleep(0)
        self.fails("GET", resource.plural)
        key = (resource.plural, namespace if resource.namespaced else "", name)
        if key not in self.objects:
            raise NotFound(f"GET {resource.words(namespace, name)}", "not found", status=404)
        return msgspec.json.encode(self.objects[key])

    async def list_pages(
        self, resource: Resource, namespace: str = "", **options: Any
    ) -> AsyncGenerator[Page, None]:
        await asyncio.sleep(0)
        self.fails("LIST", resource.plural)
        found = [
            Raw(msgspec.json.encode(whole))
            for (plural, place, _), whole in sorted(self.objects.items())
            if plural == resource.plural and namespace in ("", place)
        ]
        page = msgspec.json.decode(b'{"metadata": {}}', type=Page)
        page.items = found
        yield page

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        **options: Any,
    ) -> AsyncGenerator[WatchEvent, None]:
        events: asyncio.Queue[WatchEvent] = asyncio.Queue()
        me = (resource.plural, namespace, label_selector, field_selector, events)
        for (plural, place, _), whole in sorted(self.objects.items()):
            ours = plural == resource.plural and namespace in ("", place)
            if ours and matches(whole, field_selector) and labelled(whole, label_selector):
                events.put_nowait(WatchEvent(type="ADDED", object=Raw(msgspec.json.encode(whole))))
        ended = {"k8s.io/initial-events-end": "true"}
        end = {"metadata": {"resourceVersion": str(self._newest), "annotations": ended}}
        events.put_nowait(WatchEvent(type="BOOKMARK", object=Raw(msgspec.json.encode(end))))
        self._watchers.append(me)
        try:
            while (event := await events.get()).type != "RESTORED":
                yield event
            raise Gone(f"WATCH {resource.plural}", "too old resource version", status=410)
        finally:
            self._watchers.remove(me)

    async def create(self, resource: Resource, body: Mapping[str, Any], namespace: str = "") -> bytes:
        await asyncio.sleep(0)
        self.fails("POST", resource.plural)
        name = body["metadata"]["name"]
        if (resource.plural, namespace if resource.namespaced else "", name) in self.objects:
            raise AlreadyExists(f"POST {resource.words(namespace, name)}", "exists", status=409)
        self.writes.append(("POST", f"{resource.plural}/{name}", dict(body)))
        return self._answer("POST", resource, self.put(resource, name, body, namespace))

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Mapping[str, Any],
        namespace: str = "",
        *,
        subresource: str = "",
        resource_version: str = "",
        uid: str = "",
    ) -> bytes:
        await asyncio.sleep(0)
        self.fails("PATCH", resource.plural)
        words = f"PATCH {resource.words(namespace, name)}"
        found = self.objects.get((resource.plural, namespace if resource.namespaced else "", name))
        if found is None:
            raise NotFound(words, "not found", status=404)
        meta = found["metadata"]
        if (resource_version and meta["resourceVersion"] != resource_version) or uid not in ("", meta["uid"]):
            self.writes.append(("CONFLICT", f"{resource.plural}/{name}", dict(body)))
            raise Conflict(words, "changed", status=409)
        self.writes.append(("PATCH", f"{resource.plural}/{name}", dict(body)))
        if resource.plural == "secrets" and "data" not in found:
            found = {**found, "data": {}}
        after = merged(found, body)
        if after == found:
            return self._answer("PATCH", resource, found)
        return self._answer("PATCH", resource, self.put(resource, name, after, namespace))

    async def delete(
        self, resource: Resource, name: str, namespace: str = "", *, uid: str = "", resource_version: str = ""
    ) -> None:
        await asyncio.sleep(0)
        self.fails("DELETE", resource.plural)
        words = f"DELETE {resource.words(namespace, name)}"
        found = self.objects.get((resource.plural, namespace if resource.namespaced else "", name))
        if found is None:
            raise NotFound(words, "not found", status=404)
        meta = found["metadata"]
        if resource_version not in ("", meta["resourceVersion"]) or uid not in ("", meta["uid"]):
            raise Conflict(words, "changed", status=409)
        self.writes.append(("DELETE", f"{resource.plural}/{name}", {}))
        self.take(resource, name, namespace)
        self.loses("DELETE", resource.plural)

    def _answer(self, verb: str, resource: Resource, whole: Mapping[str, Any]) -> bytes:
        self.loses(verb, resource.plural)
        return msgspec.json.encode(whole)


def labelled(whole: Mapping[str, Any], selector: str) -> bool:
    """Equality alone, and `in`: what our views ask for."""
    labels = whole["metadata"].get("labels", {})
    rest, found = selector, True
    if " in (" in selector:
        rest, _, values = selector.partition(" in (")
        rest, _, name = rest.rpartition(",")
        found = labels.get(name, "") in values.rstrip(")").split(",")
    pairs = (part.partition("=") for part in rest.split(",") if part)
    return found and all(labels.get(name) == value for name, _, value in pairs)


def matches(whole: Mapping[str, Any], selector: str) -> bool:
    if not selector:
        return True
    path, _, value = selector.partition("=")
    found: Any = whole
    for part in path.split("."):
        found = (found or {}).get(part)
    return bool(found == value)
