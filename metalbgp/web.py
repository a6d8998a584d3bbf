"""/metrics, /healthz and /readyz of controller and agent; and one HTTPS path, for the API server's questions.

In:  a registry and two questions. Out: plain HTTP. In: who answers a POST. Out: HTTPS.
Elsewhere: a speaker's liveness is its parent's alone, asked over parent.sock (speaker/ask.py).
"""

import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

# Longer than the 90 s after which Go closes an idle connection: who closes first must be the client, or a
# question that is just being sent meets a closed door.
KEEPALIVE: Final = 600.0
Answered = tuple[int, bytes]  # status; JSON when it is 200, else a line of text


async def serve(
    port: int,
    registry: CollectorRegistry,
    ready: Callable[[], str],
    host: str | None = None,
    refresh: Callable[[], Awaitable[None]] | None = None,
) -> web.AppRunner:
    """Serve until the runner is cleaned up. `ready` answers "" when ready, else what is missing; `refresh`
    is awaited before each scrape."""

    async def metrics(_: web.Request) -> web.Response:
        if refresh is not None:
            await refresh()
        response = web.Response(body=generate_latest(registry))
        response.headers["Content-Type"] = CONTENT_TYPE_LATEST
        return response

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = ready()
        return web.Response(text=f"{missing or 'ok'}\n", status=503 if missing else 200)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


async def serve_posts(
    path: str,
    answer: Callable[[bytes], Awaitable[Answered]],
    port: int,
    context: ssl.SSLContext,
    host: str | None = None,
    *,
    largest: int,  # bytes of a question
) -> web.AppRunner:
    """Serve one path until the runner is cleaned up."""

    async def post(request: web.Request) -> web.Response:
        status, body = await answer(await request.read())
        kind = "application/json" if status == 200 else "text/plain"
        return web.Response(status=status, body=body, content_type=kind)

    app = web.Application(client_max_size=largest)
    app.router.add_post(path, post)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=context).start()
    return runner
