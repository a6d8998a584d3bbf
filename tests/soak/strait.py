"""The way from the product's processes to the API server, on which any answer may be held back for a while.

In:  a running ApiServer; hold("speaker:virtualips"), hold("controller:all"), and their opposites, release().
Out: doors: by process, the URL at which it finds the API server. What is held arrives late, whole and in
     order, and everything else passes it: so the watches of one process come in any order against each other.
Elsewhere: which are held, and when, is steps.py.
"""

import asyncio
import re
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from tests.apiserver import ApiServer

REQUEST: Final = re.compile(rb"^[A-Z]+ ([^ ?]+)(\?\S*)? HTTP/1\.1\r\n", re.MULTILINE)
ALL: Final = "all"
PIECE: Final = 1 << 16


class Strait(threading.Thread):
    def __init__(self, server: ApiServer, names: Iterable[str]) -> None:
        super().__init__(daemon=True)
        self._port = int(server.url.rpartition(":")[2])
        certificate = server.root / "certs" / "apiserver.crt"
        self._ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ours.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self._theirs = ssl.create_default_context(cafile=str(certificate))
        self._held: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self.doors = {name: self._loop.run_until_complete(self._open(name)) for name in names}
        self.start()

    def run(self) -> None:
        self._loop.run_forever()

    def hold(self, what: str) -> None:
        self._held.add(what)

    def release(self, what: str) -> None:
        self._held.discard(what)

    def end(self) -> None:
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join(10)
        self._loop.close()

    @staticmethod
    async def _cut() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _open(self, name: str) -> str:
        async def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._carry(name, reader, writer)

        server = await asyncio.start_server(arrived, "127.0.0.1", 0, ssl=self._ours)
        return f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _carry(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either end closes it."""
        there: asyncio.StreamWriter | None = None
        with suppress(OSError, asyncio.IncompleteReadError):
            answers, there = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._theirs)
            asked = [""]  # the watch that this connection carries: others share none with it
            ways = [
                asyncio.create_task(self._requests(name, reader, there, asked)),
                asyncio.create_task(self._answers(name, answers, writer, asked)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        if there is not None:
            there.transport.abort()
        writer.close()  # what it was told last still arrives

    async def _requests(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[str]
    ) -> None:
        while piece := await reader.read(PIECE):
            if found := REQUEST.search(piece):
                watch = b"watch=true" in (found[2] or b"")
                asked[0] = found[1].rpartition(b"/")[2].decode() if watch else ""
            await self._freed(name)
            writer.write(piece)
            await writer.drain()

    async def _answers(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[str]
    ) -> None:
        while piece := await reader.read(PIECE):
            await self._freed(name, asked[0])
            writer.write(piece)
            await writer.drain()

    async def _freed(self, name: str, resource: str = ALL) -> None:
        while not self._held.isdisjoint({f"{name}:{ALL}", f"{name}:{resource}"}):  # noqa: ASYNC110  # a set of another thread, which tells nobody
            await asyncio.sleep(0.02)  # another thread releases it
