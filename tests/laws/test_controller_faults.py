"""Laws of the whole controller over an API server in memory: whatever writes fail, and however often the
leader changes (two may both be sure to lead), it ends with one claim an address, the statuses that the claims
say, and nothing taken that nobody holds."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metalbgp.cluster.errors import Conflict, NotLeading, Unreachable
from metalbgp.cluster.resources import (
    ADDRESS_RESERVATIONS,
    IP_ADDRESS_POOLS,
    POOL_POLICIES,
    SERVICES,
    SPEAKER_CONFIGURATIONS,
    VIRTUAL_IPS,
)
from metalbgp.controller import addresses, configure, controller, memory, queue
from metalbgp.controller.controller import Controller, Options
from metalbgp.model.virtualips import VirtualIP
from tests.fakeapi import FakeClient

NS = "metallb-system"
NAMES = ("a", "b", "c", "d")
POOLS = (["198.51.100.0/30"], ["198.51.100.0/31", "fd00::/127"], ["198.51.100.2/31", "fd00::/126"])

POLICIES: tuple[dict[str, Any] | None, ...] = (
    None,
    {"sticky": {}},
    {"sticky": {"for": "2s"}, "whenExhausted": "Reuse"},
    {"reuseDelay": "1s"},
    {"sticky": {}, "reuseDelay": "1s", "quotas": [{"limit": 2}]},
)
RESERVED = ("198.51.100.1", "198.51.100.2", "198.51.100.9", "fd00::1")
HASTE = 200.0  # seconds of the wall clock in one of ours: delays are whole seconds, and a law has no time

STEPS = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from(NAMES),
        st.sampled_from(["", "PreferDualStack", "RequireDualStack"]),
        st.sampled_from(["", "key"]),
        st.sampled_from(["", "198.51.100.2", "198.51.100.3"]),
    ),
    st.tuples(st.just("delete"), st.sampled_from(NAMES)),
    st.tuples(st.just("live"), st.sampled_from(NAMES)),
    st.tuples(st.just("status"), st.sampled_from(NAMES), st.sampled_from(["", "198.51.100.1", "1.2.3.4"])),
    st.tuples(st.just("type"), st.sampled_from(NAMES)),
    st.tuples(st.just("pool"), st.sampled_from(POOLS)),
    st.tuples(st.just("policy"), st.sampled_from(POLICIES)),
    st.tuples(st.just("reserve"), st.sampled_from(RESERVED), st.sampled_from(NAMES)),
    st.tuples(st.just("reserve"), st.none(), st.none()),
    st.tuples(st.just("vip"), st.integers(0, 9)),
    st.tuples(st.just("configuration"), st.booleans()),
    st.tuples(st.just("lead"), st.sampled_from([0, 1]), st.booleans()),
    st.tuples(
        st.just("wait"),
    ),
)


class World:
    def __init__(self, seed: int) -> None:
        self.api = FakeClient()
        self.random = random.Random(seed)  # noqa: S311  # repeatable, not secret
        self.leads = [asyncio.Queue[bool](), asyncio.Queue[bool]()]
        self.ones = [
            Controller(self.api, self.api, lambda *_: None, Options(namespace=NS, installation=NS))
            for _ in self.leads
        ]
        self.uids = iter(range(1000))

    def faults(self, share: float) -> None:
        def fails(verb: str, plural: str) -> None:
            if self.random.random() < share:
                kind = self.random.choice((Unreachable, Conflict, NotLeading))
                if verb == "GET" and kind is not Unreachable:
                    return
                raise kind(verb, "as the test wants")

        def loses(verb: str, plural: str) -> None:
            if self.random.random() < share:
                raise Unreachable(verb, "the answer was lost")

        self.api.fails, self.api.loses = fails, loses

    def service(self, name: str, dual: str, key: str, asked: str) -> None:
        ips = ["10.96.0.1", "fd00::1"] if dual else ["10.96.0.1"]
        annotations = {}
        if key:
            annotations["metallb.io/allow-shared-ip"] = key
        if asked and not dual:
            annotations["metallb.io/loadBalancerIPs"] = asked
        before = self.api.objects.get(("services", "web", name))
        uid = before["metadata"]["uid"] if before else f"{name}-{next(self.uids)}"
        body: dict[str, Any] = {
            "metadata": {"uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations},
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": ips[0],
                "clusterIPs": ips,
                "ports": [{"port": 80 + NAMES.index(name), "protocol": "TCP"}],
            },
        }
        if dual:
            body["spec"]["ipFamilyPolicy"] = dual
        if before and "status" in before:
            body["status"] = before["status"]
        if before and (pool := before["metadata"].get("annotations", {}).get(reconcile_annotation())):
            annotations[reconcile_annotation()] = pool
        self.api.put(SERVICES, name, body, "web")

    def play(self, step: tuple[Any, ...]) -> None:
        kind, *rest = step
        match kind:
            case "put":
                self.service(*rest)
            case "live":
                self.service(rest[0], "", "", "")
            case "delete" if ("services", "web", rest[0]) in self.api.objects:
                self.api.take(SERVICES, rest[0], "web")
            case "status" if (whole := self.api.objects.get(("services", "web", rest[0]))) is not None:
                ingress = [{"ip": rest[1]}] if rest[1] else []
                self.api.put(
                    SERVICES, rest[0], {**whole, "status": {"loadBalancer": {"ingress": ingress}}}, "web"
                )
            case "type" if (whole := self.api.objects.get(("services", "web", rest[0]))) is not None:
                self.api.put(
                    SERVICES, rest[0], {**whole, "spec": {**whole["spec"], "type": "ClusterIP"}}, "web"
                )
            case "pool":
                self.api.put(IP_ADDRESS_POOLS, "p", {"spec": {"addresses": rest[0]}}, NS)
            case "policy" if rest[0] is not None:
                self.api.put(POOL_POLICIES, "y", {"spec": {"ipAddressPools": ["p"], **rest[0]}}, NS)
            case "policy" if (POOL_POLICIES.plural, NS, "y") in self.api.objects:
                self.api.take(POOL_POLICIES, "y", NS)
            case "reserve" if rest[0] is not None:
                spec = {"addresses": [rest[0]], "service": {"namespace": "web", "name": rest[1]}}
                self.api.put(ADDRESS_RESERVATIONS, "r", {"spec": spec}, NS)
            case "reserve" if (ADDRESS_RESERVATIONS.plural, NS, "r") in self.api.objects:
                self.api.take(ADDRESS_RESERVATIONS, "r", NS)
            case "vip":
                names = sorted(name for plural, _, name in self.api.objects if plural == VIRTUAL_IPS.plural)
                if names:
                    self.api.take(VIRTUAL_IPS, names[rest[0] % len(names)])
            case "configuration" if (SPEAKER_CONFIGURATIONS.plural, NS, NS) in self.api.objects:
                if rest[0]:
                    self.api.take(SPEAKER_CONFIGURATIONS, NS, NS)
                else:
                    self.api.put(SPEAKER_CONFIGURATIONS, NS, {"spec": {"sequence": 0}}, NS)
            case "lead":
                self.leads[rest[0]].put_nowait(rest[1])
            case _:
                pass

    # ------------------------------------------------------------------ what must hold

    def statuses(self) -> dict[str, list[str]]:
        return {
            name: [one["ip"] for one in whole.get("status", {}).get("loadBalancer", {}).get("ingress") or ()]
            for (plural, _, name), whole in self.api.objects.items()
            if plural == "services"
        }

    def wrong(self) -> str:
        """What does not (yet) hold; "" when all does."""
        one = self.ones[0]
        claims = {
            name: whole["spec"]
            for (plural, _, name), whole in self.api.objects.items()
            if plural == VIRTUAL_IPS.plural
        }
        services = {
            f"web/{name}": whole
            for (plural, _, name), whole in self.api.objects.items()
            if plural == "services"
        }
        named: dict[str, set[str]] = {}
        for spec in claims.values():
            if spec["phase"] in ("reserved", "cooling"):
                if wrong := self.forgotten(spec):
                    return wrong
                continue
            if spec["phase"] != "bound" or not spec.get("holders"):
                return f"{spec['address']} is {spec['phase']} for {spec.get('holders')}"
            for key, holder in spec["holders"].items():
                if services.get(key, {}).get("metadata", {}).get("uid") != holder["uid"]:
                    return f"{spec['address']} names {key}, which is gone"
                named.setdefault(key, set()).add(spec["address"])
        for key, whole in services.items():
            shown = set(self.statuses()[key.partition("/")[2]])
            # A status of other hands on a Service that no pool can serve is left alone.
            marked = reconcile_annotation() in whole["metadata"]["annotations"]
            if (marked or key in named) and shown != named.get(key, set()):
                return f"{key} shows {shown}, claims say {named.get(key)}"
        taken = one.claims.taken
        known = taken._uses.keys() | taken._closed.keys() | taken._reserved.keys()
        claimed = {spec["address"] for spec in claims.values()}
        outside = {address for address in known if one.inventory.configuration.pool_of(address) is None}
        if known - outside != claimed:
            return f"taken {known} ({outside} in no pool), claimed {sorted(claims)}"
        waiting = [
            key
            for key, whole in services.items()
            if whole["spec"]["type"] == "LoadBalancer" and key not in named
        ]
        for key in waiting:
            if key not in one.inventory.services:
                return f"{key} is not seen yet"
            answer = one._reconciler._allocate(one.inventory.services[key], set())
            if hasattr(answer, "addresses"):
                return f"{key} waits, and could have {answer.addresses}"
        if one.queue.depth or one.queue._failures:
            return f"busy: {one.queue._failures}"
        written = self.api.objects.get((SPEAKER_CONFIGURATIONS.plural, NS, NS))
        if written is None or one.configurator._written != one.inventory.configuration:
            return "the configuration is not in force"
        return ""

    def forgotten(self, spec: dict[str, Any]) -> str:
        """What is wrong with the claim of an address that nobody holds."""
        address, phase = spec["address"], spec["phase"]
        found = self.api.objects.get((ADDRESS_RESERVATIONS.plural, NS, "r"), {}).get("spec", {})
        reserved = address in found.get("addresses", ())
        if spec.get("holders") or spec.get("candidates"):
            return f"{address} is {phase} and held by {spec.get('holders')}"
        if reserved != (phase == "reserved"):
            return f"{address} is {phase}, and reserved is {reserved}"
        if reserved:
            return ""
        policy = self.api.objects.get((POOL_POLICIES.plural, NS, "y"), {}).get("spec", {})
        if "sticky" not in policy and "reuseDelay" not in policy:
            return f"{address} cools without a policy"
        if "until" in spec:  # its time comes within milliseconds
            return f"{address} still cools, until {spec['until']}"
        return "" if self.ones[0].inventory.configuration.pool_of(address) else f"{address} is in no pool"


def hasty() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=time.monotonic() * HASTE)


def reconcile_annotation() -> str:
    """That marks a Service as served, also when its type is another by now."""
    return "metallb.io/ip-allocated-from-pool"


async def play(steps: list[tuple[Any, ...]], seed: int, share: float) -> None:
    world = World(seed)
    world.play(("pool", POOLS[0]))
    tasks = [
        asyncio.create_task(one.run(leads.get)) for one, leads in zip(world.ones, world.leads, strict=True)
    ]
    try:
        world.leads[0].put_nowait(True)
        world.faults(share)
        for step in steps:
            world.play(step)
            if step[0] == "live":  # a whole life: it may have had an address when it goes
                await asyncio.sleep(world.random.choice((0, 0.002, 0.01)))
                world.play(("delete", step[1]))
            for _ in range(world.random.choice((0, 1, 3, 20))):
                await asyncio.sleep(0)
            if step[0] == "wait":
                await asyncio.sleep(0.01)
            assert not any(task.done() for task in tasks)
        world.faults(0.0)
        world.leads[1].put_nowait(False)
        world.leads[0].put_nowait(True)
        try:
            async with asyncio.timeout(5):
                while world.wrong():  # noqa: ASYNC110  # values of the fake, which tells nobody
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(world.wrong()) from None
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(autouse=True, scope="module")
def quick() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (configure, "COALESCE", 0.001),
            (configure, "AGAIN", 0.002),
            (configure, "AGAIN_AT_MOST", 0.01),
            (configure, "STATE_AGAIN", 0.01),
            (configure, "SETTLE", 0.05),
            (controller, "COALESCE", 0.001),
            (addresses, "QUIET", 0.004),
            (addresses, "FOREIGN", 0.02),
            (queue, "FIRST_DELAY", 0.001),
            (queue, "LONGEST_DELAY", 0.01),
        ):
            patch.setattr(module, name, value)
        left = memory.seconds_left

        def sooner(vip: VirtualIP, now: datetime) -> float | None:
            found = left(vip, now)
            return None if found is None else found / HASTE

        patch.setattr(memory, "seconds_left", sooner)
        patch.setattr(controller, "now", hasty)
        patch.setattr("metalbgp.controller.pools.PACE", 0.01)
        patch.setattr("metalbgp.controller.verdicts.PACE", 0.01)
        yield


FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FEW
@given(st.sampled_from(POLICIES), st.lists(STEPS, min_size=5, max_size=25), st.integers(0, 10_000))
def test_without_faults_everything_ends_as_it_should(
    policy: Any, steps: list[tuple[Any, ...]], seed: int
) -> None:
    asyncio.run(play([("policy", policy), *(step for step in steps if step[0] != "lead")], seed, 0.0))


@FEW
@given(
    st.sampled_from(POLICIES),
    st.lists(STEPS, min_size=5, max_size=25),
    st.integers(0, 10_000),
    st.sampled_from([0.1, 0.4]),
)
def test_whatever_fails_and_whoever_leads_everything_ends_as_it_should(
    policy: Any, steps: list[tuple[Any, ...]], seed: int, share: float
) -> None:
    asyncio.run(play([("policy", policy), *steps], seed, share))
