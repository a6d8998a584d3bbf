"""Orders on one node: they only say no, they end by the clock, and they outlive the API server."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from metalbgp.cluster.errors import Forbidden, Unreachable
from metalbgp.cluster.reflector import Changed
from metalbgp.cluster.resources import SPEAKER_ORDERS
from metalbgp.config import nodestate, orders
from metalbgp.model.configuration import Configuration, Peer
from metalbgp.model.orders import HOLD, Order, in_force, obeyed
from metalbgp.model.reasons import HeldByOrder, NoMatchingAdvertisement, ShutByOrder
from metalbgp.model.routes import Attributes
from metalbgp.speaker import loop as module
from metalbgp.speaker import order_book
from metalbgp.speaker.announcer import Announcer
from metalbgp.speaker.order_book import OrderBook
from metalbgp.speaker.record import Record
from metalbgp.speaker.snapshot import Snapshots
from tests.unit.speaker.test_loop import CONFIGURATION, NS, TOR, World, ended, until, vip
from tests.values import node

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
ONE, TWO = ("10.0.0.1", "198.51.100.1/32"), ("10.0.0.1", "198.51.100.2/32")
BESIDE = Peer(name="beside", my_asn=64513, peer_asn=64512, address="10.0.0.2")


def hold(number: int = 1, **fields: Any) -> Order:
    address = f"198.51.100.{number}"
    return Order(**{"name": f"hold-{address}", "action": "Hold", "address": address, **fields})


def shut(peer: str = "tor", **fields: Any) -> Order:
    return Order(**{"name": f"shut-{peer}", "action": "Shut", "peer": peer, **fields})


def announcer(configuration: Configuration = CONFIGURATION, **more: Any) -> Announcer:
    one = Announcer()
    one.set_configuration(configuration)
    one.set_node(node("n1"))
    for number in (1, 2):
        one.set_vip(f"198.51.100.{number}", vip(number, **more))
    return one


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def test_a_held_address_is_withdrawn_alone_and_comes_back() -> None:
    one = announcer()
    told = one.set_orders([hold(1, reason="fibre work", author="eve")], NOON)
    assert told.wants == ((*ONE, None),) and told.neighbors is None
    refused, layer2 = one.plans["198.51.100.1"].refused
    assert layer2.reason == NoMatchingAdvertisement(kind="L2Advertisement", pool="p")
    assert refused.reason == HeldByOrder(
        order="hold-198.51.100.1", why="fibre work", author="eve", address="198.51.100.1"
    )
    assert one.set_orders([hold(1, reason="fibre work", author="eve")], NOON + 1).wants == ()
    assert one.set_orders([], NOON).wants == ((*ONE, Attributes()),)


def test_an_order_is_over_at_its_time_and_not_before() -> None:
    one = announcer()
    order = hold(1, expires=at(NOON))
    assert one.set_orders([order], NOON - 0.001).wants == ((*ONE, None),)
    assert one.set_orders([order], NOON).wants == ((*ONE, Attributes()),)


def test_what_the_api_server_takes_for_a_time_is_one() -> None:
    spec = '{"action":"Hold","address":"198.51.100.1","expires":"2026-01-01t12:00:00.123456789z"}'
    order = orders.decode(f'{{"metadata":{{"name":"h"}},"spec":{spec}}}'.encode())
    assert order.expires == "2026-01-01T12:00:00.123456789Z" and 0.12 < order.until - NOON < 0.13


def test_a_hold_for_another_node_is_not_ours() -> None:
    one = announcer()
    assert one.set_orders([hold(1, node="n2")], NOON).wants == ()
    assert one.set_orders([hold(1, node="n1")], NOON).wants == ((*ONE, None),)


def test_an_order_that_came_before_the_node_counts_from_the_first_moment() -> None:
    one = Announcer()
    one.set_configuration(CONFIGURATION)
    one.set_vip("198.51.100.1", vip(1))
    one.set_orders([hold(1, node="n1")], NOON)
    assert one.set_node(node("n1")).wants == ()
    assert one.wanted() == {}


def test_a_hold_also_ends_what_waits_for_a_newer_configuration() -> None:
    """It says no whatever else is known: an undecided address would keep what it has."""
    one = announcer()
    one.set_vip("198.51.100.1", replace(vip(1), configuration=99))
    assert ONE in one.wanted()
    assert one.set_orders([hold(1)], NOON).wants == ((*ONE, None),)


def test_a_shut_peer_loses_its_routes_and_its_session_and_no_other_does() -> None:
    one = announcer(replace(CONFIGURATION, peers=(*CONFIGURATION.peers, BESIDE)))
    told = one.set_orders([shut(reason="new card")], NOON)
    assert told.neighbors is not None and [each.address for each in told.neighbors] == ["10.0.0.2"]
    assert sorted(told.wants) == [(*ONE, None), (*TWO, None)]
    (refused,) = one.refused_peers
    assert refused.why == ShutByOrder(order="shut-tor", why="new card", peer="tor")
    back = one.set_orders([], NOON)
    assert back.neighbors is not None and len(back.neighbors) == 2
    assert sorted(key for *key, attributes in back.wants if attributes is not None) == [list(ONE), list(TWO)]


def test_the_twin_of_a_shut_peer_does_not_run_in_its_place() -> None:
    """Two BGPPeers with one address: shutting the one that runs must not start the other."""
    twin = replace(BESIDE, name="twin", address=TOR)
    one = announcer(replace(CONFIGURATION, peers=(*CONFIGURATION.peers, twin)))
    told = one.set_orders([shut()], NOON)
    assert told.neighbors == ()
    assert {each.peer.name for each in one.refused_peers} == {"tor", "twin"}


class Nothing:
    """Of L2."""

    state = None
    owned: Mapping[str, Any] = MappingProxyType({})
    counters: Mapping[str, Any] = MappingProxyType({})


def test_of_many_orders_all_are_reported_whom_they_concern_and_what_is_cut_is_counted() -> None:
    """Whoever explains an address reads them there; and the object stays as small as it must."""
    one, talk = announcer(), {"reason": "r" * 1024, "author": "a" * 253}
    many = [hold(number, **talk) for number in range(150)]
    one.set_orders([*many, hold(151, name="local", local=True), shut()], NOON)
    report = Record("n1").report(one, Nothing(), 0.0)
    assert len(report.orders) == report.orders_total == 152
    assert [each.name for each in report.orders[:2]] == ["local", "shut-tor"]
    told = nodestate.decode(json.encode(nodestate.encode(report, NS, NS)))
    assert {each.target for each in told.orders} == {each.target for each in report.orders}
    assert told.orders[2].reason and not told.orders[-1].reason
    one.set_orders([hold(number, name=f"{number:03}" * 80, **talk) for number in range(400)], NOON)
    body = json.encode(nodestate.encode(Record("n1").report(one, Nothing(), 0.0), NS, NS))
    told = nodestate.decode(body)
    assert len(body) < 64 * 1024 and 50 < len(told.orders) < told.orders_total == 400


def test_a_shut_session_is_a_row_with_its_reason_and_the_orders_stand_in_the_report() -> None:
    one = announcer()
    one.set_orders([shut(author="eve"), hold(2, node="n1", local=True), hold(3, node="n2")], NOON)
    report = Record("n1").report(one, Nothing(), 0.0)
    (session,) = report.sessions
    assert (session.state, session.reason) == ("Shut", "ShutByOrder")
    assert session.last_error == "the session is shut by eve" and session.remedy == "metalbgp unshut tor"
    assert [(each.name, each.local) for each in report.orders] == [
        ("hold-198.51.100.2", True),
        ("shut-tor", False),
    ]


def test_of_two_orders_that_say_the_same_the_one_that_lasts_longer_is_obeyed() -> None:
    short, long = hold(1, name="a", expires=at(NOON + 60)), hold(1, name="b")
    for both in ((short, long), (long, short)):
        assert obeyed(in_force(both, NOON), "n1").holds["198.51.100.1"].name == "b"


def test_a_word_of_a_later_version_does_nothing_here() -> None:
    later = orders.decode(b'{"metadata":{"name":"x"},"spec":{"action":"Answer","node":"n1","more":1}}')
    assert obeyed([later], "n1") == obeyed([], "n1")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ('{"action":"Hold"}', "spec.address: is missing"),
        ('{"action":"Hold","address":"nonsense"}', "spec.address"),
        ('{"action":"Hold","address":"10.0.0.1","peer":"tor"}', "spec.peer: a Hold has none"),
        ('{"action":"Drain","node":"n1","address":"10.0.0.1"}', "spec.address: a Drain has none"),
        ('{"action":"Shut","peer":"tor","expires":"soon"}', 'spec.expires: "soon" is no time'),
    ],
)
def test_an_object_that_is_no_order_names_its_field(spec: str, words: str) -> None:
    with pytest.raises(ValueError, match="SpeakerOrder x: ") as raised:
        orders.decode(f'{{"metadata":{{"name":"x"}},"spec":{spec}}}'.encode())
    assert words in str(raised.value)


def test_one_thing_has_one_order_whatever_the_spelling() -> None:
    assert orders.name_of(HOLD, "10.0.0.1", "n1") == "hold-10.0.0.1.on.n1"
    assert orders.name_of(HOLD, "2001:db8::1") == "hold-2001-0db8-0000-0000-0000-0000-0000-0001"
    assert len(orders.name_of("Shut", "x" * 250)) < 64
    written = orders.encode(hold(1, reason="why"), NS)
    assert written["spec"] == {"action": "Hold", "address": "198.51.100.1", "reason": "why"}


# ------------------------------------------------------------------ the agent


def put(world: World, order: Order) -> None:
    world.api.put(SPEAKER_ORDERS, order.name, orders.encode(order, NS), NS)


async def test_what_is_held_is_never_announced_and_a_new_order_counts_at_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(vip(1), vip(2))
    put(world, hold(1))
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.prefixes() == ["198.51.100.2/32"])
    assert world.said == ["neighbors", "want", "synced"]
    put(world, hold(2))
    await until(lambda: world.prefixes() == [])
    world.api.take(SPEAKER_ORDERS, "hold-198.51.100.1", NS)
    await until(lambda: world.prefixes() == ["198.51.100.1/32"])
    await ended(task)


async def test_an_order_ends_without_a_word_of_the_api_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.fill(vip(1))
    end = datetime.now(UTC).timestamp() + 0.5
    put(world, hold(1, expires=at(end)))
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.agent.speaking)
    assert world.prefixes() == []
    await until(lambda: world.prefixes() == ["198.51.100.1/32"])
    assert datetime.now(UTC).timestamp() >= end
    await ended(task)


async def test_a_clock_that_jumps_and_is_set_back_ends_no_order_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(order_book, "LOOK", 0.01)
    now = [NOON]
    seen: list[tuple[Order, ...]] = [()]
    book = OrderBook(lambda orders: seen.append(in_force(orders, now[0])), lambda: now[0])
    order = hold(1, expires=at(NOON + 3600))
    book.event(Changed("h", None, order))
    expected: tuple[Order, ...]
    for hours, expected in ((0, (order,)), (24, ()), (0, (order,)), (2, ())):
        now[0] = NOON + hours * 3600
        await until(lambda expected=expected: seen[-1] == expected)  # type: ignore[misc]  # a default binds the loop's value
    told = len(seen)
    await asyncio.sleep(0.05)  # time for what must not come
    assert len(seen) == told  # nothing is said where nothing changed


async def test_a_hold_survives_a_restart_without_the_api_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    before = announcer()
    before.set_orders([hold(1), hold(2, local=True)], NOON)
    assert Snapshots(tmp_path / "snapshot.json", "n1", NS).save(before) is None

    world = World(tmp_path)

    async def away(*_: Any, **__: Any) -> Any:
        raise Unreachable("WATCH", "away")
        yield

    world.api.watch = away  # type: ignore[method-assign]  # nobody answers
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.agent.speaking)
    # That of the node's own socket is its parent's to remember (local_orders.py).
    assert world.prefixes() == ["198.51.100.2/32"]
    await ended(task)


async def test_without_the_right_to_read_orders_everything_else_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(vip(1))
    real = world.api.watch

    async def watch(resource: Any, *args: Any, **options: Any) -> Any:
        if resource == SPEAKER_ORDERS:
            raise Forbidden("WATCH", "no")
        async for event in real(resource, *args, **options):
            yield event

    world.api.watch = watch  # type: ignore[method-assign]  # one kind less
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.prefixes() == ["198.51.100.1/32"])
    await ended(task)


async def test_orders_of_the_last_run_count_until_the_view_is_complete(tmp_path: Path) -> None:
    """And not after it: one that was taken back meanwhile is over."""
    world = World(tmp_path)
    world.fill(vip(1))
    before = announcer()
    before.set_orders([hold(1)], NOON)
    assert Snapshots(tmp_path / "snapshot.json", "n1", NS).save(before) is None
    task = asyncio.create_task(world.agent.run())
    await until(lambda: world.prefixes() == ["198.51.100.1/32"])
    await ended(task)
