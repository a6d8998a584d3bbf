"""A node that leaves: less preferred at once, withdrawn later, and never the last next hop.

One file because every case is one node among the same few others, in BGP, in L2 and as an agent.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.cluster.resources import NODE_STATES, NODES, PODS, SPEAKER_ORDERS
from metalbgp.config import nodestate, orders
from metalbgp.model.configuration import BGPAdvertisement, L2Advertisement, Leaving
from metalbgp.model.orders import Order
from metalbgp.model.reasons import Drained, LastNextHop
from metalbgp.model.report import NodeReport, OrderReport, RouteReport, SessionReport, UnservedReport
from metalbgp.model.routes import Attributes
from metalbgp.model.services import Node
from metalbgp.model.virtualips import VirtualIP
from metalbgp.speaker import around as look
from metalbgp.speaker.announcer import Announcer, Changes
from metalbgp.speaker.record import drain_report
from tests.unit.speaker.test_loop import CONFIGURATION, NS, TOR, World, ended, until, vip
from tests.values import holder, node

ONE = (TOR, "198.51.100.1/32")
EASED = Attributes(communities=((65535, 0),), local_preference=0)
DRAIN = Order(name="drain-n1", action="Drain", node="n1", author="eve", reason="new disk")
N1, N2 = node("n1"), node("n2")


def report(name: str, *, state: str = "Established", ready: bool = True) -> NodeReport:
    tor = SessionReport(peer="tor", address=TOR, port=179, my_asn=64513, peer_asn=64512, state=state)
    return NodeReport(node=name, ready=ready, sessions=(tor,))


class Clocked:
    """A speaker on n1 whose time a test moves."""

    def __init__(self, leaving: Leaving | None = None, *vips: VirtualIP) -> None:
        self.now = 100.0
        self.announcer = Announcer(lambda: self.now)
        self.announcer.patience.started = True
        one = replace(CONFIGURATION.bgp_advertisements[0], leaving=leaving or Leaving())
        self.announcer.set_configuration(replace(CONFIGURATION, bgp_advertisements=(one,)))
        self.announcer.set_node(N1)
        for each in vips or (vip(1),):
            self.announcer.set_vip(each.address, each)

    def order(self, *given: Order) -> Changes:
        return self.announcer.set_orders(given, 0.0)

    def see(self, *nodes: Node, reports: Iterable[NodeReport] = (report("n2"),)) -> Changes:
        """Twice, for one look is not enough."""
        found = tuple(reports)
        self.announcer.set_others(nodes or (N1, N2), found)
        return self.announcer.set_others(nodes or (N1, N2), found)

    def after(self, seconds: float) -> Changes:
        self.now += seconds
        return self.announcer.due()


def test_a_drained_node_is_less_preferred_at_once_and_silent_after_the_delay() -> None:
    world = Clocked()
    assert world.order(DRAIN).wants == ((*ONE, EASED),)
    assert world.see().wants == ()
    assert world.announcer.deadline == 130.0
    assert world.after(29.9).wants == ()
    assert world.after(0.1).wants == ((*ONE, None),)
    assert world.announcer.deadline is None
    (refused,) = [one for one in world.announcer.plans["198.51.100.1"].refused if one.protocol == "bgp"]
    assert refused.reason == Drained(node="n1", why="drained by eve: new disk", other="n2")
    assert world.order().wants == ((*ONE, Attributes()),)
    assert not world.announcer.draining.active and not world.announcer.draining.gone


def test_sessions_are_kept() -> None:
    world = Clocked()
    told = [world.order(DRAIN), world.see(), world.after(60.0)]
    assert all(one.neighbors is None for one in told) and world.announcer.neighbors


@pytest.mark.parametrize(
    ("nodes", "reports"),
    [
        ((N1,), ()),  # there is no other
        ((N1, N2), ()),  # it has no speaker
        ((N1, N2), (report("n2", state="Connect"),)),  # its session is down
        ((N1, N2), (report("n2", ready=False),)),
        ((N1, replace(N2, ready=False)), (report("n2"),)),  # the kubelet is silent
        ((N1, node("n2", network_unavailable=True)), (report("n2"),)),
        ((N1,), (report("n2"),)),  # its Node is gone
    ],
)
def test_the_last_next_hop_stays_less_preferred_and_says_so(
    nodes: tuple[Node, ...], reports: tuple[NodeReport, ...]
) -> None:
    world = Clocked()
    assert world.order(DRAIN).wants == ((*ONE, EASED),)
    assert world.see(*nodes, reports=reports).wants == ()
    assert world.after(3600.0).wants == ()
    assert world.announcer.wanted() == {ONE: EASED}
    assert world.announcer.draining.stays == {ONE[1]: LastNextHop(node="n1", prefix=ONE[1])}
    assert world.see().wants == ((*ONE, None),)
    assert not world.announcer.draining.stays


@pytest.mark.parametrize(
    "says",
    [
        {"orders": (OrderReport(name="local", action="Hold", target="198.51.100.1", local=True),)},
        {"unserved": (UnservedReport("198.51.100.1", "web/s1"),)},
        {"unconfirmed": (RouteReport(prefix=ONE[1], peer="tor", state="refused"),)},
        {"sessions": (replace(report("n2").sessions[0], beyond=1),)},
    ],
    ids=lambda says: next(iter(says)),
)
def test_who_says_that_he_does_not_announce_it_is_not_counted_on(says: dict[str, Any]) -> None:
    """Held on its own socket, its last Pod ended, refused by ExaBGP, more than the router takes."""
    world = Clocked()
    world.order(DRAIN)
    world.see(reports=(replace(report("n2"), **says),))
    assert world.after(3600.0).wants == ()
    assert world.announcer.wanted() == {ONE: EASED}
    assert world.see().wants == ((*ONE, None),)


def test_whoever_sees_nobody_withdraws_nothing() -> None:
    """The API server is away: what other nodes do is not known."""
    world = Clocked()
    world.order(DRAIN)
    assert world.after(3600.0).wants == ()
    assert world.announcer.wanted() == {ONE: EASED}


def test_two_nodes_that_leave_do_not_count_on_each_other() -> None:
    world = Clocked()
    both = (DRAIN, Order(name="drain-n2", action="Drain", node="n2"))
    world.order(*both)
    world.see()
    assert world.after(60.0).wants == ()
    third = world.see(N1, N2, node("n3"), reports=(report("n2"), report("n3")))
    assert third.wants == ((*ONE, None),)


def test_it_comes_back_when_the_other_goes() -> None:
    world = Clocked()
    world.order(DRAIN)
    world.see()
    world.after(30.0)
    assert world.announcer.wanted() == {}
    down = world.announcer.set_others((N1, N2), (report("n2", state="Idle"),))
    assert down.wants == ((*ONE, EASED),)  # at once


def test_one_look_is_not_enough_for_who_has_just_come_back() -> None:
    """Its session is up; its routes may still be on their way."""
    world = Clocked()
    world.order(DRAIN)
    world.see(reports=())
    world.after(60.0)
    assert world.announcer.set_others((N1, N2), (report("n2"),)).wants == ()
    assert world.announcer.set_others((N1, N2), (report("n2"),)).wants == ((*ONE, None),)
    uncordoned = replace(N2, labels={"new": ""})
    assert world.announcer.set_others((N1, uncordoned), (report("n2"),)).wants == ((*ONE, EASED),)


def test_under_local_only_a_node_with_endpoints_counts() -> None:
    local = replace(vip(1), holders={"web/s1": holder(bgp=("all",), policy="Local", nodes={"n1": 1})})
    world = Clocked(None, local)
    world.order(DRAIN)
    world.see()
    assert world.after(60.0).wants == ()
    moved = holder(bgp=("all",), policy="Local", nodes={"n1": 1, "n2": 1})
    assert world.announcer.set_vip(local.address, replace(local, holders={"web/s1": moved})).wants == (
        (*ONE, None),
    )


@pytest.mark.parametrize(
    ("leaving", "here", "why"),
    [
        (Leaving(when=("cordon",)), replace(N1, unschedulable=True), "cordoned"),
        (Leaving(when=("shutdown",)), replace(N1, shutting_down=True), "shutting down"),
        (
            Leaving(when=("shutdown",)),
            replace(N1, taints=("node.cloudprovider.kubernetes.io/shutdown:NoSchedule",)),
            "tainted node.cloudprovider.kubernetes.io/shutdown:NoSchedule",
        ),
        (Leaving(when=("taints",)), replace(N1, taints=("a=b:NoExecute",)), "tainted a=b:NoExecute"),
        (Leaving(when=("taints",)), replace(N1, taints=("a=b:PreferNoSchedule",)), ""),
        (Leaving(when=("taints",), tolerates=("a",)), replace(N1, taints=("a=b:NoExecute",)), ""),
        (Leaving(when=("taints",), tolerates=("a=b",)), replace(N1, taints=("a=b:NoExecute",)), ""),
        (Leaving(when=("taints",), tolerates=("a:NoExecute",)), replace(N1, taints=("a=b:NoExecute",)), ""),
        (
            Leaving(when=("taints",), tolerates=("a:NoSchedule",)),
            replace(N1, taints=("a=b:NoExecute",)),
            "tainted a=b:NoExecute",
        ),
        # What a cordon puts beside itself is a cordon, and a role is not a departure.
        (Leaving(when=("taints",)), replace(N1, taints=("node.kubernetes.io/unschedulable:NoSchedule",)), ""),
        (
            Leaving(when=("taints",)),
            replace(N1, taints=("node-role.kubernetes.io/control-plane:NoSchedule",)),
            "",
        ),
        (Leaving(), replace(N1, unschedulable=True, shutting_down=True, taints=("a:NoExecute",)), ""),
    ],
)
def test_an_advertisement_says_which_signs_count(leaving: Leaving, here: Node, why: str) -> None:
    world = Clocked(leaving)
    told = world.announcer.set_node(here)
    assert world.announcer.draining.why == why
    assert told.wants == (((*ONE, EASED),) if why else ())
    assert world.announcer.set_node(N1).wants == (((*ONE, Attributes()),) if why else ())


def test_an_order_counts_without_any_annotation_and_its_delay_is_the_advertisements() -> None:
    world = Clocked(Leaving(delay=0))
    world.order(DRAIN)
    assert world.see().wants == ((*ONE, None),)


def test_a_route_that_an_advertisement_which_stays_asks_for_as_well_is_left_alone() -> None:
    world = Clocked(Leaving(when=("cordon",)))
    made = world.announcer.configuration
    assert made is not None
    stays = BGPAdvertisement(name="stays", pools=("p",))
    world.announcer.set_configuration(replace(made, bgp_advertisements=(*made.bgp_advertisements, stays)))
    both = {"web/s1": holder(bgp=("all", "stays"))}
    world.announcer.set_vip("198.51.100.1", replace(vip(1), holders=both))
    assert world.announcer.set_node(replace(N1, unschedulable=True)).wants == ()


def test_an_aggregate_stays_as_it_is_while_one_of_its_addresses_does() -> None:
    made = Clocked(Leaving(when=("cordon",))).announcer.configuration
    assert made is not None
    leaves, stays = (
        replace(made.bgp_advertisements[0], name=name, aggregation_length=24, leaving=on)
        for name, on in (("leaves", Leaving(when=("cordon",))), ("stays", Leaving()))
    )
    world = Clocked()
    world.announcer.set_configuration(replace(made, bgp_advertisements=(leaves, stays)))
    for number, name in ((1, "leaves"), (2, "stays")):
        holders = {f"web/s{number}": holder(bgp=(name,))}
        world.announcer.set_vip(f"198.51.100.{number}", replace(vip(number), holders=holders))
    wide = (TOR, "198.51.100.0/24")
    assert world.announcer.wanted() == {wide: Attributes()}
    assert world.announcer.set_node(replace(N1, unschedulable=True)).wants == ()
    gone = world.announcer.set_vip("198.51.100.2", None)
    assert gone.wants == ((*wide, EASED),)


def test_a_speaker_that_starts_on_a_node_which_leaves_waits_for_no_delay() -> None:
    world = Clocked()
    world.announcer = Announcer(lambda: world.now)
    world.announcer.set_configuration(CONFIGURATION)
    world.announcer.set_orders([DRAIN], 0.0)
    world.announcer.set_vip("198.51.100.1", vip(1))
    world.announcer.set_node(N1)
    world.see()
    assert world.announcer.wanted() == {}


# ------------------------------------------------------------------ Layer 2


def layer2(*, revertive: bool = True, here: str = "n1") -> Announcer:
    one = Announcer()
    flat = L2Advertisement(name="flat", pools=("p",), revertive=revertive)
    one.set_configuration(replace(CONFIGURATION, l2_advertisements=(flat,)))
    one.set_node(node(here))
    held = {"web/s1": holder(l2=("flat",))}
    one.set_vip("198.51.100.1", replace(vip(1), holders=held, candidates=("n1", "n2", "n3")))
    return one


def candidates(one: Announcer) -> tuple[str, ...] | None:
    duties = one.table.duties()
    return duties[0].candidates if duties else None


def test_in_layer_2_every_node_puts_the_drained_one_last() -> None:
    for here in ("n1", "n2"):
        one = layer2(here=here)
        one.set_orders([DRAIN], 0.0)
        assert candidates(one) == ("n2", "n3", "n1")
        one.set_orders([], 0.0)
        assert candidates(one) == ("n1", "n2", "n3")


def test_a_non_revertive_owner_would_keep_its_address_wherever_it_stands_so_it_is_taken_out() -> None:
    one, other = layer2(revertive=False), layer2(revertive=False, here="n2")
    for each in (one, other):
        each.set_orders([DRAIN], 0.0)
    assert candidates(one) is None and candidates(other) == ("n2", "n3")
    everybody = [Order(name=f"drain-{name}", action="Drain", node=name) for name in ("n1", "n2", "n3")]
    one.set_orders(everybody, 0.0)
    assert candidates(one) == ("n1", "n2", "n3")


def test_a_hold_for_one_node_lets_the_others_stand_in() -> None:
    hold = Order(name="h", action="Hold", address="198.51.100.1", node="n1")
    one, other = layer2(), layer2(here="n2")
    for each in (one, other):
        each.set_orders([hold], 0.0)
    assert candidates(one) is None and candidates(other) == ("n2", "n3")


def test_in_layer_2_the_one_that_leaves_and_is_first_all_the_same_says_what_it_had_to_keep() -> None:
    everybody = [Order(name=f"drain-{name}", action="Drain", node=name) for name in ("n1", "n2", "n3")]
    for orders_, keeps in (([], {}), ([DRAIN], {}), (everybody, {"198.51.100.1": "drained"})):
        one, other = layer2(), layer2(here="n2")
        for each in (one, other):
            each.set_orders(orders_, 0.0)
        assert one.last_in_l2() == keeps and other.last_in_l2() == {}
    (told,) = drain_report(one)
    assert (told.why, told.answers, told.stays) == ("drained", ("198.51.100.1",), ())


@pytest.mark.parametrize("only", ["", "n1"])
def test_a_hold_that_one_node_alone_knows_of_is_told_to_the_candidates_after_it(only: str) -> None:
    """Of one that is an object they know: they do not count on the node at all, or obey it themselves."""
    one = layer2()
    one.set_orders([Order(name="h", action="Hold", address="198.51.100.1", node=only, local=not only)], 0.0)
    assert candidates(one) is None
    assert [duty.declined for duty in one.table.duties(declined=True)] == [True] * (not only)
    one.set_orders([Order(name="h", action="Hold", address="198.51.100.1")], 0.0)
    assert one.table.duties(declined=True) == ()


# ------------------------------------------------------------------ the agent


def two_nodes(folder: Path) -> World:
    """One address, which both announce."""
    world = World(folder)
    world.fill(vip(1))
    fill(world, "n1", "n2")
    return world


def fill(world: World, *names: str) -> None:
    for name in names:
        if name != "n1":
            world.api.put(NODES, name, {"status": {}})
        said = replace(report(name), pod=f"speaker-{name}")
        world.api.put(NODE_STATES, name, nodestate.encode(said, NS, NS), NS)
        pod(world, name)


def pod(world: World, name: str, ready: str = "True") -> None:
    body = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}
    world.api.put(PODS, f"speaker-{name}", body, NS)


async def test_the_agent_looks_at_the_others_only_while_its_node_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "PACE", 0.05)
    world = two_nodes(tmp_path)
    looks: list[Any] = []
    real = world.api.list_pages

    async def pages(resource: Any, *args: Any, **options: Any) -> Any:
        looks.append(resource)
        async for page in real(resource, *args, **options):
            yield page

    world.api.list_pages = pages  # type: ignore[method-assign]  # counts
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.prefixes() == ["198.51.100.1/32"])
    before = len(looks)
    quick = Order(name="drain-n1", action="Drain", node="n1")
    world.api.put(SPEAKER_ORDERS, "drain-n1", orders.encode(quick, NS), NS)
    await until(lambda: world.told[ONE]["local_preference"] == 0)
    await until(lambda: len(looks) >= before + 6)
    assert world.agent.record.report(world.agent.announcer, world.agent.reflex, 0.0).drain[0].eased == 1
    world.api.take(SPEAKER_ORDERS, "drain-n1", NS)
    await until(lambda: world.told[ONE]["local_preference"] is None)
    assert not world.agent.announcer.draining.active
    await ended(task)


async def test_a_start_on_a_node_that_leaves_announces_nothing_that_another_does(tmp_path: Path) -> None:
    world = two_nodes(tmp_path)
    world.api.put(SPEAKER_ORDERS, "drain-n1", orders.encode(DRAIN, NS), NS)
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.agent.speaking)
    assert world.said == ["neighbors", "synced"] and world.told == {}
    await ended(task)


async def test_a_node_whose_speaker_is_gone_is_not_counted_on_whatever_it_reported_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NodeState outlives its Pod: one that crashes, or is being replaced, said "Established" last."""
    monkeypatch.setattr(look, "PACE", 0.02)
    world = two_nodes(tmp_path)
    world.api.put(SPEAKER_ORDERS, "drain-n1", orders.encode(DRAIN, NS), NS)
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.agent.speaking and ONE not in world.told)
    pod(world, "n2", ready="False")
    await until(lambda: ONE in world.told)
    pod(world, "n2")
    await until(lambda: ONE not in world.told)
    world.api.take(PODS, "speaker-n2", NS)
    await until(lambda: ONE in world.told)
    assert world.agent.announcer.draining.stays
    await ended(task)
