"""What gave a Service its address is written into its claim once, and outlives whatever is asked later."""

from collections.abc import Callable

import pytest

from metalbgp.cluster.resources import VIRTUAL_IPS
from metalbgp.controller import addresses, configure
from tests.unit.controller.test_addresses import FIRST, Kept
from tests.unit.controller.test_controller import World, running, until

V6 = "2001-0db8-0018-0000-0000-0000-0000-0000"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configure, "COALESCE", 0.001)
    monkeypatch.setattr(configure, "AGAIN", 0.001)
    monkeypatch.setattr(addresses, "QUIET", 0.02)


def why(world: World, name: str, address: str = FIRST) -> str:
    return str(world.holders(address).get(f"web/{name}", {}).get("why"))


def given(world: World, name: str) -> Callable[[], bool]:
    return lambda: bool(world.addresses(name))


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({}, "first free address of pool production (automatic)"),
        (
            {"address-pool": "production"},
            "first free address of pool production (annotation metallb.io/address-pool)",
        ),
        (
            {"loadBalancerIPs": FIRST},
            "asked for by annotation metallb.io/loadBalancerIPs, in pool production",
        ),
    ],
)
async def test_how_the_pool_was_chosen_and_it_stays_when_the_wish_goes(
    wish: dict[str, str], words: str
) -> None:
    world = Kept()
    async with running(world):
        world.service("shop", **wish)
        await until(given(world, "shop"))
        assert why(world, "shop") == words
        world.service("shop", **{"allow-shared-ip": "now-with-a-key"})  # no wish any more
        await until(lambda: world.holders(FIRST)["web/shop"].get("sharingKey") == "now-with-a-key")
        assert why(world, "shop") == words


async def test_a_reservation_and_a_return_are_named() -> None:
    world = Kept()
    world.policy(sticky={})
    world.reservation("dns", "198.51.100.1", service="dns")
    async with running(world):
        world.service("dns")
        await until(given(world, "dns"))
        assert why(world, "dns", "198.51.100.1") == (
            "reserved for it by AddressReservation dns, in pool production"
        )
        await world.served_and_deleted("shop")
        await until(lambda: world.phase(FIRST) == "cooling")
        world.service("shop", uid="new")
        await until(given(world, "shop"))
        assert why(world, "shop") == "the address it had before (web/shop), kept for it by pool production"


async def test_what_was_there_before_the_claim_is_said_to_be_so() -> None:
    world = Kept()
    world.service("shop", uid="u1", status=[{"ip": FIRST}])
    async with running(world):
        await until(lambda: FIRST in world.claims())
        assert why(world, "shop") == "it had it already, before this VirtualIP was made"
        world.api.take(VIRTUAL_IPS, FIRST)  # by other hands: nobody remembers more than that
        await until(lambda: FIRST in world.claims())
        assert why(world, "shop") == "it had it already, before this VirtualIP was made"


async def test_a_second_family_says_what_it_stands_beside() -> None:
    world = World()
    world.pool("production", "198.51.100.0/31")
    async with running(world):
        world.service("shop", dual="PreferDualStack")
        await until(given(world, "shop"))
        world.pool("production", "198.51.100.0/31", "2001:db8:18::/127")
        world.service("shop", dual="RequireDualStack")
        await until(lambda: V6 in world.claims())
        assert why(world, "shop", V6) == f"chosen beside {FIRST}"
        assert why(world, "shop") == "first free address of pool production (automatic)"


async def test_a_service_made_anew_takes_over_what_the_one_of_its_name_had() -> None:
    world = Kept()
    async with running(world):
        world.service("shop", uid="u1")
        await until(given(world, "shop"))
        world.service("shop", uid="u2")  # as after a restore: the same name, and nobody saw a deletion
        await until(lambda: world.holders(FIRST)["web/shop"]["uid"] == "u2")
        assert why(world, "shop") == "the Service of this name before it had it"
