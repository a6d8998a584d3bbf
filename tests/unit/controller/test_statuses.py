"""Statuses at the start that contradict each other or were left by others, and the names of events."""

from typing import Any

import pytest

from metalbgp.cluster.resources import NODES, POOL_POLICIES, SERVICE_CIDRS, SERVICES
from metalbgp.controller import addresses, configure
from metalbgp.controller.tell import LONGEST, cut, in_lines
from metalbgp.model.reasons import NoPoolFits
from tests.unit.controller.test_controller import NS, World, running, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configure, "COALESCE", 0.001)
    monkeypatch.setattr(configure, "AGAIN", 0.001)
    monkeypatch.setattr(addresses, "QUIET", 0.02)


OF_METALLB = {"metallb.io/ip-allocated-from-pool": "production"}


def put(world: World, name: str, ingress: Any = None, *, created: str = "", **more: Any) -> None:
    """A Service as it may stand there; `annotations`, and fields of spec."""
    meta = {
        "creationTimestamp": created or "2026-01-01T00:00:00Z",
        "annotations": more.pop("annotations", {}),
    }
    spec = {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}], **more}
    body: dict[str, Any] = {"metadata": meta, "spec": spec}
    if ingress is not None:
        body["status"] = {"loadBalancer": {"ingress": ingress}}
    world.api.put(SERVICES, name, body, "web")


def events(world: World, name: str) -> dict[str, str]:
    return {reason: words for who, reason, words in world.told if who == name}


@pytest.fixture
def world() -> World:
    made = World()
    made.pool("production", "198.51.100.0/24")
    return made


async def test_of_two_services_with_one_address_the_oldest_keeps_it_and_the_other_is_told(
    world: World,
) -> None:
    same = [{"ip": "198.51.100.7"}]
    put(world, "a-young", same, created="2026-02-02T00:00:00Z", annotations=OF_METALLB)
    put(world, "b-old", same, created="2026-01-01T00:00:00Z", annotations=OF_METALLB)
    async with running(world):
        await until(lambda: world.addresses("a-young") == ["198.51.100.0"])
        await until(lambda: set(world.holders("198.51.100.7")) == {"web/b-old"})
        assert world.addresses("b-old") == ["198.51.100.7"]
        assert "198.51.100.7 is held by web/b-old" in events(world, "a-young")["ClearAssignment"]
        assert "ClearAssignment" not in events(world, "b-old")


@pytest.mark.parametrize(
    "left",
    [
        [{"ip": f"192.0.2.{number}", "ipMode": "VIP"} for number in (1, 2, 3)],
        [{"hostname": "elb.example.com"}],
        [{"ip": "198.51.100.5", "ipMode": "Proxy"}],
        [{"ip": "198.51.100.5", "ports": [{"port": 80, "protocol": "TCP"}]}],
    ],
    ids=["addresses-of-nodes", "hostname", "ipMode-Proxy", "ports"],
)
async def test_what_another_load_balancer_left_is_replaced_by_one_address(world: World, left: Any) -> None:
    put(world, "web", left)
    async with running(world):
        await until(lambda: len(world.claims()) == 1)
        address = next(iter(world.claims()))
        ingress = [{"ip": address}]
        await until(
            lambda: (
                world.api.objects["services", "web", "web"]["status"]["loadBalancer"] == {"ingress": ingress}
            )
        )
        assert address == ("198.51.100.5" if "198.51.100.5" in str(left) else "198.51.100.0")
        assert "IPAllocated" in events(world, "web")


async def test_the_mode_that_the_api_server_fills_in_is_no_reason_to_write(world: World) -> None:
    async with running(world):
        put(world, "web", [{"ip": "198.51.100.7", "ipMode": "VIP"}], annotations=OF_METALLB)
        await until(lambda: set(world.claims()) == {"198.51.100.7"})
        put(world, "late")
        await until(lambda: bool(world.addresses("late")))
        patched = [what for verb, what, _ in world.api.writes if verb == "PATCH"]
        assert "services/web" not in patched


async def test_a_status_of_ours_is_cleared_when_no_pool_holds_its_address_and_one_of_others_is_not(
    world: World,
) -> None:
    put(world, "ours", [{"ip": "203.0.113.1"}], annotations={**OF_METALLB, "metallb.io/address-pool": "gone"})
    put(world, "theirs", [{"ip": "203.0.113.2"}], annotations={"metallb.io/address-pool": "gone"})
    async with running(world):
        await until(
            lambda: (
                "AllocationFailed" in events(world, "ours") and "AllocationFailed" in events(world, "theirs")
            )
        )
        await until(lambda: world.addresses("ours") == [])
        assert "ClearAssignment" in events(world, "ours")
        assert world.addresses("theirs") == ["203.0.113.2"]
        assert "conditions" not in world.api.objects["services", "web", "theirs"]["status"]


async def test_no_new_address_is_one_of_the_clusters_own_and_what_is_held_stays(world: World) -> None:
    node = {
        "spec": {"podCIDRs": ["198.51.100.1/32"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "198.51.100.0"}]},
    }
    world.api.put(NODES, "n1", node)
    world.api.put(SERVICE_CIDRS, "kubernetes", {"spec": {"cidrs": ["198.51.100.2/31"]}})
    put(world, "held", [{"ip": "198.51.100.1"}], annotations=OF_METALLB)
    async with running(world):
        await until(lambda: bool(world.one.inventory.service_networks))
        put(world, "new")
        await until(lambda: world.addresses("new") == ["198.51.100.4"])
        assert world.addresses("held") == ["198.51.100.1"]
        put(world, "asks", annotations={"metallb.io/loadBalancerIPs": "198.51.100.0"})
        await until(
            lambda: "198.51.100.0 belongs to Node n1" in events(world, "asks").get("AllocationFailed", "")
        )
        world.api.take(NODES, "n1")
        await until(lambda: world.addresses("asks") == ["198.51.100.0"])


async def test_two_families_come_from_two_pools_when_a_policy_pairs_them(world: World) -> None:
    world.pool("lab-v6", "2001:db8::/126")
    body = {"spec": {"ipAddressPools": ["production"], "secondFamilyFrom": "lab-v6"}}
    world.api.put(POOL_POLICIES, "pair", body, NS)
    async with running(world):
        world.service("web", dual="RequireDualStack")
        await until(lambda: world.addresses("web") == ["198.51.100.0", "2001:db8::"])
        notes = world.api.objects["services", "web", "web"]["metadata"]["annotations"]
        assert notes["metallb.io/ip-allocated-from-pool"] == "production,lab-v6"
        pools = {
            spec["spec"]["address"]: spec["spec"]["pool"]
            for (kind, _, _), spec in world.api.objects.items()
            if kind == "virtualips"
        }
        assert pools == {"198.51.100.0": "production", "2001:db8::": "lab-v6"}
        written = len(world.api.writes)
        world.service("other")
        await until(lambda: bool(world.addresses("other")))
        assert all(not what.startswith("services/web") for _, what, _ in world.api.writes[written:])


async def test_events_have_the_names_that_users_of_metallb_know(world: World) -> None:
    async with running(world):
        put(world, "web")
        await until(lambda: "IPAllocated" in events(world, "web"))
        put(
            world,
            "web",
            [{"ip": "198.51.100.0"}],
            annotations={**OF_METALLB, "metallb.io/loadBalancerIPs": "x"},
        )
        await until(lambda: "LoadBalancerFailed" in events(world, "web"))
        put(world, "dual", ipFamilyPolicy="RequireDualStack")
        await until(lambda: "not enough clusterips" in events(world, "dual"))
        put(world, "one", ipFamilyPolicy="PreferDualStack", clusterIPs=["10.96.0.1", "fd00::1"])
        await until(lambda: "AdditionalAssignFailed" in events(world, "one"))
        put(world, "old", annotations={"metallb.universe.tf/address-pool": "production"})
        await until(lambda: "deprecatedAnnotation" in events(world, "old"))


async def test_a_bug_that_one_service_meets_is_told_on_it_and_stops_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocate = world.one._reconciler._allocate

    def broken(service: Any, refused: set[str]) -> Any:
        if service.name == "odd":
            raise ZeroDivisionError("as the test wants")
        return allocate(service, refused)

    monkeypatch.setattr(world.one._reconciler, "_allocate", broken)
    async with running(world):
        put(world, "odd")
        put(world, "web")
        await until(lambda: bool(world.addresses("web")))
        await until(lambda: "ZeroDivisionError" in events(world, "odd").get("InternalError", ""))


def test_a_long_event_ends_with_a_line_and_says_where_the_rest_is() -> None:
    pools = tuple((f"p{number}", f'pool "p{number}" has no free IPv4 address') for number in range(100))
    words = in_lines(NoPoolFits(pools=pools))
    assert words.splitlines()[1] == 'pool "p0" has no free IPv4 address'
    short = cut(words, "web/shop")
    assert len(short) <= LONGEST
    *lines, hint = short.splitlines()
    assert set(lines) <= set(words.splitlines())
    assert "metalbgp explain web/shop" in hint
    assert cut("x" * 2000, "web/shop").startswith("xxx")
    assert cut("all of it", "web/shop") == "all of it"
