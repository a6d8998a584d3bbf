"""Where no answer of ours depends on who came first, the order in which things are told changes nothing."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metalbgp.allocate.claims import adopt
from metalbgp.allocate.taken import use_of
from metalbgp.model.configuration import Pool, PoolPolicy, Reservation
from metalbgp.model.services import Endpoints, Service
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.plan import plan
from tests.unit.allocate.desk import Desk
from tests.values import PRODUCTION, configuration, pinned, pool, ports, service, vip

POOLS = (
    pool("four", "192.0.2.0-192.0.2.7"),
    pool("pin", "203.0.113.0-203.0.113.1", allocation=pinned(namespaces=("shop",), priority=1)),
    pool("six", "2001:db8::-2001:db8::7"),
)
RESERVATIONS = (
    Reservation(name="one", addresses=("192.0.2.0",), namespace="web", service="promised"),
    Reservation(name="two", addresses=("2001:db8::",), namespace="web", service="promised6"),
)
PLACED = (  # each of them has one place that nobody else wants
    service("web/promised"),
    service("web/promised6", cluster_ips=("fd00::1",)),
    service("web/asks", requested_addresses="192.0.2.5"),
    service("web/shares", requested_addresses="192.0.2.6", sharing_key="k", ports=ports(80)),
    service("shop/shares", requested_addresses="192.0.2.6", sharing_key="k", ports=ports(443)),
    service("web/kept"),
    service("shop/pinned"),
    service("shop/nowhere", requested_pool="four", requested_addresses="203.0.113.1"),
)


@given(st.permutations(PLACED), st.permutations(POOLS), st.permutations(RESERVATIONS), st.data())
def test_services_with_a_place_of_their_own_get_it_whoever_comes_first(
    services: list[Service], pools: list[Pool], reservations: list[Reservation], data: st.DataObject
) -> None:
    policies = (PoolPolicy(name="p", pools=("four",), sticky=True),)
    desk = Desk(*pools, policies=policies, reservations=reservations)
    kept = VirtualIP(address="192.0.2.3", pool="four", phase="cooling", kept_for=("web/kept",))
    desk.taken.learn("192.0.2.3", kept)
    for one in services:
        if data.draw(st.booleans()):  # deleted and made again on the way
            desk.ask(one)
            for address in desk.taken.held_by(one.key):
                desk.taken.release(address, one.key)
        desk.ask(one)
    assert {one.key: tuple(desk.taken.held_by(one.key)) for one in services} == {
        "web/promised": ("192.0.2.0",),
        "web/promised6": ("2001:db8::",),
        "web/asks": ("192.0.2.5",),
        "web/shares": ("192.0.2.6",),
        "shop/shares": ("192.0.2.6",),
        "web/kept": ("192.0.2.3",),
        "shop/pinned": ("203.0.113.0",),
        "shop/nowhere": (),
    }


ADDRESSES = ("10.252.252.1", "10.252.252.2", "10.252.252.3")
FOUND = st.lists(
    st.tuples(
        st.sampled_from([f"web/{name}" for name in "abcdef"]),
        st.fixed_dictionaries(
            {
                "created": st.sampled_from(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]),
                "sharing_key": st.sampled_from(["", "k"]),
                "ports": st.sampled_from([ports(80), ports(443)]),
                "ingress": st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True).map(tuple),
            }
        ),
        st.lists(st.sampled_from(ADDRESSES), max_size=1),
    ),
    unique_by=lambda one: one[0],
)


@given(FOUND, st.randoms(use_true_random=False))
def test_contradictions_at_start_end_the_same_way_in_whatever_order_they_are_read(
    found: list[tuple[str, dict[str, Any], list[str]]], order: Any
) -> None:
    """The oldest keeps: of two claims' holders first, then of those whose status alone names the address."""
    services = [service(key, **fields) for key, fields, _ in found]
    behind: dict[str, list[Service]] = {}
    for one, (_, _, claimed) in zip(services, found, strict=True):
        for address in claimed:
            behind.setdefault(address, []).append(one)
    claims = [vip(address, {one.key: holder(one) for one in mine}) for address, mine in behind.items()]
    taken, lost = adopt(claims, services)
    order.shuffle(claims)
    order.shuffle(services)
    again, lost_again = adopt(claims, services)
    for address in ADDRESSES:
        assert taken.holders(address) == again.holders(address)
        keep = [(address not in [*_claimed(found, use.service)], use.age) for use in taken.holders(address)]
        out = [one.service for one in lost if one.address == address]
        for key in out:
            one = next(item for item in services if item.key == key)
            assert min(keep) < (address not in _claimed(found, key), use_of(one).age)
    assert set(lost) == set(lost_again)


def _claimed(found: list[tuple[str, dict[str, Any], list[str]]], key: str) -> list[str]:
    return list(itertools.chain.from_iterable(claimed for one, _, claimed in found if one == key))


def holder(one: Service) -> Any:
    return plan(one, Endpoints(), PRODUCTION, configuration())
