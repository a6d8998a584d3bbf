"""Leases of fenced addresses on a real API server, with a speaker's own rights and k8s/fencing.yaml."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from metalbgp.clocks import clock
from metalbgp.cluster.access import from_kubeconfig
from metalbgp.cluster.client import Client
from metalbgp.speaker.fencing import DURATION, RENEW, Fencing
from tests.apiserver import ApiServer
from tests.unit.cluster.misbehaving import until

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "metallb-system"
VIP, VIP6 = "198.51.100.1", "2001:db8::1"
LEASE, LEASE6 = "l2-198.51.100.1", "l2-2001-0db8-0000-0000-0000-0000-0000-0001"
SPEAKER = (f"--as=system:serviceaccount:{SYSTEM}:speaker", f"--as-group=system:serviceaccounts:{SYSTEM}")


class Node:
    def __init__(self, client: Client, name: str) -> None:
        self.told: Mapping[str, float] = {}
        self.answers, self.deaf = 0, False
        self.fencing = Fencing(client, SYSTEM, name, self._tell, lambda: self.answers)
        self.task = asyncio.create_task(self.fencing.run())

    async def _tell(self, until: Mapping[str, float]) -> None:
        self.told = dict(until)
        self.answers += not self.deaf

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def killed(self) -> None:
        """Nothing is given back: a process that is killed runs no finally."""
        for elector, _ in self.fencing._held.values():
            elector._seen = None
        await self.end()


@dataclass
class Cluster:
    server: ApiServer
    client: Client

    async def holder(self, name: str = LEASE) -> str | None:
        got = await asyncio.to_thread(self.server.kubectl, "-n", SYSTEM, "get", "lease", name, "-o", "json")
        answer: str | None = json.loads(got)["spec"].get("holderIdentity")
        return answer


@pytest.fixture
async def cluster(apiserver: ApiServer) -> AsyncIterator[Cluster]:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
    apiserver.kubectl("apply", "-f", "-", stdin=json.dumps(space))
    apiserver.kubectl("delete", "leases", "--all", "-n", SYSTEM)
    async with Client(from_kubeconfig(apiserver.kubeconfig)) as client:
        yield Cluster(apiserver, client)


async def test_one_of_two_holds_it_and_the_other_gets_it_when_it_is_given_back(cluster: Cluster) -> None:
    one, other = Node(cluster.client, "n1"), Node(cluster.client, "n2")
    one.fencing.wants({VIP, VIP6})
    await until(lambda: one.told.keys() == {VIP, VIP6})
    assert 0 < one.told[VIP] - clock() <= RENEW
    assert (await cluster.holder(), await cluster.holder(LEASE6)) == ("n1", "n1")
    other.fencing.wants({VIP})
    held = one.told[VIP]
    await until(lambda: one.told[VIP] > held)  # renewed, while n2 asks for it
    assert VIP not in other.told
    one.fencing.wants({VIP6})
    await until(lambda: VIP in other.told)
    assert await cluster.holder() == "n2"
    assert VIP not in one.told
    await one.end()
    assert await cluster.holder(LEASE6) is None
    await other.end()


async def test_a_dead_nodes_lease_runs_out_and_its_own_next_life_need_not_wait(cluster: Cluster) -> None:
    one, other = Node(cluster.client, "n1"), Node(cluster.client, "n2")
    one.fencing.wants({VIP})
    await until(lambda: VIP in one.told)
    await one.killed()
    again = Node(cluster.client, "n1")
    again.fencing.wants({VIP})
    await until(lambda: VIP in again.told)
    await again.killed()
    begun = clock()
    other.fencing.wants({VIP})
    await until(lambda: VIP in other.told)
    assert clock() - begun >= DURATION - RENEW  # it begins when it is seen
    assert clock() >= again.told[VIP]  # the rights of two never overlap
    await other.end()


async def test_a_reflex_that_is_silent_loses_its_leases_when_it_may_answer_no_more(cluster: Cluster) -> None:
    one, other = Node(cluster.client, "n1"), Node(cluster.client, "n2")
    one.fencing.wants({VIP})
    await until(lambda: VIP in one.told)
    other.fencing.wants({VIP})
    one.deaf = True
    await until(lambda: VIP in other.told)
    assert clock() >= one.told[VIP]
    assert await cluster.holder() == "n2"
    await one.end()
    await other.end()


def test_a_speaker_may_hold_leases_of_addresses_and_no_others(cluster: Cluster) -> None:
    server = cluster.server
    server.kubectl("apply", "-f", str(ROOT / "k8s" / "fencing.yaml"))

    def create(name: str) -> str:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": SYSTEM},
            "spec": {"holderIdentity": "n1"},
        }
        try:
            server.kubectl(*SPEAKER, "create", "-f", "-", stdin=json.dumps(body))
        except (AssertionError, subprocess.CalledProcessError) as problem:
            return str(problem)
        return ""

    deadline = clock() + 20  # a policy is in force some time after it was written
    while not create(f"other-{int(clock() * 1000)}"):
        assert clock() < deadline
    assert "l2-ADDRESS" in create("metalbgp-controller")
    assert create(LEASE) == ""
