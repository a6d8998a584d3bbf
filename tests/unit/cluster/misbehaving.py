"""A scripted API server on loopback that misbehaves as told, and what waits without waiting.

In:  acts, one per request, in order; after the last one every request hangs (a quiet watch).
Out: `server.requests`, what was asked; Naps, what would have been slept; `until`, a condition with a limit.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from metalbgp.cluster.access import Access

Act = Callable[[web.Request, asyncio.Event], Awaitable[web.StreamResponse]]  # the event: the test is over


class Asked:
    def __init__(self, request: web.Request, body: bytes) -> None:
        self.method = request.method
        self.path = request.path
        self.query = dict(request.query)
        self.headers = dict(request.headers)
        self.body = json.loads(body) if body else None

    @property
    def watches_from(self) -> str | None:
        """The version that a watch began at; None for a list or a watch list."""
        return self.query.get("resourceVersion") if "watch" in self.query else None


class Server:
    def __init__(self) -> None:
        self.requests: list[Asked] = []
        self.script: list[Act] = []
        self._over = asyncio.Event()
        self._server: TestServer | None = None

    async def start(self, *script: Act) -> None:
        self.script = list(script)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app)
        await self._server.start_server(shutdown_timeout=0.1)

    async def stop(self) -> None:
        self._over.set()
        if self._server is not None:
            await self._server.close()

    @property
    def url(self) -> str:
        assert self._server is not None
        return str(self._server.make_url("")).rstrip("/")

    @property
    def access(self) -> Access:
        return Access(self.url)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(Asked(request, await request.read()))
        act = self.script.pop(0) if self.script else watch(then="hang")
        return await act(request, self._over)


def answer(status: int, body: Any = None, **headers: str) -> Act:
    """One whole answer; a dict is sent as JSON, text as HTML."""

    async def act(_: web.Request, over: asyncio.Event) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="text/html", headers=named)
        return web.json_response(body if body is not None else {}, status=status, headers=named)

    return act


def refuse(code: int, reason: str = "", message: str = "", **headers: str) -> Act:
    return answer(
        code, {"kind": "Status", "code": code, "reason": reason, "message": message or reason}, **headers
    )


def watch(*events: Any, then: str = "close") -> Act:
    """A stream. Each event is a dict (one line), or bytes sent as they are. then: close, hang, reset."""

    async def act(request: web.Request, over: asyncio.Event) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for event in events:
            await response.write(event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n")
        if then == "hang":
            await over.wait()
        if then == "reset":
            transport = request.transport
            assert transport is not None
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return response

    return act


def thing(name: str, version: int, colour: str = "red", **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)},
        "spec": {"colour": colour, **more},
    }


def added(name: str, version: int, colour: str = "red", **more: Any) -> dict[str, Any]:
    return {"type": "ADDED", "object": thing(name, version, colour, **more)}


def modified(name: str, version: int, colour: str) -> dict[str, Any]:
    return {"type": "MODIFIED", "object": thing(name, version, colour)}


def deleted(name: str, version: int) -> dict[str, Any]:
    return {"type": "DELETED", "object": thing(name, version)}


def bookmark(version: int, initial_end: bool = False) -> dict[str, Any]:
    annotations = {"k8s.io/initial-events-end": "true"} if initial_end else {}
    return {
        "type": "BOOKMARK",
        "object": {"metadata": {"resourceVersion": str(version), "annotations": annotations}},
    }


def synced(version: int) -> dict[str, Any]:
    return bookmark(version, initial_end=True)


def error(code: int, reason: str | None = None, message: str = "") -> dict[str, Any]:
    status: dict[str, Any] = {"kind": "Status", "code": code, "message": message}
    if reason is not None:
        status["reason"] = reason
    return {"type": "ERROR", "object": status}


def page(*items: dict[str, Any], version: int, more: str = "") -> Act:
    metadata = {"resourceVersion": str(version)} | ({"continue": more} if more else {})
    return answer(200, {"kind": "List", "metadata": metadata, "items": list(items)})


class Naps:
    """A sleep that only notes; the one after `most` lasts for ever, so that a loop cannot run away."""

    def __init__(self, most: int = 1000) -> None:
        self.taken: list[float] = []
        self.most = most

    async def __call__(self, seconds: float) -> None:
        if len(self.taken) >= self.most:
            await asyncio.Event().wait()
        self.taken.append(seconds)
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], what: Callable[[], object] = lambda: "") -> None:
    """Wait for a condition; a failure prints what was there instead."""
    try:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - conditions are plain values, nothing sets an Event
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"never came true; there was: {what()}") from None
