"""Visitors of one address: requests at a fixed pace, each on a new connection, beside connections that stay.

    with visiting("lab-client", "198.51.100.0", held=100) as visits:
        visits.wait(200)  # so many more requests were made
    visits.report.failed, visits.report.lost

In:  a network namespace, an address behind which plain HTTP answers.
Out: Report. A request fails when its whole answer is not there within LIMIT; a connection that stays asks
     once a second and is lost when it is reset or not answered within LIMIT; it is not opened again.
One process a run (`python -m bench.visits`), so that it lives in the namespace and its pace is its own.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

EVERY: Final = 0.015  # seconds from one request to the next
ASK: Final = 1.0  # seconds from one question on a connection that stays to the next
LIMIT: Final = 10.0
SLOW: Final = 0.9  # seconds: a lost packet is sent again after one
ROOT: Final = Path(__file__).resolve().parents[1]


class Trouble(Struct, frozen=True):
    """One request or connection that did not get what it asked for."""

    at: float  # seconds since 1970
    words: str


class Report(Struct, frozen=True):
    """What they saw. `at`: when it was made; a line is printed every tenth of a second."""

    at: float
    asked: int  # requests that ended, well or not
    failed: list[Trouble]
    slow: int  # answered, but later than a packet that gets there at once
    slowest: float  # seconds
    held: int  # connections that were opened to stay
    lost: list[Trouble]


class Visits:
    """They go on until the end of the block; `report` is then the last word."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        self._changed = threading.Condition()
        self._report: Report | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None  # noqa: S101 - it was asked for
        decode = msgspec.json.Decoder(Report).decode
        for line in self._child.stdout:
            with self._changed:
                self._report = decode(line)
                self._changed.notify_all()

    @property
    def report(self) -> Report:
        if self._report is None:
            raise RuntimeError("the visitors have not begun")
        return self._report

    def wait(self, more: int, limit: float = 120.0) -> Report:
        """Until so many more requests have ended."""
        deadline = time.monotonic() + limit
        with self._changed:
            goal = more + (self._report.asked if self._report else 0)
            while self._report is None or self._report.asked < goal:
                if self._child.poll() is not None or not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{more} requests did not end within {limit:g} s: {self._report}")
            return self._report

    def end(self) -> None:
        """What is under way is waited for."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        self._child.wait(LIMIT + 10)
        self._reader.join(10)


@contextmanager
def visiting(namespace: str, address: str, *, every: float = EVERY, held: int = 0) -> Iterator[Visits]:
    """From a namespace; begun when the first request was answered and every connection that stays is open."""
    words = [sys.executable, "-m", "bench.visits", address, str(every), str(held)]
    child = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{namespace}", "--", *words], cwd=ROOT, stdout=subprocess.PIPE
    )
    visits = Visits(child)
    try:
        visits.wait(1, 30 + LIMIT)
        yield visits
    finally:
        visits.end()


# ---------------------------------------------------------------------- the process


class Run:
    def __init__(self, address: str, every: float, held: int, port: int = 80) -> None:
        self._address, self._every, self._held, self._port = address, every, held, port
        self._asked = self._slow = 0
        self._slowest = 0.0
        self._failed: list[Trouble] = []
        self._lost: list[Trouble] = []
        self.stop = asyncio.Event()

    async def main(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop.set)
        async with asyncio.TaskGroup() as group:
            opened = [asyncio.Event() for _ in range(self._held)]
            for number, event in enumerate(opened):
                group.create_task(self._stay(ASK * number / self._held, event))
            for event in opened:
                await event.wait()
            teller = group.create_task(self._tell())
            async with asyncio.TaskGroup() as asking:
                await self._pace(asking)
            teller.cancel()
        self._say()

    @property
    def report(self) -> Report:
        return Report(
            time.time(), self._asked, self._failed, self._slow, self._slowest, self._held, self._lost
        )

    async def _pace(self, group: asyncio.TaskGroup) -> None:
        """Open loop: a slow answer delays no other visitor."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self.stop.is_set():
            group.create_task(self._visit())
            due = max(due + self._every, loop.time())  # a machine that stood still is not made up for
            await asyncio.sleep(due - loop.time())

    async def _visit(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(LIMIT):
                reader, writer = await asyncio.open_connection(self._address, self._port)
                try:
                    await self._ask(reader, writer, "close")
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self._failed.append(_trouble(error))
        else:
            took = time.monotonic() - began
            self._slowest = max(self._slowest, took)
            self._slow += took > SLOW
        self._asked += 1

    async def _stay(self, first: float, opened: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                reader, writer = await asyncio.open_connection(self._address, self._port)
            opened.set()
            await asyncio.sleep(first)
            while not self.stop.is_set():
                async with asyncio.timeout(LIMIT):
                    await self._ask(reader, writer, "keep-alive")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), ASK)
            writer.close()
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self._lost.append(_trouble(error))
            opened.set()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: str) -> None:
        """One question and its whole answer."""
        writer.write(f"GET / HTTP/1.1\r\nHost: {self._address}\r\nConnection: {connection}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise ValueError(head.splitlines()[0].decode())
        await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self._say()

    def _say(self) -> None:
        os.write(1, msgspec.json.encode(self.report) + b"\n")


def _trouble(error: BaseException) -> Trouble:
    return Trouble(round(time.time(), 3), f"{type(error).__name__} {error}".strip())


if __name__ == "__main__":
    asyncio.run(Run(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])).main())
