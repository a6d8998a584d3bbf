"""What we know of claims: versions only grow, but for an API server that was restored from a backup."""

from typing import Any

from msgspec.structs import replace

from metalbgp.controller.claims import Claims
from metalbgp.inventory.inventory import Inventory
from metalbgp.model.virtualips import VirtualIP
from tests.values import configuration, vip

ADDRESS = "10.252.252.100"


def claims() -> Claims:
    inventory = Inventory("metallb-system")
    inventory.configure(configuration())
    return Claims(inventory)


def at(version: int, address: str = ADDRESS, **fields: Any) -> VirtualIP:
    return replace(vip(address), resource_version=str(version), uid="u", **fields)


def test_an_older_version_that_comes_late_changes_nothing() -> None:
    found = claims()
    found.learn(at(5, phase="releasing"))
    assert not found.learn(at(4))
    known = found.get(ADDRESS)
    assert known is not None
    assert known.phase == "releasing"


def test_after_a_restore_an_older_version_is_the_truth() -> None:
    """The claim is what it was before, and the Services that it names are looked at."""
    found = claims()
    found.learn(at(5, phase="releasing"))
    assert found.start_over([at(3)]).services == {"web/nginx"}
    assert found.get(ADDRESS) == at(3)
    found.learn(at(4, phase="releasing"))
    assert found.get(ADDRESS) == at(4, phase="releasing")


def test_a_claim_that_the_restored_server_never_had_is_forgotten_and_its_service_claims_anew() -> None:
    found = claims()
    found.learn(at(5))
    assert found.start_over([]).services == {"web/nginx"}
    assert found.get(ADDRESS) is None
    assert ADDRESS not in found.taken
    found.learn(at(2))
    assert found.get(ADDRESS) == at(2)


def test_a_deleted_claim_that_the_restored_server_has_again_is_known_again() -> None:
    found = claims()
    found.learn(at(5))
    found.forget(at(6))
    assert not found.learn(at(3))
    assert found.start_over([at(3)]).services == {"web/nginx"}
    assert found.get(ADDRESS) == at(3)
