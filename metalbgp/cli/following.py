"""A Kubernetes watch by the way of a person's kubeconfig, for the Reflector that controller and speakers use.

In:  an Api; what to call when the view is lost.
Out: Follower, a Reflector on such a way; Following, its Source: pages and watch events, with the errors that
     a Reflector knows what to do about.
Elsewhere: connections and credentials are api.py; listing anew and comparing is cluster/reflector.py.

After a loss nothing is resumed, everything is listed: then it is known when the view is whole again. An
error before the first view ends the verb as it would any other.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw

from metalbgp.cli.access import missing_right
from metalbgp.cli.api import Api
from metalbgp.cli.errors import CliError, NotAllowed
from metalbgp.cli.errors import Refused as CliRefused
from metalbgp.cluster.client import STALL, Page, WatchEvent, event_of, lines
from metalbgp.cluster.errors import BadAnswer, ClusterError, Gone, Unreachable, error_event, refusal
from metalbgp.cluster.reflector import Event, Reflector, Synced
from metalbgp.cluster.resources import Resource

T = TypeVar("T")
FINAL = (401, 404)  # before the first view: it will not be better the next time


class Follower(Generic[T]):
    """One kind of object, followed until cancelled."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        decode: Callable[[Raw], T | None],
        handle: Callable[[Event[T]], None],
        *,
        namespace: str = "",
        lost: Callable[[str], None] = lambda why: None,
        **options: Any,
    ) -> None:
        self._source = Following(api, lost)
        self._handle = handle
        self.view: Reflector[T] = Reflector(self._source, resource, decode, namespace=namespace, **options)

    async def run(self) -> None:
        await self.view.run(self._heard)

    def _heard(self, event: Event[T]) -> None:
        if isinstance(event, Synced):
            self._source.whole = True
        self._handle(event)


class Following:
    def __init__(self, api: Api, lost: Callable[[str], None]) -> None:
        self.whole: bool | None = None  # the view; None: there was none yet. Follower says when it is
        self._api = api
        self._lost = lost

    async def list_pages(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> AsyncGenerator[Page, None]:
        """All of it in one page: NodeStates are as many as nodes."""
        query = _selectors(label_selector, field_selector)
        what = f"GET {resource.words(namespace)}"
        try:
            yield msgspec.json.decode(
                await self._api.request("GET", resource.path(namespace), query), type=Page
            )
        except CliError as error:
            raise self._told(error, what, resource) from error
        except msgspec.MsgspecError as error:
            raise self._missed(BadAnswer(what, f"not a list: {error}")) from error

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str = "",
        initial: bool = False,
        label_selector: str = "",
        field_selector: str = "",
        stall: float = STALL,
        limit: float = 300.0,
    ) -> AsyncGenerator[WatchEvent, None]:
        what = f"WATCH {resource.words(namespace)}"
        if not initial and self.whole is False:
            raise Gone(what, "the view was lost meanwhile")
        query = [("watch", "true"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", str(int(limit)))]
        query += [*_selectors(label_selector, field_selector)]
        if initial:
            query += [("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]
        else:
            query += [("resourceVersion", resource_version)]
        try:
            chunks = self._api.follow(resource.path(namespace), query, stall)
            async with aclosing(chunks):
                async for line in lines(chunks, what):
                    event = event_of(line, what)
                    if event.type == "ERROR":
                        raise error_event(what, event.object)
                    yield event
        except CliError as error:
            raise self._told(error, what, resource) from error
        except BadAnswer as error:
            raise self._missed(error) from error

    def _told(self, error: CliError, what: str, resource: Resource) -> ClusterError:
        """The same error in the words of cluster/; raises it as it is where trying again is no use."""
        if isinstance(error, CliRefused):
            if self.whole is None and isinstance(error, NotAllowed):
                raise NotAllowed(missing_right(resource.plural), error.status) from error
            if self.whole is None and error.status in FINAL:
                raise error
            body = msgspec.json.encode({"message": str(error)})
            told = refusal(what, error.status, body)
            # The Reflector asks in another way: that is no loss (an older server), or lists anew (410).
            return told if error.status in (400, 410, 422) else self._missed(told)
        if self.whole is None:
            raise error
        return self._missed(Unreachable(what, str(error)))

    def _missed(self, error: ClusterError) -> ClusterError:
        self.whole = False
        self._lost(error.why)
        return error


def _selectors(label_selector: str, field_selector: str) -> list[tuple[str, str]]:
    pairs = (("labelSelector", label_selector), ("fieldSelector", field_selector))
    return [(name, value) for name, value in pairs if value]
