"""The API server is restored from a backup while the controller runs: what stands there now is the truth."""

import copy

import pytest

from metalbgp.cluster.backoff import Backoff
from metalbgp.cluster.resources import SERVICES, SPEAKER_CONFIGURATIONS
from metalbgp.controller import addresses, configure
from tests.unit.controller.test_controller import NS, World, running, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configure, "COALESCE", 0.001)
    monkeypatch.setattr(configure, "AGAIN", 0.001)
    monkeypatch.setattr(addresses, "QUIET", 0.02)
    monkeypatch.setattr(Backoff, "next", lambda self: 0.001)


async def test_after_a_restore_every_service_has_a_claim_and_nobody_else_has_one() -> None:
    world = World()
    world.pool("production", "198.51.100.0/24")
    async with running(world):
        world.service("kept")
        world.service("deleted-later")
        await until(lambda: bool(world.addresses("kept") and world.addresses("deleted-later")))
        backup = copy.deepcopy(world.api.objects)
        world.api.take(SERVICES, "deleted-later", "web")
        world.service("made-later")
        await until(lambda: bool(world.addresses("made-later")))
        await until(lambda: len(world.claims()) == 2)
        for number in range(5):  # versions go on, beyond those of the backup
            world.service(f"other-{number}")
        await until(lambda: all(world.addresses(f"other-{number}") for number in range(5)))
        world.api.restore(backup)
        await until(lambda: set(world.one.inventory.services) == {"web/kept", "web/deleted-later"})

        def names() -> dict[str, list[str]]:
            return {address: sorted(world.holders(address)) for address in world.claims()}

        def right() -> bool:
            wanted = {world.addresses(name)[0]: [f"web/{name}"] for name in ("kept", "deleted-later")}
            known = {key: sorted(one.holders) for key, one in world.one.inventory.claims.items()}
            return names() == known == wanted

        await until(right)
        assert world.addresses("kept") == ["198.51.100.0"]
        world.api.take(SERVICES, "kept", "web")
        await until(lambda: "198.51.100.0" not in world.claims())


async def test_after_a_restore_the_configuration_is_written_again() -> None:
    world = World()
    world.pool("old", "198.51.100.0/24")
    async with running(world):
        await until(lambda: (SPEAKER_CONFIGURATIONS.plural, NS, NS) in world.api.objects)
        backup = copy.deepcopy(world.api.objects)
        world.pool("new", "203.0.113.0/24")

        def pools() -> list[str]:
            found = world.api.objects.get((SPEAKER_CONFIGURATIONS.plural, NS, NS), {})
            return sorted(one["name"] for one in found.get("spec", {}).get("pools", ()))

        await until(lambda: pools() == ["new", "old"])
        pool = world.api.objects["ipaddresspools", NS, "new"]
        backup["ipaddresspools", NS, "new"] = pool  # the SpeakerConfiguration alone is older
        world.api.restore(backup)
        await until(lambda: pools() == ["new", "old"])
