"""The whole controller over an API server in memory: what is written in which order, and what faults do.

One file because every law here is told with the same small world, and reads beside its neighbours.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.cluster.errors import Invalid, NotLeading, Unreachable
from metalbgp.cluster.resources import (
    ENDPOINT_SLICES,
    IP_ADDRESS_POOLS,
    L2_ADVERTISEMENTS,
    NODES,
    PODS,
    SERVICES,
    SPEAKER_CONFIGURATIONS,
    VIRTUAL_IPS,
)
from metalbgp.controller import addresses, configure, reconcile
from metalbgp.controller.controller import Controller, Options, live_nodes
from metalbgp.model.services import Pod
from tests.fakeapi import FakeClient

NS = "metallb-system"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configure, "COALESCE", 0.001)
    monkeypatch.setattr(configure, "AGAIN", 0.001)
    monkeypatch.setattr(addresses, "QUIET", 0.02)


class World:
    def __init__(self) -> None:
        self.api = FakeClient()
        self.leads: asyncio.Queue[bool] = asyncio.Queue()
        self.told: list[tuple[str, str, str]] = []
        self.one = Controller(
            self.api,
            self.api,
            lambda reference, kind, reason, words: self.told.append((reference.name, reason, words)),
            Options(namespace=NS, installation=NS),
        )

    def pool(self, name: str, *blocks: str, **spec: Any) -> None:
        self.api.put(IP_ADDRESS_POOLS, name, {"spec": {"addresses": list(blocks), **spec}}, NS)

    def service(
        self, name: str, *, dual: str = "", uid: str = "", status: Any = None, **annotations: str
    ) -> None:
        ips = ["10.96.0.1", "fd00::1"] if dual else ["10.96.0.1"]
        spec: dict[str, Any] = {
            "type": "LoadBalancer",
            "clusterIP": ips[0],
            "clusterIPs": ips,
            "ports": [{"port": 80, "protocol": "TCP"}],
        }
        if dual:
            spec["ipFamilyPolicy"] = dual
        meta: dict[str, Any] = {"creationTimestamp": "2026-01-01T00:00:00Z"}
        if uid:
            meta["uid"] = uid
        if annotations:
            meta["annotations"] = {f"metallb.io/{key}": value for key, value in annotations.items()}
        body: dict[str, Any] = {"metadata": meta, "spec": spec}
        if status is not None:
            body["status"] = {"loadBalancer": {"ingress": status}}
        self.api.put(SERVICES, name, body, "web")

    def addresses(self, name: str) -> list[str]:
        found = self.api.objects.get(("services", "web", name), {})
        ingress = found.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
        return [one.get("ip", "") for one in ingress]

    def claims(self) -> dict[str, str]:
        """Phase by address."""
        return {
            name: one["spec"]["phase"]
            for (plural, _, name), one in self.api.objects.items()
            if plural == VIRTUAL_IPS.plural
        }

    def holders(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.spec(VIRTUAL_IPS, name).get("holders", {})
        return found

    def wrote(self, plural: str) -> list[str]:
        return [verb for verb, what, _ in self.api.writes if what.startswith(f"{plural}/")]


@asynccontextmanager
async def running(world: World, lead: bool = True) -> AsyncIterator[World]:
    task = asyncio.create_task(world.one.run(world.leads.get))
    if lead:
        world.leads.put_nowait(True)
        await until(lambda: world.one.leading)
    try:
        yield world
        assert not task.done(), "the controller ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], limit: float = 5.0) -> None:
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110  # a value of the fake, which tells nobody
            await asyncio.sleep(0.002)


async def test_a_service_costs_one_claim_and_one_status_and_no_conflict() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        for number in range(20):
            world.service(f"s{number}")
        await until(lambda: all(world.addresses(f"s{number}") for number in range(20)))
        await asyncio.sleep(0.2)  # time for what must not come
        assert world.wrote("services") == ["PATCH"] * 20
        assert world.wrote("virtualips") == ["POST"] * 20
        assert len({world.addresses(f"s{number}")[0] for number in range(20)}) == 20


async def test_all_or_none_of_a_dual_stack_service_without_flapping() -> None:
    """The IPv6 address is another installation's: the IPv4 claim stays bound while the next one is tried."""
    world = World()
    world.pool("production", "198.51.100.0/30", "fd00:1::1-fd00:1::3")
    foreign = {
        "metadata": {"labels": {"metalbgp.io/installation": "other"}},
        "spec": {"address": "fd00:1::1", "pool": "x", "phase": "bound", "holders": {"o/o": {"uid": "u"}}},
    }
    world.api.put(VIRTUAL_IPS, "fd00-0001-0000-0000-0000-0000-0000-0001", foreign)
    async with running(world):
        world.service("web", dual="RequireDualStack")
        await until(lambda: len(world.addresses("web")) == 2)
        assert world.addresses("web") == ["198.51.100.0", "fd00:1::2"]
        phases = [
            body["spec"]["phase"]
            for verb, what, body in world.api.writes
            if what.startswith("virtualips/") and "phase" in body.get("spec", {})
        ]
        assert "releasing" not in phases


async def test_both_addresses_of_a_dual_stack_service_have_the_order_of_its_first() -> None:
    """Which is the IPv4 one, as in MetalLB's status; by their own the two would be on two nodes."""
    world = World()
    world.pool("production", "192.0.2.1-192.0.2.1", "2001:db8::1-2001:db8::1")
    world.api.put(L2_ADVERTISEMENTS, "all", {"spec": {}}, NS)
    for letter in "abcd":
        world.api.put(NODES, f"node-{letter}", {})
        labels = {"app": "metallb", "component": "speaker"}
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        pod = {"metadata": {"labels": labels}, "spec": {"nodeName": f"node-{letter}"}, "status": ready}
        world.api.put(PODS, f"speaker-{letter}", pod, NS)
    async with running(world):
        world.service("web", dual="RequireDualStack")
        piece = {
            "metadata": {"labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": "node-a", "conditions": {"ready": True}}],
        }
        world.api.put(ENDPOINT_SLICES, "web-1", piece, "web")
        names = ("192.0.2.1", "2001-0db8-0000-0000-0000-0000-0000-0001")
        await until(lambda: len(world.addresses("web")) == 2)
        by_first = [f"node-{letter}" for letter in "cadb"]  # the vector of 192.0.2.1; 2001:db8::1 is dbac

        def written(name: str) -> Any:
            return world.api.spec(VIRTUAL_IPS, name).get("candidates")

        await until(lambda: [written(name) for name in names] == [by_first] * 2)


async def test_what_one_family_got_goes_back_when_the_other_is_not_to_be_had() -> None:
    world = World()
    world.pool("production", "198.51.100.0/30", "fd00:1::1-fd00:1::1")
    foreign = {
        "metadata": {"labels": {"metalbgp.io/installation": "other"}},
        "spec": {"address": "fd00:1::1", "pool": "x", "phase": "bound", "holders": {"o/o": {"uid": "u"}}},
    }
    world.api.put(VIRTUAL_IPS, "fd00-0001-0000-0000-0000-0000-0000-0001", foreign)
    async with running(world):
        world.service("web", dual="RequireDualStack")
        await until(lambda: any(reason == "AllocationFailed" for _, reason, _ in world.told))
        await until(lambda: len(world.claims()) == 1)
        assert world.addresses("web") == []


async def test_a_claim_in_phase_releasing_that_a_predecessor_left_behind_is_deleted() -> None:
    """Written by the former leader after our views were complete: nobody else remembers to delete it."""
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        vip = {
            "metadata": {"labels": {"metalbgp.io/installation": NS, "metalbgp.io/phase": "releasing"}},
            "spec": {
                "address": "198.51.100.9",
                "pool": "production",
                "phase": "releasing",
                "holders": {"web/gone": {"uid": "u"}},
            },
        }
        world.api.put(VIRTUAL_IPS, "198.51.100.9", vip)
        await until(lambda: not world.claims())


async def test_an_address_that_was_only_tried_or_only_stood_in_a_status_is_free_again() -> None:
    world = World()
    world.pool("production", "198.51.100.0/31")
    world.service("one", status=[{"ip": "198.51.100.1"}], loadBalancerIPs="198.51.100.0")
    async with running(world):
        await until(lambda: world.addresses("one") == ["198.51.100.0"])
        world.service("two")
        await until(lambda: world.addresses("two") == ["198.51.100.1"])


async def test_a_claim_whose_answer_was_lost_is_ours() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    lost: list[str] = []

    def loses(verb: str, plural: str) -> None:
        if plural == "virtualips" and verb == "POST" and not lost:
            lost.append(verb)
            raise Unreachable("POST", "the connection broke")

    world.api.loses = loses
    async with running(world):
        world.service("web")
        await until(lambda: world.addresses("web") == ["198.51.100.0"])
        assert lost and set(world.claims()) == {"198.51.100.0"}


async def test_a_service_made_anew_within_the_moment_keeps_the_address() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        world.service("web", uid="first")
        await until(lambda: bool(world.addresses("web")))
        world.api.take(SERVICES, "web", "web")
        world.service("web", uid="second")
        await until(lambda: bool(world.addresses("web")))
        await until(lambda: world.holders("198.51.100.0").get("web/web", {}).get("uid") == "second")
        await until(lambda: world.claims() == {"198.51.100.0": "bound"})


async def test_a_service_that_returns_while_its_claim_is_releasing_finds_it_bound_again() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        world.service("web", uid="first")
        await until(lambda: bool(world.addresses("web")))
        world.api.take(SERVICES, "web", "web")
        await until(lambda: world.claims() == {"198.51.100.0": "releasing"})
        world.service("web", uid="second")
        await until(lambda: world.addresses("web") == ["198.51.100.0"])
        await asyncio.sleep(0.1)  # time for what must not come
        assert world.claims() == {"198.51.100.0": "bound"}


async def test_two_sharers_join_one_claim_and_the_last_to_leave_gives_it_back() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        for name, port in (("a", 80), ("b", 81)):
            world.service(name)
            whole = world.api.objects["services", "web", name]
            body = {key: whole[key] for key in ("metadata", "spec")}
            body["metadata"]["annotations"] = {
                "metallb.io/allow-shared-ip": "k",
                "metallb.io/loadBalancerIPs": "198.51.100.7",
            }
            body["spec"]["ports"] = [{"port": port, "protocol": "TCP"}]
            world.api.put(SERVICES, name, body, "web")
        await until(lambda: world.addresses("a") == world.addresses("b") == ["198.51.100.7"])
        assert set(world.holders("198.51.100.7")) == {"web/a", "web/b"}
        world.api.take(SERVICES, "a", "web")
        await until(lambda: set(world.holders("198.51.100.7")) == {"web/b"})
        assert world.claims()["198.51.100.7"] == "bound"
        world.api.take(SERVICES, "b", "web")
        await until(lambda: "198.51.100.7" not in world.claims())


async def test_a_pool_that_shrinks_takes_its_address_and_gives_another() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        world.service("web")
        await until(lambda: world.addresses("web") == ["198.51.100.0"])
        world.pool("production", "198.51.100.8/29")
        await until(lambda: world.addresses("web") == ["198.51.100.8"])
        await until(lambda: world.claims() == {"198.51.100.8": "bound"})


async def test_a_status_written_by_other_hands_is_made_right() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        world.service("web")
        await until(lambda: world.addresses("web") == ["198.51.100.0"])
        for ingress in (
            [],
            [{"ip": "1.2.3.4"}],
            [{"hostname": "x"}],
            [{"ip": "198.51.100.0"}, {"ip": "nonsense"}],
        ):
            world.service("web", status=ingress)
            await until(lambda: world.addresses("web") == ["198.51.100.0"])


async def test_a_type_changed_away_from_load_balancer_clears_all() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        world.service("web")
        await until(lambda: bool(world.addresses("web")))
        whole = world.api.objects["services", "web", "web"]
        whole["spec"]["type"] = "ClusterIP"
        world.api.put(SERVICES, "web", {key: whole[key] for key in ("metadata", "spec", "status")}, "web")
        await until(lambda: not world.claims() and not world.addresses("web"))


async def test_leadership_that_ends_while_it_begins_leaves_nothing_running() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    asked: list[str] = []

    def fails(verb: str, plural: str) -> None:
        if plural == SPEAKER_CONFIGURATIONS.plural:
            asked.append(verb)
            if verb != "GET":
                raise NotLeading("lease", "held by another")

    async with running(world, lead=False):
        world.api.fails = fails
        world.leads.put_nowait(True)
        await until(lambda: len(asked) > 2)
        world.leads.put_nowait(False)
        await asyncio.sleep(0.05)  # what was under way is over
        before = len(asked)
        await asyncio.sleep(0.1)  # time for what must not come
        assert len(asked) == before, "a follower keeps asking"
        world.api.fails = lambda *_: None
        world.service("web")
        world.leads.put_nowait(True)
        await until(lambda: bool(world.addresses("web")))


async def test_a_follower_that_takes_over_finds_half_done_work() -> None:
    """A claim without a status, and a status without a claim."""
    world = World()
    world.pool("production", "198.51.100.0/24")
    world.service("half", uid="h")
    world.service("shown", uid="s", status=[{"ip": "198.51.100.3"}])
    holder = {"uid": "h", "ports": ["TCP/80"]}
    claim = {
        "metadata": {"labels": {"metalbgp.io/installation": NS, "metalbgp.io/phase": "bound"}},
        "spec": {
            "address": "198.51.100.5",
            "pool": "production",
            "phase": "bound",
            "holders": {"web/half": holder},
        },
    }
    world.api.put(VIRTUAL_IPS, "198.51.100.5", claim)
    async with running(world):
        await until(lambda: world.addresses("half") == ["198.51.100.5"])
        await until(lambda: world.claims().keys() == {"198.51.100.5", "198.51.100.3"})
        assert world.addresses("shown") == ["198.51.100.3"]


async def test_a_claim_that_cannot_be_read_ends_nothing() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        for number, ports in enumerate((["TCP/many"], ["TCP"], [""])):
            holder = {"uid": "h", "ports": ports}
            claim = {
                "metadata": {"labels": {"metalbgp.io/installation": NS, "metalbgp.io/phase": "bound"}},
                "spec": {
                    "address": f"198.51.100.{number}",
                    "pool": "production",
                    "phase": "bound",
                    "holders": {"web/half": holder},
                },
            }
            world.api.put(VIRTUAL_IPS, f"198.51.100.{number}", claim)
        world.service("web")
        await until(lambda: bool(world.addresses("web")))


async def test_a_write_that_keeps_failing_is_tried_ever_more_slowly() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    tries: list[str] = []

    def fails(verb: str, plural: str) -> None:
        if plural == "services":
            tries.append(verb)
            raise Invalid(verb, "no", status=422)

    async with running(world):
        world.api.fails = fails
        world.service("web")
        await asyncio.sleep(1.0)  # the tries of a second are counted
        assert 2 <= len(tries) <= 6


def test_that_all_speakers_died_at_once_is_not_believed() -> None:
    """Kubernetes calls all Pods not ready after an outage of the API server, until the kubelets report."""
    pods = [Pod("metallb-system", f"s{n}", node=f"n{n}", ready=n < 3) for n in (1, 2, 3)]
    assert live_nodes(pods) == {"n1", "n2"}
    assert live_nodes([replace(pod, ready=False) for pod in pods]) == {"n1", "n2", "n3"}
    assert live_nodes([]) == frozenset()


async def test_a_claim_over_its_limit_is_refused_with_its_reason_and_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconcile, "LARGEST", 700)
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        world.service("small")
        await until(lambda: bool(world.addresses("small")))
        world.service("large")
        found = world.api.objects["services", "web", "large"]
        ports = [{"port": number, "protocol": "TCP"} for number in range(1000, 1200)]
        world.api.put(SERVICES, "large", {**found, "spec": {**found["spec"], "ports": ports}}, "web")
        await until(lambda: any("ClaimTooLarge" in words for _, _, words in world.told))
        await until(lambda: world.addresses("large") == [])
        world.service("later")
        await until(lambda: bool(world.addresses("later")))
        assert world.addresses("small") == ["198.51.100.0"]
        told = next(words for name, _, words in world.told if name == "large" and "ClaimTooLarge" in words)
        assert "700 are the limit" in told
        assert "Remedy" in told
