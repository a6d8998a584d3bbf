"""Requests: what is sent, what a refusal becomes, and what is waited for."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from metalbgp.cluster.access import Access, WatchedFile
from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import (
    AccessError,
    AlreadyExists,
    BadRequest,
    ClusterError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    NotLeading,
    ServerError,
    Timeout,
    TooMany,
    Unauthorized,
    Unreachable,
)
from metalbgp.cluster.resources import SERVICES, VIRTUAL_IPS
from tests.unit.cluster.misbehaving import Naps, Server, answer, refuse, until, watch


async def test_a_patch_with_a_version_is_a_compare_and_swap_in_one_request(server: Server) -> None:
    await server.start(answer(200))
    async with Client(server.access) as client:
        body = {"metadata": {"annotations": {"a": "b"}}, "status": {}}
        await client.patch(SERVICES, "web", body, "default", subresource="status", resource_version="17")
    (asked,) = server.requests
    assert (asked.method, asked.path) == ("PATCH", "/api/v1/namespaces/default/services/web/status")
    assert asked.headers["Content-Type"] == "application/merge-patch+json"
    assert asked.body == {"metadata": {"annotations": {"a": "b"}, "resourceVersion": "17"}, "status": {}}
    assert body["metadata"] == {"annotations": {"a": "b"}}


async def test_a_create_names_its_kind(server: Server) -> None:
    await server.start(answer(201))
    async with Client(server.access) as client:
        await client.create(VIRTUAL_IPS, {"metadata": {"name": "192.0.2.1"}})
    (asked,) = server.requests
    assert asked.path == "/apis/metalbgp.io/v1alpha1/virtualips"
    assert asked.body["apiVersion"] == "metalbgp.io/v1alpha1"
    assert asked.body["kind"] == "VirtualIP"


async def test_a_delete_carries_its_preconditions(server: Server) -> None:
    await server.start(answer(200))
    async with Client(server.access) as client:
        await client.delete(VIRTUAL_IPS, "192.0.2.1", uid="u", resource_version="9")
    assert server.requests[0].body["preconditions"] == {"uid": "u", "resourceVersion": "9"}


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (400, "BadRequest", BadRequest),
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (500, "InternalError", ServerError),
    ],
)
async def test_each_refusal_is_a_class_and_names_the_object(
    server: Server, code: int, reason: str, expected: type[ClusterError]
) -> None:
    await server.start(*[refuse(code, reason, "so it is")] * 2)
    async with Client(server.access) as client:
        with pytest.raises(expected, match="GET services default/web: so it is") as caught:
            await client.get(SERVICES, "web", "default")
    assert type(caught.value) is expected


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_retry_after_is_honoured_for_every_method(server: Server, method: str) -> None:
    await server.start(refuse(429, "TooManyRequests", Retry_After="2"), answer(200))
    naps = Naps()
    async with Client(server.access, sleep=naps, rand=lambda: 0.0) as client:
        await client.call(method, "/api/v1/services/web")
    assert naps.taken == [2.0]
    assert [asked.method for asked in server.requests] == [method] * 2


async def test_a_server_that_stays_busy_is_given_up_after_a_while(server: Server) -> None:
    await server.start(*[refuse(429, "TooManyRequests", Retry_After="8")] * 9)
    naps = Naps()
    async with Client(server.access, sleep=naps, rand=lambda: 0.0) as client:
        with pytest.raises(TooMany):
            await client.get(SERVICES, "web", "default")
    assert naps.taken == [8.0, 8.0, 8.0]


async def test_a_5xx_is_tried_again_only_when_the_server_says_when(server: Server) -> None:
    await server.start(refuse(503, "Unavailable", Retry_After="1"), answer(200), answer(502, "<html>"))
    naps = Naps()
    async with Client(server.access, sleep=naps, rand=lambda: 0.0) as client:
        await client.get(SERVICES, "web", "default")
        with pytest.raises(ServerError, match=r"502.*html"):
            await client.get(SERVICES, "web", "default")
    assert naps.taken == [1.0]


async def test_an_answer_that_never_comes_is_a_timeout(server: Server) -> None:
    await server.start(watch(then="hang"))
    async with Client(server.access, timeout=0.05) as client:
        with pytest.raises(Timeout, match=r"services default/web: no answer within 0\.1 s"):
            await client.get(SERVICES, "web", "default")


async def test_a_refused_connection_is_unreachable(server: Server) -> None:
    await server.start()
    access = server.access
    await server.stop()
    async with Client(access) as client:
        with pytest.raises(Unreachable, match="is the API server running"):
            await client.get(SERVICES, "web", "default")


async def test_no_more_writes_are_in_flight_than_allowed(server: Server) -> None:
    await server.start()  # every answer hangs
    async with Client(server.access, writes=3, timeout=30) as client:
        tasks = [asyncio.create_task(client.delete(SERVICES, f"s{number}")) for number in range(8)]
        await until(lambda: len(server.requests) >= 3)
        assert len(server.requests) == 3
        asyncio.get_running_loop().call_soon(tasks[0].cancel)
        await until(lambda: len(server.requests) == 4)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# ------------------------------------------------------------------ the fence


async def test_a_write_behind_a_closed_fence_is_not_sent(server: Server) -> None:
    await server.start(answer(200), answer(200))

    def closed() -> float:
        raise NotLeading("PATCH", "the Lease ran out")

    async with Client(server.access) as client:
        guarded = client.behind(closed)
        with pytest.raises(NotLeading):
            await guarded.create(VIRTUAL_IPS, {"metadata": {"name": "192.0.2.1"}})
        await guarded.get(VIRTUAL_IPS, "192.0.2.1")  # reading is always allowed
        await client.delete(VIRTUAL_IPS, "192.0.2.1")  # and so is the unguarded one
    assert [asked.method for asked in server.requests] == ["GET", "DELETE"]


async def test_the_fence_is_asked_again_after_waiting_for_retry_after(server: Server) -> None:
    await server.start(refuse(429, "TooManyRequests", Retry_After="2"), answer(200))
    answers = [10.0]

    def fence() -> float:
        if not answers:
            raise NotLeading("PATCH", "the Lease ran out")
        return answers.pop()

    async with Client(server.access, sleep=Naps()) as client:
        with pytest.raises(NotLeading):
            await client.behind(fence).delete(VIRTUAL_IPS, "192.0.2.1")
    assert len(server.requests) == 1


async def test_a_write_does_not_outlive_its_right(server: Server) -> None:
    await server.start(watch(then="hang"))
    began = time.monotonic()
    async with Client(server.access, timeout=30) as client:
        with pytest.raises(Timeout):
            await client.behind(lambda: 0.05).delete(VIRTUAL_IPS, "192.0.2.1")
    assert time.monotonic() - began < 5


# ------------------------------------------------------------------ tokens


async def test_a_rotated_token_counts_from_the_next_look_on(server: Server, tmp_path: Path) -> None:
    await server.start(answer(200), answer(200))
    token = tmp_path / "token"
    token.write_text("first\n")
    async with Client(Access(server.url, token_file=WatchedFile(token, look=0.0))) as client:
        await client.get(SERVICES, "web")
        (tmp_path / "next").write_text("second\n")
        (tmp_path / "next").rename(token)  # kubelet swaps a link: another inode
        await client.get(SERVICES, "web")
    assert [asked.headers["Authorization"] for asked in server.requests] == ["Bearer first", "Bearer second"]


async def test_after_a_401_the_token_is_read_again_and_the_request_repeated(
    server: Server, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("stale")
    file = WatchedFile(token)
    file.read()
    stamp = token.stat()
    with token.open("r+") as same:  # same inode, size and time: stat() cannot tell
        same.write("fresh")
    os.utime(token, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    await server.start(refuse(401, "Unauthorized"), answer(200))
    async with Client(Access(server.url, token_file=file)) as client:
        await client.get(SERVICES, "web")
    assert [asked.headers["Authorization"] for asked in server.requests] == ["Bearer stale", "Bearer fresh"]


def test_a_token_file_is_read_again_every_minute(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("stale")
    now = [0.0]
    file = WatchedFile(token, clock=lambda: now[0])
    assert file.read() == b"stale"
    stamp = token.stat()
    with token.open("r+") as same:
        same.write("fresh")
    os.utime(token, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert file.read() == b"stale"
    now[0] = 61.0
    assert file.read() == b"fresh"


async def test_an_empty_or_missing_token_file_keeps_the_last_good_token(
    server: Server, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    access = Access(server_url := "http://127.0.0.1:1", token_file=WatchedFile(token))
    with pytest.raises(AccessError, match="missing or empty"):
        access.headers()
    token.write_text("good")
    assert access.headers() == {"Authorization": "Bearer good"}
    token.write_text("")
    assert access.headers() == {"Authorization": "Bearer good"}
    token.unlink()
    assert access.headers() == {"Authorization": "Bearer good"}
    assert access.server == server_url
