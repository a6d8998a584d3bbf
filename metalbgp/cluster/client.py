"""The one client of the API server: get, pages, watch, create, patch, delete. Bytes in and out.

    Client(access, timeout=10.0, writes=16)                      # async with, or close()
    await get(resource, name, namespace="")                      -> bytes
    async for page in list_pages(resource, namespace="", label_selector=, field_selector=)  -> Page
    async for event in watch(resource, namespace="", resource_version=, initial=, ...)      -> WatchEvent
    await create(resource, body, namespace="")                   -> bytes
    await patch(resource, name, body, namespace="", subresource="", resource_version="", uid="") -> bytes
    await delete(resource, name, namespace="", uid="", resource_version="")
    client.behind(fence) -> Client           # each of its writes asks the fence right before it is sent
    await call(method, path, body=None, content_type=...)        -> bytes  # what has no verb of its own

In:  an Access, Resource values, bodies as dicts (or any msgspec-encodable mapping).
Out: JSON bytes, or one exception of errors.py. A patch with resource_version is a compare-and-swap in one
     request (Conflict when stale). Retry-After is honoured for every method; a lost connection is not retried
     here: whoever works level-triggered asks again with fresh knowledge.
Elsewhere: keeping a view of a resource is reflector.py; who may write is election.py.
"""

import asyncio
import copy
import random
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
import msgspec
from msgspec import Raw, Struct
from yarl import URL

from metalbgp.cluster.access import Access
from metalbgp.cluster.errors import (
    BadAnswer,
    Refused,
    ServerError,
    Silent,
    Timeout,
    TooMany,
    Unauthorized,
    Unreachable,
    error_event,
    refusal,
)
from metalbgp.cluster.resources import Resource

Fence = Callable[[], float]  # seconds for which writing is still allowed; raises NotLeading
Sleep = Callable[[float], Awaitable[None]]

PAGE = 500  # objects: decoding one page holds the loop for about 2 ms
STALL = 90.0  # seconds without a byte; bookmarks come every 60 s, so silence means a dead connection
PATIENCE = 30.0  # seconds that one call may spend waiting for Retry-After in all
LONGEST_LINE = 64 << 20  # one event; etcd refuses objects over 1.5 MiB, so this is no object
MERGE_PATCH = "application/merge-patch+json"


class _ListMeta(Struct, gc=False):
    resourceVersion: str = ""
    continue_: str | None = msgspec.field(default=None, name="continue")


class Page(Struct):
    """One page of a list; items are undecoded, so one odd object costs itself only."""

    metadata: _ListMeta
    items: list[Raw] | None = None


class WatchEvent(Struct):
    """ADDED, MODIFIED, DELETED or BOOKMARK. ERROR events are raised instead."""

    type: str
    object: Raw


class _Request(Struct, frozen=True):
    method: str
    path: str  # with its query, encoded
    data: bytes | None
    what: str  # for messages
    content_type: str
    limit: float  # seconds for one attempt


_decode_page = msgspec.json.Decoder(Page).decode
_decode_event = msgspec.json.Decoder(WatchEvent).decode


class Client:
    def __init__(
        self,
        access: Access,
        *,
        timeout: float = 10.0,
        writes: int = 16,  # in flight; more gains nothing, and hundreds draw 429
        user_agent: str = "metalbgp",
        sleep: Sleep = asyncio.sleep,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.access = access
        self._timeout = timeout
        self._user_agent = user_agent
        self._sleep = sleep
        self._random = rand
        self._writes = asyncio.Semaphore(writes)
        self._sessions: list[aiohttp.ClientSession] = []  # at most one; shared with the copies of behind()
        self._fence: Fence | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        while self._sessions:
            await self._sessions.pop().close()

    def behind(self, fence: Fence) -> "Client":
        """A client whose writes are made only while `fence` allows them, and never outlive its answer."""
        guarded = copy.copy(self)
        guarded._fence = fence
        return guarded

    # ------------------------------------------------------------------ reading

    async def get(self, resource: Resource, name: str, namespace: str = "") -> bytes:
        return await self.call("GET", resource.path(namespace, name), what=resource.words(namespace, name))

    async def list_pages(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE,
    ) -> AsyncGenerator[Page, None]:
        """The whole collection at one resourceVersion. Gone when it took longer than the server keeps it."""
        query = _selectors(label_selector, field_selector) | {"limit": str(limit)}
        what = resource.words(namespace)
        while True:
            body = await self.call("GET", f"{resource.path(namespace)}?{urlencode(query)}", what=what)
            try:
                page = _decode_page(body)
            except msgspec.MsgspecError as error:
                raise BadAnswer(f"GET {what}", f"not a list: {error}") from error
            yield page
            if not page.metadata.continue_:
                return
            query["continue"] = page.metadata.continue_

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str = "",
        initial: bool = False,  # begin with what exists, ended by a bookmark (a watch list)
        label_selector: str = "",
        field_selector: str = "",
        stall: float = STALL,
        limit: float = 300.0,  # seconds after which the server ends the watch cleanly
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events until the server ends the watch. Use with contextlib.aclosing."""
        query = _selectors(label_selector, field_selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(limit)),
        }
        if initial:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query["resourceVersion"] = resource_version
        what = f"WATCH {resource.words(namespace)}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=stall)
        opened = False
        try:
            async with self._session().get(
                self._url(f"{resource.path(namespace)}?{urlencode(query)}"),
                # No compression: a proxy that packs a stream also holds events back.
                headers=self.access.headers() | {"Accept-Encoding": "identity"},
                ssl=self.access.tls(),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise self._refused(what, response, await response.read())
                opened = True
                async for line in lines(response.content.iter_any(), what):
                    event = event_of(line, what)
                    if event.type == "ERROR":
                        raise error_event(what, event.object)
                    yield event
        except TimeoutError as error:
            if opened:
                raise Silent(what, f"nothing was heard for {stall:g} s") from error
            raise Timeout(what, f"not opened: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(what, f"{type(error).__name__}: {error}") from error

    # ------------------------------------------------------------------ writing

    async def create(self, resource: Resource, body: Mapping[str, Any], namespace: str = "") -> bytes:
        """POST. AlreadyExists when the name is taken: that is how an address is claimed."""
        name = body.get("metadata", {}).get("name", "")
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return await self.call("POST", resource.path(namespace), whole, what=resource.words(namespace, name))

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
        """Merge patch. With resource_version it is refused (Conflict) unless the object is still that one."""
        wanted = {key: value for key, value in (("resourceVersion", resource_version), ("uid", uid)) if value}
        if wanted:
            body = {**body, "metadata": {**body.get("metadata", {}), **wanted}}
        return await self.call(
            "PATCH",
            resource.path(namespace, name, subresource),
            body,
            what=resource.words(namespace, name),
            content_type=MERGE_PATCH,
        )

    async def delete(
        self, resource: Resource, name: str, namespace: str = "", *, uid: str = "", resource_version: str = ""
    ) -> None:
        """DELETE, with preconditions when given (Conflict when either differs)."""
        conditions = {
            key: value for key, value in (("uid", uid), ("resourceVersion", resource_version)) if value
        }
        options = {"apiVersion": "v1", "kind": "DeleteOptions"} | (
            {"preconditions": conditions} if conditions else {}
        )
        await self.call(
            "DELETE", resource.path(namespace, name), options, what=resource.words(namespace, name)
        )

    # ------------------------------------------------------------------ one request

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        what: str = "",
        content_type: str = "application/json",
        urgent: bool = False,  # neither queued behind other writes nor tried again: the Lease
        timeout: float | None = None,
    ) -> bytes:
        """Any request. Waits out Retry-After, and reads the token again after a 401."""
        what = f"{method} {what or path.partition('?')[0]}"
        request = _Request(
            method,
            path,
            None if body is None else msgspec.json.encode(body),
            what,
            content_type,
            self._timeout if timeout is None else timeout,
        )
        if urgent:
            return await self._once(request)
        if method == "GET":
            return await self._insist(request)
        async with self._writes:  # kept while waiting for Retry-After: a busy server gets fewer of us
            return await self._insist(request)

    async def _insist(self, request: "_Request") -> bytes:
        distrusted, patience = False, PATIENCE
        while True:
            try:
                return await self._once(request)
            except Unauthorized:
                if distrusted:
                    raise
                distrusted = True
            except (TooMany, ServerError) as error:
                wait = error.retry_after
                if wait is None and isinstance(error, TooMany):
                    wait = 1.0
                if wait is None or wait > patience:
                    raise
                patience -= wait
                await self._sleep(wait * (1.0 + self._random() / 4))

    async def _once(self, request: "_Request") -> bytes:
        headers, limit = self.access.headers(), request.limit
        if request.data is not None:
            headers["Content-Type"] = request.content_type
        tls, session, url = self.access.tls(), self._session(), self._url(request.path)
        if self._fence is not None and request.method != "GET":
            limit = min(limit, self._fence())  # the last thing before sending
        try:
            async with session.request(
                request.method,
                url,
                data=request.data,
                headers=headers,
                ssl=tls,
                timeout=aiohttp.ClientTimeout(total=limit),
                allow_redirects=False,
            ) as response:
                payload = await response.read()
        except TimeoutError as error:
            raise Timeout(request.what, f"no answer within {limit:.1f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(request.what, f"{type(error).__name__}: {error}") from error
        if response.status >= 300:
            raise self._refused(request.what, response, payload)
        return payload

    def _refused(self, what: str, response: aiohttp.ClientResponse, payload: bytes) -> Refused:
        if response.status == 401:
            self.access.distrust()
        return refusal(what, response.status, payload, response.headers.get("Retry-After"))

    def _url(self, path: str) -> URL:
        return URL(self.access.server + path, encoded=True)

    def _session(self) -> aiohttp.ClientSession:
        if not self._sessions:  # made late: it binds to the running loop
            self._sessions.append(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0),  # watches must not starve writes of connections
                    headers={"User-Agent": self._user_agent, "Accept": "application/json"},
                    read_bufsize=1 << 18,
                )
            )
        return self._sessions[0]


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    pairs = (("labelSelector", label_selector), ("fieldSelector", field_selector))
    return {key: value for key, value in pairs if value}


def event_of(line: bytes, what: str) -> WatchEvent:
    try:
        return _decode_event(line)
    except msgspec.MsgspecError as error:
        raise BadAnswer(what, f"not a watch event: {line[:80]!r}") from error


async def lines(chunks: AsyncIterable[bytes], what: str) -> AsyncIterator[bytes]:
    """Whole lines of any length; what stands after the last newline when the stream ends is no event."""
    pending: list[bytes] = []
    size = 0
    async for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join((*pending, whole[0]))
            pending, size = [], 0
            for line in whole:
                if line:
                    yield line
        pending.append(rest)
        size += len(rest)
        if size > LONGEST_LINE:
            raise BadAnswer(what, f"a line over {LONGEST_LINE >> 20} MiB")
