"""What is held back on the way to the API server arrives late, and nothing else does."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from bench.api import Api
from bench.place import Door
from tests.apiserver import ApiServer, running
from tests.soak.strait import Strait

MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
LIMIT = 30.0
A_WHILE = 0.5  # what is held does not arrive within it


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running(tmp_path_factory.mktemp("strait")) as made:
        yield made


@pytest.fixture
def strait(server: ApiServer) -> Iterator[Strait]:
    made = Strait(server, ("one", "other"))
    yield made
    made.end()


def through(server: ApiServer, strait: Strait, name: str, place: Path) -> Api:
    config = place / f"{name}.kubeconfig"
    config.write_text(server.kubeconfig_of("admin"))
    return Api(config, Door("", "127.0.0.1", int(strait.doors[name].rpartition(":")[2])))


def heard(api: Api, path: str) -> "queue.Queue[str]":
    """Names of what is made from now on."""
    found: queue.Queue[str] = queue.Queue()
    version = api.get(path)["metadata"]["resourceVersion"]
    connection, lines = api.watch(path, version)

    def follow() -> None:
        with suppress(OSError, HTTPException):  # the end of the test
            for line in lines:
                found.put(json.loads(line)["object"]["metadata"]["name"])
        connection.close()

    threading.Thread(target=follow, daemon=True).start()
    return found


def made(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def test_one_watch_of_one_process_waits_and_its_others_do_not(
    server: ApiServer, strait: Strait, tmp_path: Path
) -> None:
    one, other = (through(server, strait, name, tmp_path) for name in ("one", "other"))
    maps, secrets, theirs = heard(one, MAPS), heard(one, SECRETS), heard(other, MAPS)
    strait.hold("one:configmaps")
    one.create(MAPS, made("first"))
    one.create(MAPS, made("second"))
    one.create(SECRETS, made("third"))
    assert secrets.get(timeout=LIMIT) == "third"
    assert [theirs.get(timeout=LIMIT) for _ in range(2)] == ["first", "second"]
    with pytest.raises(queue.Empty):
        maps.get(timeout=A_WHILE)
    strait.release("one:configmaps")
    assert [maps.get(timeout=LIMIT) for _ in range(2)] == ["first", "second"]


def test_a_process_that_is_cut_off_hears_nothing_and_is_not_heard(
    server: ApiServer, strait: Strait, tmp_path: Path
) -> None:
    one, other = (through(server, strait, name, tmp_path) for name in ("one", "other"))
    strait.hold("one:all")
    asked = threading.Thread(target=lambda: one.create(MAPS, made("late")), daemon=True)
    asked.start()
    asked.join(A_WHILE)
    assert asked.is_alive()
    assert "late" not in {item["metadata"]["name"] for item in other.get(MAPS)["items"]}
    strait.release("one:all")
    asked.join(LIMIT)
    assert "late" in {item["metadata"]["name"] for item in other.get(MAPS)["items"]}
