"""MetalLB's rules of allocation, one test each, on a real API server.

One file because it is read beside docs/compatibility.md, which lists the rules with their tests.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from metalbgp.cluster.resources import IP_ADDRESS_POOLS, VIRTUAL_IPS
from tests.apiserver import ApiServer
from tests.laws_api.rules import PLACE, SYSTEM, World, installed, label_namespace, until, world

OLD = "metallb.universe.tf"
NEW = "metallb.io"


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    return installed(apiserver)


@pytest.fixture
async def it(server: ApiServer) -> AsyncIterator[World]:
    async with world(server) as one:
        await one.start()
        yield one


# ------------------------------------------------------------------ asking: annotations and fields (2.1, 2.4)


async def test_both_spellings_of_an_annotation_work_and_the_new_one_wins_even_when_empty(it: World) -> None:
    await it.pool("a", "198.51.100.0-198.51.100.9")
    await it.pool("b", "203.0.113.0-203.0.113.9")
    await it.service("old", notes={f"{OLD}/address-pool": "b"})
    await it.service("both", notes={f"{OLD}/address-pool": "b", f"{NEW}/address-pool": "a"})
    await it.service("empty", notes={f"{OLD}/address-pool": "b", f"{NEW}/address-pool": ""})
    await it.has("old", "203.0.113.0")
    await it.hears("old", "deprecatedAnnotation", f"{OLD}/address-pool")
    for name in ("both", "empty"):
        found = await until(lambda name=name: it.addresses(name), bool)
        assert found[0].startswith("198.51.100.")
    notes = (await it.whole("old"))["metadata"]["annotations"]
    assert notes[f"{NEW}/ip-allocated-from-pool"] == "b"
    assert f"{OLD}/ip-allocated-from-pool" not in notes


async def test_an_address_is_asked_for_by_annotation_or_field_and_never_by_both(it: World) -> None:
    await it.pool("a", "198.51.100.0/28", autoAssign=False)
    await it.service("note", notes={f"{NEW}/loadBalancerIPs": " 198.51.100.3 "})
    await it.service("field", loadBalancerIP="198.51.100.4")
    await it.service("both", notes={f"{NEW}/loadBalancerIPs": "198.51.100.5"}, loadBalancerIP="198.51.100.6")
    await it.has("note", "198.51.100.3")
    await it.has("field", "198.51.100.4")
    await it.lacks("both", "BadRequest", "only one of the two")


async def test_a_wish_that_cannot_be_read_takes_no_address_away(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    await it.note("web", loadBalancerIPs="198.51.100.256")
    await it.hears("web", "LoadBalancerFailed", '"198.51.100.256" is not an IP address')
    await it.has("web", "198.51.100.0")
    assert await it.claims() == {"198.51.100.0": "bound"}
    await it.service("new", notes={f"{NEW}/loadBalancerIPs": "198.51.100.256"})
    await it.lacks("new", "BadRequest")
    await it.note("web", loadBalancerIPs="198.51.100.6")
    await it.has("web", "198.51.100.6")


async def test_asked_addresses_are_a_set_of_one_pool_and_of_all_families(it: World) -> None:
    await it.pool("two", "198.51.100.0/28", "2001:db8:5::/64")
    await it.pool("other", "203.0.113.0/28")
    asked = "2001:db8:5::9,\t198.51.100.9"
    await it.service("dual", dual="RequireDualStack", notes={f"{NEW}/loadBalancerIPs": asked})
    await it.service("one", dual="PreferDualStack", notes={f"{NEW}/loadBalancerIPs": "198.51.100.8"})
    await it.service(
        "apart", dual="RequireDualStack", notes={f"{NEW}/loadBalancerIPs": "203.0.113.1,2001:db8:5::1"}
    )
    found = await until(lambda: it.addresses("dual"), bool)
    assert sorted(found) == ["198.51.100.9", "2001:db8:5::9"]
    await it.lacks("one", "FamilyMismatch")
    await it.lacks("apart", "AddressNotInPool")


async def test_a_pool_that_does_not_exist_is_refused_with_the_near_miss_and_mended_by_the_remedy(
    it: World,
) -> None:
    await it.pool("production", "198.51.100.0/28")
    await it.service("web", notes={f"{NEW}/address-pool": "prodution"})
    await it.lacks("web", "UnknownPool", 'Did you mean "production"?')
    await it.hears("web", "AllocationFailed", "--overwrite")
    await it.note("web", address_pool="production")
    await it.has("web", "198.51.100.0")
    assert await it.why("web") == ("", "")


async def test_a_changed_wish_moves_the_service(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.pool("b", "203.0.113.0/28")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    await it.note("web", address_pool="b")
    await it.has("web", "203.0.113.0")
    await it.note("web", address_pool=None, loadBalancerIPs="198.51.100.7")
    await it.has("web", "198.51.100.7")
    await until(it.claims, lambda found: found == {"198.51.100.7": "bound"})


# ------------------------------------------------------------------ pools (1.1, 2.4, 2.6)


async def test_auto_assign_false_bars_automatic_choice_only(it: World) -> None:
    await it.pool("a", "198.51.100.0/28", autoAssign=False)
    await it.service("any")
    await it.service("named", notes={f"{NEW}/address-pool": "a"})
    await it.lacks("any", "NoPoolFits", "autoAssign: false")
    await it.has("named", "198.51.100.0")


async def test_buggy_addresses_are_avoided_refused_and_given_up_when_the_flag_comes(it: World) -> None:
    await it.pool("a", "198.51.100.0/24")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    await it.pool("a", "198.51.100.0/24", avoidBuggyIPs=True)
    await it.has("web", "198.51.100.1")
    await it.service("asks", notes={f"{NEW}/loadBalancerIPs": "198.51.100.255"})
    await it.lacks("asks", "AddressAvoided")


async def test_pinned_pools_come_first_by_priority_and_fall_through_to_open_ones(it: World) -> None:
    await it.pool("open", "198.51.100.0/28")
    await it.pool("late", "203.0.113.0/32", serviceAllocation={"namespaces": [PLACE]})
    rule = {"priority": 20, "namespaces": [PLACE]}
    await it.pool("soon", "203.0.113.1/32", serviceAllocation=rule)
    for name, address in (("one", "203.0.113.1"), ("two", "203.0.113.0"), ("three", "198.51.100.0")):
        await it.service(name)
        await it.has(name, address)


async def test_a_pinned_pool_refuses_even_who_names_it_from_elsewhere(it: World) -> None:
    await it.pool("theirs", "198.51.100.0/28", serviceAllocation={"namespaces": ["elsewhere"]})
    await it.service("pool", notes={f"{NEW}/address-pool": "theirs"})
    await it.service("address", notes={f"{NEW}/loadBalancerIPs": "198.51.100.1"})
    await it.lacks("pool", "PoolRestricted", "namespace")
    await it.lacks("address", "PoolRestricted")


async def test_service_labels_and_namespace_labels_decide_and_are_followed(it: World) -> None:
    chosen = {"serviceSelectors": [{"matchLabels": {"tier": "gold"}}]}
    spaces = {"namespaceSelectors": [{"matchLabels": {"team": "a"}}]}
    await it.pool("gold", "198.51.100.0/28", serviceAllocation=chosen)
    await it.pool("team", "203.0.113.0/28", serviceAllocation=spaces)
    await it.service("web", labels={"tier": "gold"})
    await it.has("web", "198.51.100.0")
    await it.change("web", metadata={"labels": {"tier": None}})
    await it.lacks("web", "NoPoolFits", "serviceAllocation does not fit the labels")
    await it.hears("web", "ClearAssignment")
    await label_namespace(it, team="a")
    await it.has("web", "203.0.113.0")
    await label_namespace(it, team=None)
    await it.lacks("web", "NoPoolFits", "serviceAllocation does not fit the namespace")


async def test_a_pool_grown_serves_who_waits_and_a_full_one_as_soon_as_one_is_free(it: World) -> None:
    await it.pool("a", "198.51.100.0/32")
    await it.service("one")
    await it.has("one", "198.51.100.0")
    await it.service("two")
    await it.lacks("two", "NoPoolFits", "no free IPv4 address (1 in all)")
    await it.pool("a", "198.51.100.0/31")
    await it.has("two", "198.51.100.1")
    await it.service("three")
    await it.lacks("three", "NoPoolFits")
    await it.gone("one")
    await it.has("three", "198.51.100.0")


async def test_a_pool_shrunk_under_a_service_moves_it_and_tells(it: World) -> None:
    await it.pool("a", "198.51.100.0/31")
    await it.service("web", notes={f"{NEW}/address-pool": "a"})
    await it.has("web", "198.51.100.0")
    await it.pool("a", "198.51.100.1/32")
    await it.has("web", "198.51.100.1")
    await it.hears("web", "ClearAssignment", "198.51.100.0")


async def test_a_pool_renamed_split_or_merged_keeps_addresses_and_rewrites_the_annotation(it: World) -> None:
    await it.pool("a", "198.51.100.0/30")
    await it.service("web", notes={f"{NEW}/loadBalancerIPs": "198.51.100.3"})
    await it.has("web", "198.51.100.3")
    await it.pool("a", "198.51.100.0/31")
    await it.pool("b", "198.51.100.2/31")

    async def pool() -> Any:
        return (await it.whole("web"))["metadata"]["annotations"].get(f"{NEW}/ip-allocated-from-pool")

    await until(pool, lambda found: found == "b")
    await it.has("web", "198.51.100.3")
    assert not any(
        reason == "ClearAssignment" and name == "web" and "moved" in words for name, reason, words in it.told
    )


async def test_all_pools_deleted_clears_every_service_of_ours(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    await it.delete(IP_ADDRESS_POOLS, "a", SYSTEM)
    await it.lacks("web", "NoPools")
    await until(it.claims, lambda found: not found)
    await it.pool("a", "198.51.100.0/28")
    await it.has("web", "198.51.100.0")


async def test_pool_counters_are_exact_for_any_size(it: World) -> None:
    await it.pool("vast", "198.51.100.0/30", "2001:db8:7::/64")
    await it.service("web", dual="RequireDualStack")
    await until(lambda: it.addresses("web"), lambda found: len(found) == 2)
    wanted = {
        "assignedIPv4": 1,
        "assignedIPv6": 1,
        "availableIPv4": 3,
        "availableIPv6": 2**63 - 1,  # clamped: the CRD's field has 63 bits
    }
    await until(lambda: it.counters("vast"), lambda found: {key: found.get(key) for key in wanted} == wanted)


# ------------------------------------------------------------------ sharing (2.5)


async def test_services_share_with_one_key_and_disjoint_ports_across_namespaces(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    share = {f"{NEW}/allow-shared-ip": "k", f"{NEW}/loadBalancerIPs": "198.51.100.5"}
    await it.service("web", notes=share)
    await it.has("web", "198.51.100.5")
    await it.service("dns", notes=share, ports=[{"port": 80, "protocol": "UDP"}])
    await it.service("clash", notes=share)
    await it.service("stranger", notes={f"{NEW}/loadBalancerIPs": "198.51.100.5"})
    await it.has("dns", "198.51.100.5")
    await it.lacks("clash", "PortTaken", "TCP port 80")
    await it.lacks("stranger", "NotShared")
    await it.change("clash", spec={"ports": [{"port": 81}]})
    await it.has("clash", "198.51.100.5")
    await until(lambda: it.counters("a"), lambda found: found.get("assignedIPv4") == 1)


async def test_under_local_sharers_need_one_selector(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    share = {f"{NEW}/allow-shared-ip": "k", f"{NEW}/loadBalancerIPs": "198.51.100.5"}
    local = {"externalTrafficPolicy": "Local", "selector": {"app": "x"}}
    await it.service("one", notes=share, **local)
    await it.has("one", "198.51.100.5")
    await it.service("same", notes=share, **(local | {"ports": [{"port": 81}]}))
    other = local | {"selector": {"app": "y"}, "ports": [{"port": 82}]}
    await it.service("other", notes=share, **other)
    await it.has("same", "198.51.100.5")
    await it.lacks("other", "NotShared", "selector")


async def test_a_waiting_sharer_joins_when_the_key_of_the_holder_changes(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    ask = {f"{NEW}/loadBalancerIPs": "198.51.100.5"}
    await it.service("one", notes=ask)
    await it.has("one", "198.51.100.5")
    share = ask | {f"{NEW}/allow-shared-ip": "k"}
    await it.service("two", notes=share, ports=[{"port": 81}])
    await it.lacks("two", "NotShared", "key")
    await it.note("one", allow_shared_ip="k")
    await it.has("two", "198.51.100.5")


# ------------------------------------------------------------------ two families (2.3, 2.4)


async def test_require_dual_stack_needs_both_from_one_pool(it: World) -> None:
    await it.pool("four", "198.51.100.0/28")
    await it.pool("six", "2001:db8:6::/64")
    await it.service("web", dual="RequireDualStack")
    await it.lacks("web", "NoDualStackPool")
    await it.pool("both", "203.0.113.0/28", "2001:db8:8::/64")
    await it.has("web", "203.0.113.0", "2001:db8:8::")


async def test_require_dual_stack_takes_two_pools_when_a_policy_pairs_them(it: World) -> None:
    await it.pool("four", "198.51.100.0/28")
    await it.pool("six", "2001:db8:6::/64", autoAssign=False)
    await it.service("web", dual="RequireDualStack")
    await it.lacks("web", "NoPoolFits", "has no IPv6 addresses")
    await it.policy("four", secondFamilyFrom="six")
    await it.has("web", "198.51.100.0", "2001:db8:6::")
    notes = (await it.whole("web"))["metadata"]["annotations"]
    assert notes[f"{NEW}/ip-allocated-from-pool"] == "four,six"


async def test_prefer_dual_stack_takes_one_family_and_grows_when_its_pool_does(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.service("web", dual="PreferDualStack")
    await it.has("web", "198.51.100.0")
    await it.hears("web", "AdditionalAssignFailed", "IPv6")
    await it.pool("a", "198.51.100.0/28", "2001:db8:9::/64")
    await it.has("web", "198.51.100.0", "2001:db8:9::")


async def test_a_policy_changed_to_one_family_keeps_that_one(it: World) -> None:
    await it.pool("a", "198.51.100.0/28", "2001:db8:9::/64")
    await it.service("web", dual="PreferDualStack")
    await it.has("web", "198.51.100.0", "2001:db8:9::")
    await it.change("web", spec={"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]})
    await it.has("web", "198.51.100.0")
    await until(it.claims, lambda found: found == {"198.51.100.0": "bound"})


# ------------------------------------------------------------------ whose Service it is (2.2)


async def test_a_service_of_a_class_is_anothers_and_a_type_changed_away_is_cleared(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.service("theirs", loadBalancerClass="example.org/lb")
    await it.service("ours")
    await it.has("ours", "198.51.100.0")
    assert await it.addresses("theirs") == []
    assert not [one for one in it.told if one[0] == "theirs"]
    await it.change("ours", spec={"type": "ClusterIP"})
    await until(it.claims, lambda found: not found)

    async def notes() -> Any:
        found = await it.whole("ours")
        return found["metadata"].get("annotations", {}), found["status"].get("loadBalancer", {})

    await until(notes, lambda found: found == ({}, {}))
    await it.change("ours", spec={"type": "LoadBalancer"})
    await it.has("ours", "198.51.100.0")


async def test_two_installations_with_overlapping_pools_never_share_an_address(server: ApiServer) -> None:
    async with world(server) as it:
        await it.pool("a", "198.51.100.0/30")
        await it.start()
        await it.start(installation="second", load_balancer_class="example.org/second")
        for number in range(3):
            space = {"loadBalancerClass": "example.org/second"} if number % 2 else {}
            await it.service(f"s{number}", **space)
        found = [await until(lambda n=n: it.addresses(f"s{n}"), bool) for n in range(3)]
        assert len({address for some in found for address in some}) == 3
        labels = {
            one["spec"]["address"]: one["metadata"]["labels"]["metalbgp.io/installation"]
            for one in await it.all(VIRTUAL_IPS)
        }
        assert sorted(labels.values()) == [SYSTEM, SYSTEM, "second"]
        await it.stop()
        for one in await it.all(VIRTUAL_IPS):
            await it.controller.delete(VIRTUAL_IPS, one["metadata"]["name"])


# ------------------------------------------------------------------ restarts and other hands (2.3, 2.8)


async def test_addresses_that_metallb_gave_are_adopted_and_who_waits_comes_after(server: ApiServer) -> None:
    async with world(server) as it:
        await it.pool("a", "198.51.100.0/31")
        await it.service("waits")
        await it.service("has")
        await it.status("has", "198.51.100.0", pool="a")
        await it.start()
        await it.has("waits", "198.51.100.1")
        await it.has("has", "198.51.100.0")
        assert await it.claims() == {"198.51.100.0": "bound", "198.51.100.1": "bound"}


async def test_of_two_services_with_one_address_the_oldest_keeps_it_and_the_other_is_told(
    server: ApiServer,
) -> None:
    async with world(server) as it:
        await it.pool("a", "198.51.100.0/30")
        names = ("b-older", "a-younger")
        for name in names:
            await it.service(name)
            # creationTimestamps have whole seconds: the younger one is made in a later one
            before = (await it.whole(name))["metadata"]["creationTimestamp"]
            await it.status(name, "198.51.100.2", pool="a")
            if name == names[0]:
                await until_second_passes(it, before)
        await it.start()
        await it.has("a-younger", "198.51.100.0")
        await it.has("b-older", "198.51.100.2")
        await it.hears("a-younger", "ClearAssignment", f"{PLACE}/b-older")


async def until_second_passes(it: World, stamp: str) -> None:
    async def newest() -> str:
        await it.gone("clock")
        await it.service("clock", type="ClusterIP")
        made: str = (await it.whole("clock"))["metadata"]["creationTimestamp"]
        return made

    await until(newest, lambda found: found > stamp)
    await it.gone("clock")


async def test_a_restart_moves_nobody_and_a_wiped_status_comes_back(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    for name in ("one", "two", "three"):
        await it.service(name)
    await it.gone("one")
    await it.has("three", *(await until(lambda: it.addresses("three"), bool)))
    before = [await until(lambda n=n: it.addresses(n), bool) for n in ("two", "three")]
    await it.stop()
    await it.status("three")
    await it.start()
    await it.has("three", *before[1])
    await it.has("two", *before[0])


async def test_a_service_made_again_while_nobody_looks_takes_its_claim_over(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.service("first")
    await it.service("web")
    address = await until(lambda: it.addresses("web"), bool)
    await it.stop()
    await it.gone("web")
    await it.service("web")
    await it.start()
    await it.has("web", *address)
    uid = (await it.whole("web"))["metadata"]["uid"]

    async def holder() -> Any:
        (found,) = [one for one in await it.all(VIRTUAL_IPS) if one["spec"]["address"] == address[0]]
        return found["spec"]["holders"][f"{PLACE}/web"]["uid"]

    await until(holder, lambda found: found == uid)


async def test_a_virtual_ip_deleted_by_other_hands_is_made_again_for_its_holder(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    await it.controller.delete(VIRTUAL_IPS, "198.51.100.0")
    await it.service("other")
    await it.has("other", "198.51.100.1")
    await until(it.claims, lambda found: found.get("198.51.100.0") == "bound")
    await it.has("web", "198.51.100.0")


async def test_a_virtual_ip_edited_by_other_hands_is_made_right(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    holder = {"bgp": ["nonsense"], "serving": True, "sharingKey": "open"}
    edit = {"spec": {"pool": "nonsense", "candidates": ["n9"], "holders": {f"{PLACE}/web": holder}}}
    await it.controller.patch(VIRTUAL_IPS, "198.51.100.0", edit)

    async def claim() -> Any:
        spec = next(one["spec"] for one in await it.all(VIRTUAL_IPS))
        found = spec["holders"][f"{PLACE}/web"]
        return spec["pool"], spec.get("candidates"), found.get("bgp"), found.get("sharingKey")

    await until(claim, lambda found: found == ("a", None, None, None))
    await it.has("web", "198.51.100.0")


async def test_what_another_load_balancer_wrote_is_left_alone_until_a_pool_of_ours_can_serve(
    it: World,
) -> None:
    await it.pool("a", "198.51.100.0/28", autoAssign=False)
    await it.service("web")
    await it.lacks("web", "NoPoolFits")
    await it.service("theirs")
    await it.status("theirs", "192.0.2.1", "192.0.2.2")
    await it.service("clock")
    await it.lacks("clock", "NoPoolFits")
    assert await it.addresses("theirs") == ["192.0.2.1", "192.0.2.2"]
    await it.pool("a", "198.51.100.0/28")
    await until(lambda: it.addresses("theirs"), lambda found: found[0].startswith("198.51.100."))


async def test_events_are_told_on_changes_and_never_on_passes(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    for number in range(5):
        await it.change("web", metadata={"labels": {"turn": str(number)}})
    await it.service("after")
    await it.has("after", "198.51.100.1")
    assert [reason for name, reason, _ in it.told if name == "web"] == ["IPAllocated"]


# ------------------------------------------------------------------ beyond MetalLB


async def test_an_address_returns_to_the_service_that_had_it(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.policy("a", sticky={})
    await it.service("one")
    await it.service("web", notes={"metalbgp.io/address-id": "shop"})
    await it.has("one", "198.51.100.0")
    await it.has("web", "198.51.100.1")
    await it.gone("one", "web")
    await until(it.claims, lambda found: set(found.values()) == {"cooling"})
    await it.service("new")
    await it.service("renamed", notes={"metalbgp.io/address-id": "shop"})
    await it.has("renamed", "198.51.100.1")
    await it.has("new", "198.51.100.2")
    await it.service("one")
    await it.has("one", "198.51.100.0")


async def test_a_reserved_address_waits_for_its_service_and_survives_everything(it: World) -> None:
    await it.pool("a", "198.51.100.0/30")
    await it.reservation("dns", "198.51.100.0", service={"namespace": PLACE, "name": "web"})
    await until(it.claims, lambda found: found == {"198.51.100.0": "reserved"})
    await it.service("other")
    await it.has("other", "198.51.100.1")
    await it.service("thief", notes={f"{NEW}/loadBalancerIPs": "198.51.100.0"})
    await it.lacks("thief", "AddressReserved", f"{PLACE}/web")
    await it.service("web")
    await it.has("web", "198.51.100.0")
    await it.stop()
    await it.gone("web")
    await it.start()
    await until(it.claims, lambda found: found.get("198.51.100.0") == "reserved")


async def test_a_quota_is_refused_in_words_and_frees_itself(it: World) -> None:
    await it.pool("a", "198.51.100.0/28")
    await it.policy("a", quotas=[{"limit": 1}])
    await it.service("one")
    await it.has("one", "198.51.100.0")
    await it.service("two")
    await it.lacks("two", "NoPoolFits", f"namespace {PLACE} holds 1 of at most 1 addresses")
    await it.gone("one")
    await it.has("two", "198.51.100.0")


async def test_a_released_address_rests_unless_nothing_else_is_free_and_the_policy_allows(it: World) -> None:
    await it.pool("a", "198.51.100.0/31")
    await it.policy("a", reuseDelay="1h")
    await it.service("one")
    await it.has("one", "198.51.100.0")
    await it.gone("one")
    await until(it.claims, lambda found: found == {"198.51.100.0": "cooling"})
    await it.service("two")
    await it.service("three")
    found = await until(lambda: names_with_addresses(it, "two", "three"), lambda found: len(found) == 1)
    waiting = ({"two", "three"} - set(found)).pop()
    await it.lacks(waiting, "NoPoolFits", "1 cooling")
    await it.policy("a", reuseDelay="1h", whenExhausted="Reuse")
    await it.has(waiting, "198.51.100.0")


async def names_with_addresses(it: World, *names: str) -> list[str]:
    return [name for name in names if await it.addresses(name)]


async def test_the_clusters_own_addresses_are_not_given_out(it: World) -> None:
    """The fixture's API server gives 10.96.0.0/16 to Services."""
    await it.pool("a", "10.95.255.254-10.96.0.10")
    await it.service("one")
    await it.service("two")
    await it.service("three", notes={f"{NEW}/address-pool": "a"})
    found = await until(
        lambda: names_with_addresses(it, "one", "two", "three"), lambda found: len(found) == 2
    )
    (waiting,) = {"one", "two", "three"} - set(found)
    await until(lambda: it.why(waiting), lambda found: "the Service network (10.96.0.0/16" in found[1])
