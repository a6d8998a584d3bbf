"""Two controller processes; the one that leads is paused with SIGSTOP in the middle of its work, and resumed.

In:  a real API server, real processes with short Leases, Services created in bursts while one is stopped.
Out: no address is ever shown or claimed for two Services, and every Service gets one.
Elsewhere: two that both are sure to lead, in one process: test_two_leaders.py.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import NotFound
from metalbgp.cluster.resources import LEASES, SERVICES, VIRTUAL_IPS
from tests.apiserver import ApiServer
from tests.laws_api.rules import PLACE, SYSTEM, World, body, installed, until, world

LONG = bool(os.environ.get("METALBGP_LONG"))
ROUNDS, BURST = 200 if LONG else 5, 40  # addresses of a round, each of which two leaders may want at once
LEASE = 2.0  # seconds


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    return installed(apiserver)


@pytest.fixture
async def it(server: ApiServer) -> AsyncIterator[World]:
    async with world(server) as one:
        yield one


class Process:
    def __init__(self, server: ApiServer, place: Path, name: str) -> None:
        kubeconfig = place / name
        kubeconfig.write_text(server.kubeconfig_of("controller"))
        self.name = name
        self._log = (place / f"{name}.log").open("wb")
        words = ["--kubeconfig", str(kubeconfig), "--namespace", SYSTEM, "--pod-name", name]
        words += [
            "--webhook-mode",
            "disabled",
            "--port",
            "0",
            "--health-probe-port",
            str(free_port()),
            "--lease-duration",
            str(LEASE),
        ]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "metalbgp.controller", *words], stdout=self._log, stderr=subprocess.STDOUT
        )

    def send(self, what: signal.Signals) -> None:
        os.kill(self._child.pid, what)

    def end(self) -> None:
        self._child.kill()
        self._child.wait()
        self._log.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def leader(client: Client) -> str:
    found = json.loads(await client.get(LEASES, "metalbgp-controller", SYSTEM))
    return str(found["spec"].get("holderIdentity") or "").partition("_")[0]


async def given(it: World) -> list[str]:
    """What the statuses show; asserted at every look: nothing twice."""
    shown = [
        entry["ip"]
        for one in await it.all(SERVICES, PLACE)
        for entry in one["status"].get("loadBalancer", {}).get("ingress") or ()
    ]
    assert all(count == 1 for count in Counter(shown).values()), Counter(shown).most_common(3)
    return shown


async def claimed(it: World) -> list[str]:
    """The addresses that our Services hold, each of them one."""
    found = []
    for one in await it.all(VIRTUAL_IPS):
        holders = [key for key in one["spec"].get("holders", {}) if key.startswith(f"{PLACE}/")]
        assert len(holders) <= 1
        found += [one["spec"]["address"]] * bool(holders)  # others are of tests before this one
    return sorted(found)


@pytest.mark.timeout(7200 if LONG else 300)
async def test_a_leader_paused_in_mid_work_and_resumed_never_gives_an_address_twice(
    it: World, server: ApiServer, tmp_path: Path
) -> None:
    await it.pool("a", "198.51.100.0/24")
    ones = {name: Process(server, tmp_path, name) for name in ("one", "two")}
    try:
        await until(lambda: names(it), lambda found: found in ones)
        for turn in range(ROUNDS):
            if turn > 1:  # what the round before the last one made goes meanwhile, and its addresses with it
                await forget(it, turn - 2)
            await burst(it, turn, BURST // 2)
            paused = await names(it)
            ones[paused].send(signal.SIGSTOP)
            await burst(it, turn, BURST, BURST // 2)
            await until(lambda: names(it), lambda found, paused=paused: found in ones and found != paused)
            ones[paused].send(signal.SIGCONT)
            wanted = BURST * min(turn + 1, 2)
            await until(lambda: given(it), lambda found, wanted=wanted: len(found) == wanted)
        shown = sorted(await given(it))
        await until(lambda: claimed(it), lambda claims: claims == shown)
    finally:
        for one in ones.values():
            one.end()


async def names(it: World) -> str:
    try:
        return await leader(it.admin)
    except NotFound:  # nobody has led yet
        return ""


async def burst(it: World, turn: int, upto: int, first: int = 0) -> None:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": "x"}}
    await asyncio.gather(
        *(
            it.admin.create(
                SERVICES, body(SERVICES, {"metadata": {"name": f"s{turn}-{number}"}, "spec": spec}), PLACE
            )
            for number in range(first, upto)
        )
    )


async def forget(it: World, turn: int) -> None:
    await asyncio.gather(*(it.delete(SERVICES, f"s{turn}-{number}", PLACE) for number in range(BURST)))
