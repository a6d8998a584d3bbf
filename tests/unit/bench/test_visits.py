"""A visitor notices whatever it does not get: what is never counted as failed would prove nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bench import visits
from bench.visits import Report, Run

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
Answer = Callable[[int], bytes | None]  # to the request of that number; None: reset


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[int]:
    """A server that stands behind an address; its port."""
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked += 1
                said = answer(asked)
                if said is None:
                    writer.transport.abort()
                    return
                writer.write(said)
                if said != PAGE or b"close" in head:
                    break
        except (EOFError, OSError):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def seen(
    answer: Answer, capfd: pytest.CaptureFixture[str], *, held: int = 0, asked: int = 20
) -> Report:
    async with serving(answer) as port:
        run = Run("127.0.0.1", 0.001, held, port)
        task = asyncio.create_task(run.main())
        async with asyncio.timeout(20):
            while run.report.asked < asked:  # noqa: ASYNC110  # each turn lets it ask
                await asyncio.sleep(0.001)
            run.stop.set()
            await task
    assert capfd.readouterr().out.endswith("}\n")  # the last word is printed
    return run.report


async def test_whole_answers_are_no_failures(capfd: pytest.CaptureFixture[str]) -> None:
    report = await seen(lambda _: PAGE, capfd, held=5)
    assert (report.failed, report.lost, report.held) == ([], [], 5)


@pytest.mark.parametrize(
    "bad", [None, PAGE[:-1], b"", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"], ids=str
)
async def test_a_reset_a_part_nothing_and_a_refusal_are_failures(
    bad: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    report = await seen(lambda number: bad if number == 7 else PAGE, capfd)
    assert len(report.failed) == 1


async def test_an_answer_that_does_not_come_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(visits, "LIMIT", 0.2)

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        run = Run("127.0.0.1", 0.01, 0, server.sockets[0].getsockname()[1])
        task = asyncio.create_task(run.main())
        async with asyncio.timeout(20):
            while not run.report.failed:  # noqa: ASYNC110  # the same
                await asyncio.sleep(0.01)
            run.stop.set()
            await task
    assert len(run.report.failed) == run.report.asked > 0


async def test_one_reset_is_counted_once_whomever_it_hits(capfd: pytest.CaptureFixture[str]) -> None:
    first = iter([None])
    report = await seen(lambda _: next(first, PAGE), capfd, held=2)
    assert (len(report.lost) + len(report.failed), report.held) == (1, 2)
