"""A 409, and contradictions at start: each pair of facts has one verdict (contracts.md, Claiming)."""

from collections.abc import Callable
from typing import Any

from metalbgp.allocate.claims import Busy, Join, Lost, Ours, Promised, TakeOver, adopt, judge
from metalbgp.allocate.taken import use_of
from metalbgp.model.addresses import Occupied
from metalbgp.model.configuration import Reservation
from metalbgp.model.reasons import AddressCooling, AddressReserved, AddressTaken, NotShared, PortTaken
from metalbgp.model.services import Endpoints, Service
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.plan import plan
from tests.values import PRODUCTION, block, configuration, ports, service, vip

ADDRESS = "10.252.252.100"


def living(*services: Service) -> Callable[[str], str | None]:
    return {one.key: one.uid for one in services}.get


def claim(*services: Service, phase: str = "bound", **fields: str) -> VirtualIP:
    holders = {one.key: plan(one, Endpoints(), PRODUCTION, configuration()) for one in services}
    return vip(ADDRESS, holders, phase=phase, **fields)


def test_our_uid_makes_it_ours_in_every_phase() -> None:
    own = service()
    for phase in ("bound", "releasing", "cooling"):
        assert judge(own, claim(own, phase=phase), living(own)) == Ours(claim(own, phase=phase))


def test_a_claim_of_a_gone_service_goes_to_the_living_one_of_that_name() -> None:
    own, gone = service(uid="new"), service(uid="old")
    assert judge(own, claim(gone), living(own)) == TakeOver(claim(gone), instead_of="old")


def test_an_old_view_of_ourselves_takes_nothing_from_our_successor() -> None:
    old, successor = service(uid="old"), service(uid="new")
    assert isinstance(judge(old, claim(successor), living(successor)), Busy)


def test_a_compatible_sharer_joins_and_an_incompatible_one_takes_the_next() -> None:
    first = service("web/one", sharing_key="k")
    second = service("web/two", sharing_key="k", ports=ports(443))
    third = service("web/three", sharing_key="k")
    found = claim(first)
    assert judge(second, found, living(first, second)) == Join(found)
    assert judge(third, found, living(first, third)) == Busy(
        PortTaken(address=ADDRESS, port=80, protocol="TCP", holder="web/one")
    )
    assert judge(service("web/four"), found, living(first)) == Busy(
        NotShared(address=ADDRESS, holder="web/one", why="key")
    )


def test_nobody_joins_what_is_being_released_or_reserved() -> None:
    first = service("web/one", sharing_key="k")
    second = service("web/two", sharing_key="k", ports=ports(443))
    for phase in ("releasing", "cooling", "reserved"):
        assert isinstance(judge(second, claim(first, phase=phase), living(first, second)), Busy)
    assert isinstance(judge(second, claim(phase="reserved"), living(second)), Busy)


def test_a_claim_of_another_installation_is_never_ours() -> None:
    own = service()
    verdict = judge(own, claim(own, installation="other"), living(own), installation="metallb-system")
    assert verdict == Busy(AddressTaken(address=ADDRESS, holder="installation other"))


def test_at_start_claims_come_before_statuses_and_the_oldest_keeps() -> None:
    young = service("web/young", created="2026-03-01T00:00:00Z", ingress=(ADDRESS,))
    old = service("web/old", created="2026-01-01T00:00:00Z", ingress=(ADDRESS,))
    taken, lost = adopt([], [young, old])
    assert taken.holders(ADDRESS) == (use_of(old),)
    assert [one.service for one in lost] == ["web/young"]
    taken, lost = adopt([claim(young)], [young, old])
    assert taken.holders(ADDRESS) == (use_of(young),)
    assert lost == (Lost("web/old", ADDRESS, AddressTaken(address=ADDRESS, holder="web/young")),)


def test_at_start_sharers_that_became_incompatible_while_nobody_looked_part() -> None:
    one = service("web/one", sharing_key="k", created="2026-01-01T00:00:00Z")
    two = service("web/two", sharing_key="k", created="2026-02-01T00:00:00Z", ports=ports(443))
    found = claim(one, two)
    changed = service("web/two", sharing_key="k", created="2026-02-01T00:00:00Z")
    taken, lost = adopt([found], [one, changed])
    assert taken.holders(ADDRESS) == (use_of(one),)
    assert [one.service for one in lost] == ["web/two"]


def test_an_address_kept_for_a_service_is_taken_for_all_others() -> None:
    own = service()
    taken, _ = adopt([claim(own, phase="releasing")], [])
    assert taken.conflict(ADDRESS, use_of(own)) is None
    assert taken.conflict(ADDRESS, use_of(service("web/other"))) is not None


SHOP = Reservation(name="shop", addresses=(ADDRESS,), namespace="web", service="shop")


def test_a_reserved_claim_goes_to_whom_its_reservation_admits_and_to_nobody_else() -> None:
    found = VirtualIP(address=ADDRESS, pool="production", phase="reserved", reservation="shop")
    shop, other = service("web/shop"), service("web/other")
    assert judge(shop, found, living(shop), reservations=[SHOP]) == Promised(found)
    assert judge(other, found, living(other), reservations=[SHOP]) == Busy(
        AddressReserved(address=ADDRESS, reservation="shop", whose="web/shop")
    )
    assert isinstance(judge(shop, found, living(shop)), Busy)


def test_a_cooling_claim_goes_to_whom_it_is_kept_for_and_early_to_others_only_by_policy() -> None:
    found = VirtualIP(address=ADDRESS, pool="production", phase="cooling", kept_for=("web/shop", "web#id"))
    shop, renamed = service("web/shop"), service("web/renamed", address_id="id")
    stranger, reserver = service("shop/new", address_id="id"), service("web/other")
    assert judge(shop, found, living(shop)) == Promised(found)
    assert judge(renamed, found, living(renamed)) == Promised(found)
    assert judge(stranger, found, living(stranger)) == Busy(
        AddressCooling(address=ADDRESS, kept_for=found.kept_for)
    )
    assert judge(stranger, found, living(stranger), reuse_early=True) == Promised(found)
    mine = Reservation(name="r", addresses=(ADDRESS,), namespace="web", service="other")
    assert judge(reserver, found, living(reserver), reservations=[mine]) == Promised(found)
    assert isinstance(judge(shop, found, living(shop), reservations=[mine], reuse_early=True), Busy)


def test_what_is_still_being_withdrawn_is_given_to_nobody_new() -> None:
    shop = service("web/shop")
    for found in (claim(service("web/old"), phase="releasing"), claim(phase="releasing")):
        assert isinstance(judge(shop, found, living(shop), reservations=[SHOP], reuse_early=True), Busy)


def test_at_start_every_phase_is_taken_with_its_reason() -> None:
    def found(last: int, phase: str, **fields: Any) -> VirtualIP:
        return vip(f"10.252.252.{last}", {}, phase=phase, **fields)

    taken, lost = adopt(
        [
            found(1, "reserved", reservation="shop"),
            found(2, "cooling", kept_for=("web/shop",), until="2026-02-01T00:00:00Z"),
            found(3, "releasing"),
        ],
        [],
        [Reservation(name="shop", addresses=("10.252.252.1",), namespace="web", service="shop")],
        [Occupied(block("10.252.252.4"), "Node n1")],
    )
    assert not lost
    other = use_of(service("web/other"))
    assert isinstance(taken.conflict("10.252.252.1", other), AddressReserved)
    assert isinstance(taken.conflict("10.252.252.2", other), AddressCooling)
    assert taken.conflict("10.252.252.3", other) == AddressTaken(
        address="10.252.252.3", holder="VirtualIP 10.252.252.3 (releasing)"
    )
    assert taken.owner("10.252.252.4") == "Node n1"
    assert taken.conflict("10.252.252.2", use_of(service("web/shop"))) is None


def test_at_start_a_reservation_evicts_nobody_not_even_the_second_of_two_sharers() -> None:
    one, two = service("web/one", sharing_key="k"), service("web/two", sharing_key="k", ports=ports(443))
    taken, lost = adopt([claim(one, two)], [one, two], [SHOP])
    assert not lost
    assert {use.service for use in taken.holders(ADDRESS)} == {"web/one", "web/two"}


def test_services_restored_with_new_uids_find_their_claims() -> None:
    old, new = service("web/shop", uid="old"), service("web/shop", uid="new")
    taken, lost = adopt([claim(old)], [new])
    assert not lost
    assert taken.holders(ADDRESS) == (use_of(new),)
    assert judge(new, claim(old), living(new)) == TakeOver(claim(old), instead_of="old")


def test_a_status_that_names_what_is_kept_for_another_holds_nothing() -> None:
    kept = vip(ADDRESS, {}, phase="cooling", kept_for=("web/shop",))
    thief = service("web/thief", ingress=(ADDRESS,))
    taken, lost = adopt([kept], [thief])
    assert [one.service for one in lost] == ["web/thief"]
    assert not taken.held_by("web/thief")


def test_a_renamed_service_takes_its_address_while_it_is_still_being_withdrawn() -> None:
    old, new = service("web/old", address_id="front"), service("web/new", address_id="front")
    found = claim(old, phase="releasing")
    taken, _ = adopt([found], [])
    assert taken.conflict(ADDRESS, use_of(new)) is None
    assert taken.kept_for(use_of(new)) == ((ADDRESS, "web#front"),)
    assert judge(new, found, living(new)) == Promised(found)
    assert isinstance(judge(new, claim(old), living(old, new)), Busy)
    stranger = service("shop/new", address_id="front")
    assert isinstance(judge(stranger, found, living(stranger)), Busy)
    assert isinstance(taken.conflict(ADDRESS, use_of(stranger)), AddressTaken)
