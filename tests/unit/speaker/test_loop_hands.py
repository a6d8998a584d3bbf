"""What an agent makes of limits, orders and Secrets: no session and no route goes by mistake."""

from pathlib import Path

from msgspec.structs import replace

from metalbgp.cluster.reflector import Changed
from metalbgp.model.orders import HOLD, RELEASE, SHUT, Order
from metalbgp.model.virtualips import VirtualIP
from metalbgp.speaker.secret import SpeakerSecret
from metalbgp.speaker.snapshot import Snapshots
from tests.unit.speaker.test_loop import CONFIGURATION, NS, TOR, World, vip
from tests.values import holder


async def test_what_exceeds_the_withdraw_limit_stays_with_the_parent_until_a_person_lets_go(
    tmp_path: Path,
) -> None:
    world = limited(tmp_path, 2)
    for number in range(5):
        world.agent._on_vip(Changed("v", None, vip(number)))
    for number in range(4):
        world.agent._on_vip(Changed("v", None, vip(number, phase="releasing")))
    assert world.prefixes() == [f"198.51.100.{number}/32" for number in (2, 3, 4)]
    ((peer, why),) = world.agent.record.guarded(world.agent.announcer)
    assert peer.name == "tor" and why.explain().startswith("2 withdrawals are held back: more than 2 within")
    world.agent._on_vip(Changed("v", None, vip(2)))  # wanted again: it never was away
    world.agent._on_orders((Order("h", HOLD, address="198.51.100.4"),))  # a person's own word is not held
    assert world.prefixes() == [f"198.51.100.{number}/32" for number in (2, 3)]
    world.agent._on_orders((Order("r", RELEASE, peer="tor", node="n2"),))
    assert world.prefixes() == [f"198.51.100.{number}/32" for number in (2, 3, 4)]
    world.agent._on_orders((Order("r", RELEASE, peer="tor"),))
    assert world.prefixes() == [f"198.51.100.{number}/32" for number in (2, 4)]
    assert not list(world.agent.record.guarded(world.agent.announcer))


def limited(folder: Path, limit: int) -> World:
    """The agent speaks, and its one peer may lose so many routes a minute."""
    world = World(folder)
    peer = replace(CONFIGURATION.peers[0], withdraw_limit=limit, withdraw_window=60)
    world.knows(replace(CONFIGURATION, peers=(peer,)))
    world.agent._speak()
    return world


def five_of_which_three_are_held_back(folder: Path) -> World:
    world = limited(folder, 2)
    for phase in ("bound", "releasing"):
        for number in range(5):
            world.agent._on_vip(Changed("v", None, vip(number, phase=phase)))
    assert world.prefixes() == [f"198.51.100.{number}/32" for number in (2, 3, 4)]
    return world


async def test_a_hold_and_a_shut_take_back_what_was_held_back_before_them(tmp_path: Path) -> None:
    world = five_of_which_three_are_held_back(tmp_path)
    world.agent._on_orders((Order("h", HOLD, address="198.51.100.3"),))
    assert world.prefixes() == [f"198.51.100.{number}/32" for number in (2, 4)]
    world.agent._on_orders((Order("s", SHUT, peer="tor"),))
    assert world.prefixes() == []
    world.agent._on_orders(())
    assert world.prefixes() == [] and not world.agent.guard.all_held()


def local(number: int, **nodes: int) -> VirtualIP:
    served = holder(bgp=("all",), policy="Local", nodes=nodes, serving=bool(nodes))
    return replace(vip(number), holders={"web/s": served})


async def test_routes_that_other_nodes_serve_go_whatever_the_limit(tmp_path: Path) -> None:
    """`kubectl drain` of a node under Local: held back, they would draw traffic to where nobody is."""
    world = limited(tmp_path, 1)
    for number in range(5):
        world.agent._on_vip(Changed("v", None, local(number, n1=1)))
    for number in range(3):
        world.agent._on_vip(Changed("v", None, local(number, n2=1)))
    assert world.prefixes() == [f"198.51.100.{number}/32" for number in (3, 4)]
    for number in (3, 4):
        world.agent._on_vip(Changed("v", None, vip(number, phase="releasing")))
    assert world.prefixes() == ["198.51.100.4/32"]  # none of them counted


async def test_routes_that_nobody_serves_are_held_back_until_another_node_does(tmp_path: Path) -> None:
    """All endpoints gone may be the mistake; moved to another node they are none."""
    world = limited(tmp_path, 1)
    for number in range(3):
        world.agent._on_vip(Changed("v", None, local(number, n1=1)))
    for number in range(3):
        world.agent._on_vip(Changed("v", None, local(number)))
    assert world.prefixes() == [f"198.51.100.{number}/32" for number in (1, 2)]
    world.agent._on_vip(Changed("v", None, local(1, n2=1)))
    assert world.prefixes() == ["198.51.100.2/32"]
    assert world.agent.guard.all_held() == [("10.0.0.1", "198.51.100.2/32")]


async def test_what_is_held_back_is_written_down_for_the_next_life(tmp_path: Path) -> None:
    world = five_of_which_three_are_held_back(tmp_path)
    assert world.agent.snapshots.save(world.agent.announcer) is None
    after = Snapshots(tmp_path / "snapshot.json", "n1", NS)
    after.look()
    assert sorted(after.held()) == [(TOR, f"198.51.100.{number}/32") for number in (2, 3, 4)]


async def test_a_secret_that_is_made_anew_without_its_passwords_yet_ends_no_session(tmp_path: Path) -> None:
    world = World(tmp_path)
    asked = replace(CONFIGURATION.peers[0], has_password=True)
    world.knows(replace(CONFIGURATION, peers=(asked,)))
    world.agent._on_secret(Changed("s", None, SpeakerSecret({"tor": "c2VjcmV0", "gone": "eA=="})))
    before = world.agent.announcer.neighbors
    assert [one.password_base64 for one in before] == ["c2VjcmV0"]
    world.agent._on_secret(Changed("s", None, SpeakerSecret({})))
    assert world.agent.announcer.neighbors == before and not world.agent.announcer.refused_peers
    assert world.agent.announcer.passwords == {"tor": "c2VjcmV0"}  # nobody asks for the other one
    world.agent._on_secret(Changed("s", None, SpeakerSecret({"tor": "bmV1"})))
    assert [one.password_base64 for one in world.agent.announcer.neighbors] == ["bmV1"]


async def test_a_password_goes_with_its_peer_and_another_of_that_name_does_not_have_it(
    tmp_path: Path,
) -> None:
    """The Secret without it may come before the configuration without the peer."""
    world = World(tmp_path)
    asked = replace(CONFIGURATION, peers=(replace(CONFIGURATION.peers[0], has_password=True),))
    world.knows(asked)
    world.agent._on_secret(Changed("s", None, SpeakerSecret({"tor": "c2VjcmV0", "next": "eA=="})))
    world.agent._on_secret(Changed("s", None, SpeakerSecret({"next": "eA=="})))
    assert [one.password_base64 for one in world.agent.announcer.neighbors] == ["c2VjcmV0"]
    world.agent._on_configuration(Changed("x", None, replace(CONFIGURATION, peers=())))
    assert world.agent.announcer.passwords == {"next": "eA=="}  # of a peer that is still on its way
    world.agent._on_configuration(Changed("x", None, asked))
    assert world.agent.announcer.neighbors == () and world.agent.announcer.refused_peers
