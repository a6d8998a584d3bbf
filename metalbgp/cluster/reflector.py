"""A view of one resource that is always catching up: list, watch, list again when it must.

    reflector = Reflector(client, SERVICES, decode.service, prefilter="spec.type=LoadBalancer")
    task = asyncio.create_task(reflector.run(handle))       # handle(event) is called in the loop, in order
    await reflector.wait_synced()
    reflector.values["default/web"]; reflector.synced; reflector.age; reflector.trouble

In:  a Client (or another Source); decode(Raw) -> T, or None for an object that does not concern us.
Out: Changed, Removed, Broken, Synced and HeldBack to `handle`; keys are namespace/name (or name).
     After a gap only differences by resourceVersion are passed on, and what is missing counts as deleted.
     An error ends nothing: `trouble` has its words, `age` grows, and the next try comes after a backoff.
Elsewhere: what the server can answer is errors.py; bytes and timeouts are client.py.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from metalbgp import logs
from metalbgp.cluster.backoff import Backoff, Random
from metalbgp.cluster.client import STALL, Sleep
from metalbgp.cluster.errors import (
    BadAnswer,
    BadRequest,
    ClusterError,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Refused,
    Silent,
    Timeout,
    Unreachable,
    WatchFailed,
)
from metalbgp.cluster.resources import Resource
from metalbgp.cluster.source import Source

T = TypeVar("T")


class Changed(Struct, Generic[T], frozen=True):
    """New (old is None), or different from before in what was decoded."""

    key: str
    old: T | None
    new: T


class Removed(Struct, Generic[T], frozen=True):
    """Deleted, or no longer our concern. old is None when only a Broken one was there."""

    key: str
    old: T | None


class Broken(Struct, Generic[T], frozen=True):
    """An object that cannot be read. `old` is the last good one; `values` keeps it."""

    key: str
    old: T | None
    error: str


class Synced(Struct, frozen=True):
    """A complete list was taken in. Every list gives one; `first` only the first.

    `went_back`: the list is older than what was heard before it. Lists are consistent reads, so the API
    server was restored from a backup, and versions remembered from before prove nothing any more.
    """

    count: int
    first: bool
    went_back: bool = False


class HeldBack(Struct, frozen=True):
    """A list suddenly lacked many that we knew. Nothing was removed; it is asked again after `delay`."""

    missing: int
    known: int
    delay: float


Event = Changed[T] | Removed[T] | Broken[T] | Synced | HeldBack


class _Meta(Struct, gc=False):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""
    annotations: dict[str, str] | None = None  # read on bookmarks only


class _Head(Struct, gc=False):
    metadata: _Meta


class _BareMeta(Struct, gc=False):
    name: str
    namespace: str = ""
    resourceVersion: str = ""


class _BareHead(Struct, gc=False):
    metadata: _BareMeta


_decode_bookmark = msgspec.json.Decoder(_Head).decode
_decode_head = msgspec.json.Decoder(_BareHead).decode
AWAY = 5.0  # seconds at most between two knocks at a server that refuses connections, which costs it nothing
MISSING_KIND = 1.0  # seconds between two looks for a kind that the API server does not know (yet)
SURE = 8  # times in a row that an optional kind is forbidden until it is believed: 13 to 25 s
OPTIONAL_KIND = 60.0  # the same, where the server's age explains it: an upgrade brings the kind
_INITIAL_END = "k8s.io/initial-events-end"


class Reflector(Generic[T]):
    def __init__(
        self,
        client: Source,
        resource: Resource,
        decode: Callable[[Raw], T | None],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        optional: bool = False,  # the server may never have the kind: then the view is complete, and empty
        prefilter: str = "",  # a field selector that only spares traffic: decode filters as well, so where
        # the server does not know the field (400) it is dropped
        hold_back_share: float = 0.5,
        hold_back_minimum: int = 10,
        hold_back_delay: float = 5.0,
        spread: float = 0.0,  # seconds; up to so much is added before a relist, for what many nodes watch
        stall: float = STALL,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        rand: Random = random.random,
    ) -> None:
        self.resource = resource
        self.trouble = ""  # words of the last failure, "" once an event was seen
        self.lists = 0  # complete lists taken in
        self._client = client
        self._decode = decode
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._prefilter = prefilter
        self._optional = optional
        self._share = hold_back_share
        self._minimum = hold_back_minimum
        self._hold_delay = hold_back_delay
        self._spread = spread
        self._stall = stall
        self._sleep = sleep
        self._clock = clock
        self._random = rand
        self._backoff = Backoff(rand=rand)
        self._values: dict[str, T] = {}
        self._versions: dict[str, str] = {}  # of every key known, broken ones included
        self._broken: set[str] = set()  # keys whose latest version could not be read
        self._resume = ""  # where to go on watching; "": list
        self._newest = 0  # the newest version heard of, if versions are numbers
        self._by_pages = False  # the server refused a watch list
        self._heard = False  # something came over the latest connection
        self._away = False  # it did not answer at all the last time
        self._believe = False  # the next list is taken as it is
        self._refusals = 0
        self._alive_at: float | None = None
        self._synced = asyncio.Event()
        self._handle: Callable[[Event[T]], None] = lambda event: None

    # ------------------------------------------------------------------ what others see

    @property
    def values(self) -> Mapping[str, T]:
        """Live and read-only, by key."""
        return MappingProxyType(self._values)

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    @property
    def age(self) -> float:
        """Seconds since the last sign of life (an event or bookmark; idle watches get one a minute)."""
        return float("inf") if self._alive_at is None else self._clock() - self._alive_at

    # ------------------------------------------------------------------ the loop

    async def run(self, handle: Callable[[Event[T]], None]) -> None:
        """Until cancelled. Only a bug (or an exception out of `handle`) ends it otherwise."""
        self._handle = handle
        while True:
            extra, most = 0.0, float("inf")
            try:
                await self._follow()
            except ClusterError as error:
                extra = self._learn(error)
                away, self._away = self._away, isinstance(error, Unreachable)
                if away and not self._away:  # it is back; that it knows our version no more, or not yet, is
                    self._backoff.reset()  # normal then and no reason to wait as long as for a dead one
                if isinstance(error, Unreachable) and not isinstance(error, Timeout):
                    most = AWAY * (0.5 + self._random() / 2)
            if not self._resume:
                extra = max(extra, self._spread * self._random())
            await self._sleep(min(self._backoff.next(), most) + extra)

    def _learn(self, error: ClusterError) -> float:
        """Take the error in; returns the seconds to wait on top of the backoff."""
        # A server restored from a backup is behind the version we ask for: it waits for it, without a word.
        behind = isinstance(error, Silent) and not self._heard
        relist = behind or isinstance(error, Gone | WatchFailed)
        if relist:
            self._resume = ""
        if isinstance(error, BadRequest | Invalid) and self._give_way(error):
            return 0.0
        if self._optional and isinstance(error, NotFound | Forbidden):
            self.trouble = str(error)
            self._synced.set()
            self._refusals += 1
            if isinstance(error, Forbidden) and self._refusals < SURE:
                return 0.0  # a server that has just started knows no rules yet
            self._backoff.reset()
            return OPTIONAL_KIND
        if isinstance(error, NotFound):  # the kind itself: its CRD is applied any moment, or never
            self._backoff.reset()
            self.trouble = str(error)
            return MISSING_KIND
        if not relist:  # a version too old is normal life
            self.trouble = str(error)
        logs.log("watch-interrupted", resource=self.resource.plural, error=str(error), relist=relist)
        return (error.retry_after or 0.0) if isinstance(error, Refused) else 0.0

    def _give_way(self, error: Refused) -> bool:
        """An older server: do without what it does not know."""
        if self._prefilter and "field label not supported" in error.why:
            self._prefilter = ""
            return True
        if not self._by_pages and not self._resume:  # some name sendInitialEvents, some resourceVersionMatch
            self._by_pages = True
            return True
        return False

    async def _follow(self) -> None:
        """One connection: from a list or from where we were, until it ends."""
        if not self._resume and self._by_pages:
            await self._list_pages()
        if self._resume or not self._by_pages:
            await self._watch()

    async def _list_pages(self) -> None:
        seen: set[str] = set()
        version = ""
        pages = self._client.list_pages(
            self.resource, self._namespace, label_selector=self._label_selector, field_selector=self._fields()
        )
        async with aclosing(pages):
            async for page in pages:
                self._alive_at = self._clock()
                for item in page.items or ():
                    self._take(item, seen)
                version = page.metadata.resourceVersion
        await self._complete(seen, version)

    async def _watch(self) -> None:
        self._heard = False
        seen: set[str] | None = None if self._resume else set()  # a set while the initial events come
        events = self._client.watch(
            self.resource,
            self._namespace,
            resource_version=self._resume,
            initial=seen is not None,
            label_selector=self._label_selector,
            field_selector=self._fields(),
            stall=self._stall,
            limit=300 + 300 * self._random(),
        )
        async with aclosing(events):
            async for event in events:
                self._alive_at = self._clock()
                self._heard = True
                if event.type == "BOOKMARK":
                    meta = _bookmark(event.object)
                    if seen is not None and _INITIAL_END in (meta.annotations or ()):
                        if not await self._complete(seen, meta.resourceVersion):
                            return
                        seen = None
                        continue
                    version = meta.resourceVersion
                elif event.type == "DELETED":
                    version = self._drop(event.object, seen)
                else:
                    version = self._take(event.object, seen)
                if seen is None:
                    self._resume = version or self._resume
                    self._newest = max(self._newest, _number(version))
                    self._backoff.reset()
                    self.trouble, self._refusals = "", 0

    def _fields(self) -> str:
        return ",".join(part for part in (self._field_selector, self._prefilter) if part)

    # ------------------------------------------------------------------ one object

    def _take(self, raw: Raw, seen: set[str] | None) -> str:
        """An object as it is now. Returns its resourceVersion."""
        try:
            meta = _decode_head(raw).metadata
        except msgspec.MsgspecError as error:
            self._handle(Broken("", None, f"no metadata: {error}"))
            return ""
        key = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
        if seen is not None:
            seen.add(key)
        if self._versions.get(key) == meta.resourceVersion:
            return meta.resourceVersion
        old = self._values.get(key)
        try:
            new = self._decode(raw)
        except Exception as error:  # whatever it is, it must cost this object only
            self._versions[key] = meta.resourceVersion
            self._broken.add(key)
            logs.warn("object-unreadable", resource=self.resource.plural, key=key, error=str(error))
            self._handle(Broken(key, old, f"{type(error).__name__}: {error}"))
            return meta.resourceVersion
        if new is None:
            self._forget(key)
        else:
            self._versions[key] = meta.resourceVersion
            self._values[key] = new
            if new != old or key in self._broken:  # a Node's heartbeat changes nothing that we read
                self._broken.discard(key)
                self._handle(Changed(key, old, new))
        return meta.resourceVersion

    def _drop(self, raw: Raw, seen: set[str] | None) -> str:
        try:
            meta = _decode_head(raw).metadata
        except msgspec.MsgspecError:
            return ""
        key = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
        if seen is not None:
            seen.discard(key)
        self._forget(key)
        return meta.resourceVersion

    def _forget(self, key: str) -> None:
        self._broken.discard(key)
        if self._versions.pop(key, None) is not None:
            self._handle(Removed(key, self._values.pop(key, None)))

    # ------------------------------------------------------------------ the end of a list

    async def _complete(self, seen: set[str], version: str) -> bool:
        """Everything that exists was seen: the rest is gone, if that can be believed."""
        missing = [key for key in self._versions if key not in seen]
        known = len(self._versions)
        sudden = len(missing) >= self._minimum and len(missing) > self._share * known
        if sudden and not self._believe:
            logs.error("list-held-back", resource=self.resource.plural, missing=len(missing), known=known)
            self.trouble = f"a list of {self.resource.plural} lacks {len(missing)} of {known}; held back"
            self._handle(HeldBack(len(missing), known, self._hold_delay))
            self._believe = True
            self._resume = ""
            await self._sleep(self._hold_delay)
            return False
        for key in missing:
            self._forget(key)
        self._believe = False
        self._resume = version
        self.lists += 1
        self.trouble, self._refusals = "", 0
        first = not self._synced.is_set()
        went_back, self._newest = 0 < _number(version) < self._newest, _number(version)
        self._handle(Synced(len(self._values), first, went_back))
        self._synced.set()
        return True


def _number(version: str) -> int:
    """Versions of one kind are ordered integers (promised since Kubernetes 1.35, and always so)."""
    return int(version) if version.isascii() and version.isdigit() else 0


def _bookmark(raw: Raw) -> _Meta:
    try:
        return _decode_bookmark(raw).metadata
    except msgspec.MsgspecError as error:
        raise BadAnswer("WATCH", f"a bookmark without metadata: {error}") from error
