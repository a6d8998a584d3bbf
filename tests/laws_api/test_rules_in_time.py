"""Rules of allocation over time, on a real API server: who waits, what changes in use, what is restored.

Elsewhere: each rule once is test_rules.py; the same as pure functions is tests/unit/allocate.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import Conflict
from metalbgp.cluster.resources import IP_ADDRESS_POOLS, SERVICES, VIRTUAL_IPS
from tests.apiserver import ApiServer
from tests.laws_api.rules import PLACE, SYSTEM, World, body, installed, until, world

NEW = "metallb.io"
BOTH = ("198.51.100.0/28", "2001:db8:9::/64")


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    return installed(apiserver)


@pytest.fixture
async def it(server: ApiServer) -> AsyncIterator[World]:
    async with world(server) as one:
        await one.start()
        yield one


# ------------------------------------------------------------------ who waits


async def test_of_those_who_wait_the_oldest_is_served_first_whatever_its_name(it: World) -> None:
    await it.pool("a", "198.51.100.0/32")
    await it.service("holder")
    await it.has("holder", "198.51.100.0")
    await it.service("z-oldest")
    await it.lacks("z-oldest", "NoPoolFits")
    first = (await it.whole("z-oldest"))["metadata"]["creationTimestamp"]

    async def younger() -> str:
        """creationTimestamp counts whole seconds, so it is made until the next one has begun."""
        await it.gone("a-younger")
        await it.service("a-younger")
        created: str = (await it.whole("a-younger"))["metadata"]["creationTimestamp"]
        return created

    await until(younger, lambda created: created > first)
    await it.service("b-youngest")
    for name in ("a-younger", "b-youngest"):
        await it.lacks(name, "NoPoolFits")
    await it.gone("holder")
    await it.has("z-oldest", "198.51.100.0")
    # And when the pool grows, the next in turn.
    await it.pool("a", "198.51.100.0/31")
    await it.has("a-younger", "198.51.100.1")
    await it.lacks("b-youngest", "NoPoolFits")


# ------------------------------------------------------------------ sharing (2.5)


async def test_local_with_an_empty_selector_shares_as_cluster_does(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    share = {f"{NEW}/allow-shared-ip": "k", f"{NEW}/loadBalancerIPs": "198.51.100.5"}
    await it.service("one", notes=share, selector=None, externalTrafficPolicy="Local")
    await it.has("one", "198.51.100.5")
    await it.service("two", notes=share, ports=[{"port": 81}])
    await it.has("two", "198.51.100.5")


async def test_a_port_that_comes_while_in_use_and_clashes_moves_who_brought_it(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    share = {f"{NEW}/allow-shared-ip": "k"}
    ask = share | {f"{NEW}/loadBalancerIPs": "198.51.100.5"}
    await it.service("one", notes=ask)
    await it.has("one", "198.51.100.5")
    await it.service("two", notes=ask, ports=[{"port": 80, "protocol": "UDP"}])
    await it.has("two", "198.51.100.5")
    clash = [{"name": "a", "port": 80, "protocol": "UDP"}, {"name": "b", "port": 80, "protocol": "TCP"}]
    await it.change("two", spec={"ports": clash})
    await it.lacks("two", "PortTaken", "TCP port 80")
    await it.has("one", "198.51.100.5")
    await it.change("one", spec={"ports": [{"port": 8080}]})
    await it.has("two", "198.51.100.5")


async def test_a_sharer_that_takes_another_key_leaves_and_the_last_ones_key_counts(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    share = {f"{NEW}/allow-shared-ip": "k"}
    ask = share | {f"{NEW}/loadBalancerIPs": "198.51.100.5"}
    await it.service("one", notes=ask)
    await it.has("one", "198.51.100.5")
    await it.service("two", notes=ask, ports=[{"port": 81}])
    await it.has("two", "198.51.100.5")
    await it.note("two", allow_shared_ip="other")
    await it.lacks("two", "NotShared")
    await it.has("one", "198.51.100.5")
    # Alone on its address it may take any key, and the one that waits joins.
    await it.note("one", allow_shared_ip="other")
    await it.has("two", "198.51.100.5")


async def test_a_pool_deleted_under_sharers_moves_all_of_them_to_one_address(it: World) -> None:
    await it.pool("a", "198.51.100.5/32")
    share = {f"{NEW}/allow-shared-ip": "k"}
    await it.service("one", notes=share)
    await it.service("two", notes=share, ports=[{"port": 81}])
    await it.has("one", "198.51.100.5")
    await it.has("two", "198.51.100.5")
    await it.pool("b", "203.0.113.7/32")
    await it.delete(IP_ADDRESS_POOLS, "a", SYSTEM)
    await it.has("one", "203.0.113.7")
    await it.has("two", "203.0.113.7")
    await until(it.claims, lambda claims: claims == {"203.0.113.7": "bound"})


# ------------------------------------------------------------------ two families (2.3)


async def test_a_dual_pool_that_loses_a_family_takes_both_from_who_needs_both(it: World) -> None:
    await it.pool("a", *BOTH)
    await it.service("needs", dual="RequireDualStack")
    await it.service("likes", dual="PreferDualStack")
    await it.has("needs", "198.51.100.0", "2001:db8:9::")
    await it.has("likes", "198.51.100.1", "2001:db8:9::1")
    await it.pool("a", BOTH[0])
    await it.lacks("needs", "NoPoolFits", "IPv6")
    await it.has("likes", "198.51.100.1")
    await it.pool("a", *BOTH)
    await until(lambda: it.addresses("needs"), lambda found: len(found) == 2)
    await until(lambda: it.addresses("likes"), lambda found: len(found) == 2)
    assert (await it.addresses("likes"))[0] == "198.51.100.1"


async def test_a_service_grows_to_two_families_and_back_without_losing_the_first(it: World) -> None:
    await it.pool("a", *BOTH)
    await it.service("web")
    await it.has("web", "198.51.100.0")
    for _ in range(2):
        both = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}
        await it.change("web", spec=both)
        await it.has("web", "198.51.100.0", "2001:db8:9::")
        cluster_ips = (await it.whole("web"))["spec"]["clusterIPs"][:1]
        single = {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "clusterIPs": cluster_ips}
        await it.change("web", spec=single)
        await it.has("web", "198.51.100.0")
    await until(it.claims, lambda claims: claims == {"198.51.100.0": "bound"})


async def test_asked_addresses_in_any_spelling_and_order_are_shown_ipv4_first(it: World) -> None:
    await it.pool("a", *BOTH)
    ask = {f"{NEW}/loadBalancerIPs": "2001:DB8:9:0::7 ,\t198.51.100.7"}
    await it.service("web", dual="RequireDualStack", notes=ask)
    await it.has("web", "198.51.100.7", "2001:db8:9::7")
    await it.service("mapped", notes={f"{NEW}/loadBalancerIPs": "::ffff:198.51.100.8"})
    await it.lacks("mapped", "BadRequest", "198.51.100.8")


# ------------------------------------------------------------------ types, pools (2.2, 2.6, 2.7)


async def test_a_type_changed_away_and_back_through_external_name_starts_anew(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    away = {"type": "ExternalName", "externalName": "example.org", "clusterIP": None, "clusterIPs": None}
    await it.change("web", spec=away | {"ipFamilies": None, "ipFamilyPolicy": None, "ports": [{"port": 80}]})
    await until(it.claims, lambda claims: not claims)
    await it.service("other")
    await it.has("other", "198.51.100.0")
    await it.change("web", spec={"type": "LoadBalancer", "externalName": None})
    await it.has("web", "198.51.100.1")


async def test_of_two_pinned_pools_of_one_priority_the_first_by_name_gives(it: World) -> None:
    pinned = {"serviceAllocation": {"namespaces": [PLACE], "priority": 7}}
    await it.pool("b", "203.0.113.0/28", **pinned)
    await it.pool("a", "198.51.100.0/32", **pinned)
    for name in ("one", "two"):
        await it.service(name)
        await until(lambda name=name: it.addresses(name), bool)
    await it.has("one", "198.51.100.0")
    await it.has("two", "203.0.113.0")


async def test_a_buggy_address_that_is_shared_is_given_up_by_all_who_share_it(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    share = {f"{NEW}/allow-shared-ip": "k"}
    await it.service("one", notes=share)
    await it.has("one", "198.51.100.0")
    await it.service("two", notes=share, ports=[{"port": 81}])
    await it.has("two", "198.51.100.0")
    await it.pool("a", "198.51.100.0/28", avoidBuggyIPs=True)
    await it.has("one", "198.51.100.1")
    await it.has("two", "198.51.100.1")


# ------------------------------------------------------------------ starts, restores, others (2.8)


async def test_a_wrong_pool_that_stands_there_at_the_start_keeps_nobody_waiting(server: ApiServer) -> None:
    async with world(server) as it:
        await it.pool("good", "198.51.100.0/28")
        await it.pool("wrong", "198.51.100.300")
        await it.admin.create(
            SERVICES,
            body(
                SERVICES,
                {"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}},
            ),
            PLACE,
        )
        await it.start()
        await it.has("web", "198.51.100.0")


@pytest.mark.parametrize("claims_too", [True, False])
async def test_a_cluster_restored_with_new_uids_keeps_every_address(
    server: ApiServer, claims_too: bool
) -> None:
    async with world(server) as it:
        await it.start()
        await it.pool("a", "198.51.100.0/28")
        share = {f"{NEW}/allow-shared-ip": "k"}
        await it.service("one", notes=share)
        await it.service("two", notes=share, ports=[{"port": 81}])
        await it.service("three", notes={f"{NEW}/loadBalancerIPs": "198.51.100.9"})
        want = {"one": "198.51.100.0", "two": "198.51.100.0", "three": "198.51.100.9"}
        for name, address in want.items():
            await it.has(name, address)
        await it.stop()
        saved = {name: await it.whole(name) for name in want}
        await it.gone(*want)
        await it.delete(IP_ADDRESS_POOLS, "a", SYSTEM)
        if not claims_too:
            for claim in await it.all(VIRTUAL_IPS):
                await it.controller.delete(VIRTUAL_IPS, claim["metadata"]["name"])
        for name in ("three", "two", "one"):  # in another order than they were made
            await restore(it, saved[name])
        await it.pool("a", "198.51.100.0/28")
        # Somebody who has no address yet came with the backup as well, and must not be faster.
        await it.admin.create(
            SERVICES,
            body(
                SERVICES,
                {"metadata": {"name": "new"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}},
            ),
            PLACE,
        )
        await it.start()
        await it.has("new", "198.51.100.1")
        for name, address in want.items():
            await it.has(name, address)
        await until(it.claims, lambda claims: claims.keys() == {*want.values(), "198.51.100.1"})


async def restore(it: World, one: dict[str, Any]) -> None:
    """As backup tools do: the object without what the server gave it, then its status."""
    about = {key: one["metadata"][key] for key in ("name", "annotations")}
    given = ("clusterIP", "clusterIPs", "healthCheckNodePort")
    spec = {key: value for key, value in one["spec"].items() if key not in given}
    spec["ports"] = [
        {key: value for key, value in port.items() if key != "nodePort"} for port in spec["ports"]
    ]
    await it.admin.create(SERVICES, body(SERVICES, {"metadata": about, "spec": spec}), PLACE)
    await it.admin.patch(SERVICES, about["name"], {"status": one["status"]}, PLACE, subresource="status")


async def test_another_controller_that_writes_the_same_status_is_named_and_not_fought(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    ours: list[str] = []
    done = asyncio.Event()

    async def rival(client: Client) -> None:
        """It wants another address there, and writes it whenever it sees that it is not."""
        while not done.is_set():
            found = json.loads(await client.get(SERVICES, "web", PLACE))
            shown = [one["ip"] for one in found["status"]["loadBalancer"].get("ingress") or ()]
            if shown != ["203.0.113.66"]:
                ours.append(found["metadata"]["resourceVersion"])
                status = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.66"}]}}}
                version = found["metadata"]["resourceVersion"]
                with contextlib.suppress(Conflict):
                    await client.patch(
                        SERVICES, "web", status, PLACE, subresource="status", resource_version=version
                    )
            await asyncio.sleep(0.01)

    async with Client(it.admin.access, user_agent="another-load-balancer") as client:
        writing = asyncio.create_task(rival(client))
        try:
            await it.hears("web", "StatusContested", "another-load-balancer")
            so_far = len(ours)
            assert so_far <= 7
            # It goes on serving others meanwhile, and leaves this one alone for seconds.
            await it.service("other")
            await it.has("other", "198.51.100.1")
            assert len(ours) <= so_far + 1
        finally:
            done.set()
            await writing
    assert (await it.claims())["198.51.100.0"] == "bound"
