"""Admission with what the controller knows: nobody is refused for what is gone, and losers are named."""

from typing import Any

from metalbgp.cluster.resources import IP_ADDRESS_POOLS
from metalbgp.config.admit import Answer, Attempt, Scene
from metalbgp.config.objects import AnyObject
from metalbgp.controller.admission import MOST, Admission
from metalbgp.controller.claims import Claims
from metalbgp.inventory.inventory import Inventory
from metalbgp.model.virtualips import Holder
from tests.fakeapi import FakeClient
from tests.unit.config.made import compiled, policy, pool
from tests.values import service, vip

OURS = "metallb-system"
LAB = pool("lab", "198.51.100.0/28", age=9)


class Desk:
    def __init__(self, *seen: AnyObject, count: int = 0) -> None:
        self.client, inventory = FakeClient(), Inventory(OURS)
        claims = Claims(inventory)
        in_force = compiled(*seen).configuration
        inventory.configure(in_force)
        for at in range(count):
            key = f"web/s{at:02}"
            inventory.put_service(service(key))
            holders = {key: Holder(uid=f"uid-{key}", created="2026-01-01T00:00:00Z")}
            about = {"pool": "lab", "uid": f"u{at}", "resource_version": str(at + 1), "phase": "bound"}
            claims.learn(vip(f"198.51.100.{at}", holders, **about))
        scene = Scene(namespace=OURS, objects=seen, in_force=in_force)
        self.admission = Admission(self.client, inventory, claims, lambda: scene)

    def stands(self, name: str, *addresses: str) -> None:
        self.client.put(IP_ADDRESS_POOLS, name, {"spec": {"addresses": list(addresses)}}, OURS)

    async def tried(self, new: Any, old: Any = None) -> Answer:
        one = new or old
        attempt = Attempt(kind="IPAddressPool", name=one.name, namespace=OURS, new=new, old=old)
        return await self.admission.judge(attempt)


async def test_what_the_view_still_shows_and_is_gone_refuses_nobody() -> None:
    desk = Desk(LAB)
    assert (await desk.tried(pool("other", "198.51.100.0/29"))).refused == ()
    desk.stands("lab", "198.51.100.0/28")
    (said,) = (await desk.tried(pool("other", "198.51.100.0/29"))).refused
    assert "overlaps" in said.explain()


async def test_a_smaller_pool_names_who_would_lose_what_and_not_more_than_an_answer_holds() -> None:
    desk = Desk(LAB, count=8)
    answer = await desk.tried(pool("lab", "198.51.100.1/32"), LAB)
    assert answer.refused == ()
    assert len(answer.warnings) == MOST + 1
    assert answer.warnings[0].startswith("web/s00 would lose 198.51.100.0 and get no other: ")
    assert answer.warnings[-1] == "and 2 more addresses in use"
    assert (await desk.tried(pool("lab", "198.51.100.0/27"), LAB)).warnings == ()
    assert (await desk.tried(None, LAB)).warnings[0].startswith("web/s00 would lose 198.51.100.0")


async def test_a_policy_that_protects_makes_that_a_refusal_until_it_is_lifted() -> None:
    rule = policy("rule", "lab", protection="InUse")
    desk = Desk(LAB, rule, count=2)
    for new in (pool("lab", "198.51.100.1/32", age=9), None):
        answer = await desk.tried(new, LAB)
        assert answer.refused, new
        assert "PoolPolicy rule protects what is in use" in answer.refused[0].remedy()
    # What nobody holds may go, and so may a pool that the policy does not name.
    assert (await desk.tried(pool("lab", "198.51.100.0/29", age=9), LAB)).refused == ()
    assert (await Desk(LAB, policy("rule", "lab"), count=2).tried(None, LAB)).refused == ()


async def test_what_a_pool_no_longer_admits_is_lost_as_well() -> None:
    desk = Desk(LAB, count=1)
    pinned = pool("lab", "198.51.100.0/28", age=9, serviceAllocation={"namespaces": ["edge"]})
    (said,) = (await desk.tried(pinned, LAB)).warnings
    assert said.startswith("web/s00 would lose 198.51.100.0")
    avoiding = pool("lab", "198.51.100.0/28", age=9, avoidBuggyIPs=True)
    (said,) = (await desk.tried(avoiding, LAB)).warnings
    assert "and get 198.51.100.1" in said
