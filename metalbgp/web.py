"""/metrics, /healthz and /readyz of controller and agent.

In:  a registry and two questions. Out: plain HTTP.
Elsewhere: a speaker's liveness is its parent's alone, asked over parent.sock (speaker/ask.py).
"""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


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
