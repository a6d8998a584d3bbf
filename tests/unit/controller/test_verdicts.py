"""Each configuration object says itself whether it is in force, and a reservation who holds its addresses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from metalbgp.cluster.errors import Invalid as InvalidWrite
from metalbgp.cluster.errors import Unreachable
from metalbgp.cluster.resources import ADDRESS_RESERVATIONS, BGP_PEERS, IP_ADDRESS_POOLS
from metalbgp.config import objects
from metalbgp.controller import verdicts
from metalbgp.controller.claims import Claims
from metalbgp.controller.tell import KINDS
from metalbgp.controller.verdicts import KEPT, Verdicts
from metalbgp.inventory.inventory import Inventory
from metalbgp.model.configuration import Reservation
from metalbgp.model.names import VALID
from metalbgp.model.reasons import Invalid, NotInForce
from metalbgp.model.virtualips import Holder
from tests.fakeapi import FakeClient
from tests.values import configuration, holder, labelled, service, vip

NS = "metallb-system"
ADDRESS = "10.252.252.7"
SHOP = Reservation(name="shop", addresses=(ADDRESS,), namespace="web", service="shop")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "PACE", 0.005)


class Bench:
    def __init__(self, *reservations: Reservation) -> None:
        self.api = FakeClient()
        self.inventory = Inventory(NS)
        self.claims = Claims(self.inventory)
        self.inventory.configure(configuration(reservations=reservations))
        self.claims.taken.reserve(reservations)
        self.times = iter(f"2026-01-01T00:{minute:02}:00Z" for minute in range(60))
        self.one = Verdicts(self.api, self.inventory, self.claims, NS, lambda: next(self.times))
        self.one.leading = True

    def put(self, kind: str, name: str, status: Any = None) -> None:
        body: dict[str, Any] = {"metadata": {"generation": 1}, "spec": {}}
        if status is not None:
            body["status"] = status
        self.look(kind, self.api.put(KINDS[kind], name, body, NS))

    def look(self, kind: str, whole: Any) -> None:
        """As the view would on each event."""
        data = msgspec.json.encode(whole)
        self.one.seen(kind, objects.READERS[kind](data).metadata, data)

    def status(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.objects[KINDS[kind].plural, NS, name].get("status", {})
        return found

    def condition(self, kind: str, name: str, type_: str = VALID) -> dict[str, Any]:
        found = self.status(kind, name).get("conditions", ())
        return next((one for one in found if one["type"] == type_), {})


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.one.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # a value of the fake, which tells nobody
            await asyncio.sleep(0.002)


async def rounds(bench: Bench, number: int = 4) -> None:
    """Let it look again and again."""
    for _ in range(number):
        bench.one._due.set()
        await until(lambda: not bench.one._due.is_set())
        await asyncio.sleep(0.006)  # longer than its pace


async def test_every_kind_says_whether_it_is_valid_and_in_force() -> None:
    bench = Bench()
    for kind in KINDS:
        bench.put(kind, "x")
    async with running(bench):
        bench.one.judged((), (NotInForce(kind="BGPPeer", object="x", field="spec.vrf", why="not yet"),))
        await until(lambda: all(bench.condition(kind, "x") for kind in KINDS))
        for kind in KINDS:
            assert bench.condition(kind, "x")["status"] == "True"
            assert bench.condition(kind, "x")["observedGeneration"] == 1
        assert bench.condition("BGPPeer", "x")["reason"] == "NotInForce"
        wrong = Invalid(kind="IPAddressPool", object="x", field="spec.addresses[0]", why="no", fix="do")
        bench.one.judged((wrong,), ())
        await until(lambda: bench.condition("IPAddressPool", "x")["status"] == "False")
        found = bench.condition("IPAddressPool", "x")
        assert found["reason"] == "Invalid"
        assert found["message"] == "spec.addresses[0]: no. Remedy: do"
        assert bench.condition("BGPPeer", "x")["reason"] == "Valid"


async def test_it_is_written_on_change_only_also_by_the_next_leader() -> None:
    bench = Bench()
    bench.put("BGPPeer", "tor")
    async with running(bench):
        bench.one.judged((), ())
        await until(lambda: bool(bench.condition("BGPPeer", "tor")))
        await rounds(bench)
        assert len(bench.api.writes) == 1
    heir = Bench()
    heir.put("BGPPeer", "tor", bench.status("BGPPeer", "tor"))
    async with running(heir):
        heir.one.judged((), ())
        await rounds(heir)
        assert heir.api.writes == []


async def test_the_time_moves_with_the_status_alone_and_conditions_of_others_stay() -> None:
    bench = Bench()
    bench.put("BGPPeer", "tor", {"conditions": [{"type": "Other", "status": "True"}]})
    async with running(bench):
        bench.one.judged((), ())
        await until(lambda: bool(bench.condition("BGPPeer", "tor")))
        since = bench.condition("BGPPeer", "tor")["lastTransitionTime"]
        bench.one.judged((), (NotInForce(kind="BGPPeer", object="tor", field="spec.vrf"),))
        await until(lambda: bench.condition("BGPPeer", "tor")["reason"] == "NotInForce")
        assert bench.condition("BGPPeer", "tor")["lastTransitionTime"] == since
        assert bench.condition("BGPPeer", "tor", "Other")["status"] == "True"


async def test_a_refused_or_pruned_status_makes_no_storm() -> None:
    bench = Bench()
    bench.put("BGPPeer", "tor")
    bench.put("IPAddressPool", "pool")
    tries: list[str] = []

    def fails(verb: str, plural: str) -> None:
        tries.append(plural)
        if plural == BGP_PEERS.plural:
            raise InvalidWrite(verb, "unknown field", status=422)

    bench.api.fails = fails
    async with running(bench):
        bench.one.judged((), ())
        await until(lambda: len(tries) == 2)
        pruned = bench.api.objects[IP_ADDRESS_POOLS.plural, NS, "pool"]
        pruned.pop("status", None)
        bench.look("IPAddressPool", pruned)  # an old schema dropped what we wrote
        await rounds(bench)
        assert sorted(tries) == [BGP_PEERS.plural, IP_ADDRESS_POOLS.plural]


async def test_what_did_not_arrive_is_sent_again_ever_more_slowly() -> None:
    bench = Bench()
    bench.put("BGPPeer", "tor")
    tries: list[float] = []

    def fails(verb: str, plural: str) -> None:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 4:
            raise Unreachable(verb, "as the test wants")

    bench.api.fails = fails
    async with running(bench):
        bench.one.judged((), ())
        await until(lambda: bool(bench.condition("BGPPeer", "tor")))
        assert tries[3] - tries[2] >= 0.0399
        assert tries[2] - tries[1] >= 0.0199


async def test_an_object_made_anew_is_told_again() -> None:
    bench = Bench()
    bench.put("BGPPeer", "tor")
    async with running(bench):
        bench.one.judged((), ())
        await until(lambda: bool(bench.condition("BGPPeer", "tor")))
        bench.api.take(BGP_PEERS, "tor", NS)
        bench.one.gone("BGPPeer", "tor")
        bench.put("BGPPeer", "tor")
        await until(lambda: bool(bench.condition("BGPPeer", "tor")))


async def test_a_reservation_names_whoever_holds_its_addresses() -> None:
    bench = Bench(SHOP)
    bench.put("AddressReservation", "shop")

    def said() -> tuple[str, str, str]:
        found = bench.status("AddressReservation", "shop")
        kept = bench.condition("AddressReservation", "shop", KEPT)
        return found.get("for", ""), found.get("holder", ""), kept.get("reason", "")

    async with running(bench):
        bench.one.judged((), ())
        await until(lambda: said() == ("web/shop", "", "Reserved"))
        steps: tuple[tuple[dict[str, Holder], str], ...] = (
            ({"web/x": holder()}, "other: web/x holds it until it is released"),
            ({"web/shop": holder()}, "web/shop"),
            ({}, ""),
        )
        for version, (holders, wanted) in enumerate(steps, start=1):
            phase = "bound" if holders else "reserved"
            bench.claims.learn(vip(ADDRESS, holders, phase=phase, resource_version=str(version), uid="u"))
            bench.one.due()
            await until(lambda wanted=wanted: said()[1] == wanted)  # type: ignore[misc]  # a default binds the loop's value
            reason = "HeldByOther" if "other" in wanted else "InUse" if wanted else "Reserved"
            assert said()[2] == reason


async def test_a_reservation_by_labels_asks_the_service_itself() -> None:
    gold = Reservation(name="shop", addresses=(ADDRESS,), selector=labelled(tier="gold"))
    bench = Bench(gold)
    bench.put("AddressReservation", "shop")
    bench.inventory.put_service(service("web/shop", labels={"tier": "gold"}))
    bench.claims.learn(vip(ADDRESS, {"web/shop": holder()}, resource_version="1", uid="u"))
    async with running(bench):
        bench.one.judged((), ())
        await until(lambda: bench.status("AddressReservation", "shop").get("holder") == "web/shop")


async def test_a_reservation_outside_every_pool_or_held_by_another_installation_says_so() -> None:
    bench = Bench(Reservation(name="lost", addresses=("203.0.113.1",), namespace="web", service="shop"), SHOP)
    bench.claims.taken.close(ADDRESS, by="installation other")
    for name in ("lost", "shop"):
        bench.put("AddressReservation", name)
    async with running(bench):
        bench.one.judged((), ())
        await until(lambda: bool(bench.condition("AddressReservation", "shop", KEPT)))
        assert bench.condition("AddressReservation", "lost", KEPT)["reason"] == "NoPool"
        found = bench.condition("AddressReservation", "shop", KEPT)
        assert (found["status"], found["reason"]) == ("False", "HeldByOther")
        assert "installation other" in found["message"]
        assert ADDRESS_RESERVATIONS.plural in {what.partition("/")[0] for _, what, _ in bench.api.writes}
