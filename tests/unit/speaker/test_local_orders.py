"""A hold of a node's own: obeyed without an API server, over by itself, and there again after a restart."""

from pathlib import Path

import msgspec
import pytest

from metalbgp.model.orders import Order
from metalbgp.speaker.local_orders import LONGEST, LocalOrders, Said
from tests.unit.speaker.test_loop import World
from tests.unit.speaker.test_orders import NOON, announcer, at

END = at(NOON + 600)


class Node:
    """The parent's part on one node; `now` is moved by the test."""

    def __init__(self, folder: Path) -> None:
        self.now, self.path = NOON, folder / "orders.json"
        self.orders = LocalOrders(self.path, lambda: self.now)

    def again(self) -> None:
        self.orders = LocalOrders(self.path, lambda: self.now)

    def held(self) -> list[str]:
        return [one.address for one in self.orders.all()]


def test_a_hold_is_kept_over_a_restart_and_ends_at_its_time(tmp_path: Path) -> None:
    node = Node(tmp_path)
    assert node.orders.take(Said("2001:DB8::1", END, "fibre work", "eve")) == {"held": ["2001:db8::1"]}
    (one,) = node.orders.all()
    assert (one.action, one.local, one.author, one.reason) == ("Hold", True, "eve", "fibre work")
    assert node.path.stat().st_mode & 0o777 == 0o600
    node.again()
    assert node.orders.all() == [one]
    node.now += 599.9
    assert node.held() == ["2001:db8::1"]
    node.now += 0.1
    assert node.held() == []
    node.again()
    assert node.held() == []


def test_it_is_taken_back(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.orders.take(Said("10.0.0.1", END))
    node.orders.take(Said("10.0.0.2", END))
    assert node.orders.take(Said("10.0.0.1")) == {"held": ["10.0.0.2"]}
    node.again()
    assert node.held() == ["10.0.0.2"]
    assert "not held" in node.orders.take(Said("10.0.0.1"))["error"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said("nonsense", END), "nonsense"),
        (Said("10.0.0.1", "soon"), '"soon" is no time'),
        (Said("10.0.0.1", at(NOON)), "ends within 7 days"),
        (Said("10.0.0.1", at(NOON + LONGEST + 1)), "ends within 7 days"),
    ],
)
def test_what_cannot_be_obeyed_is_said_and_changes_nothing(tmp_path: Path, said: Said, words: str) -> None:
    node = Node(tmp_path)
    assert words in node.orders.take(said)["error"]
    assert node.held() == [] and not node.path.exists()


def test_a_damaged_file_is_no_order_and_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.path.write_bytes(b'[{"name": "x", "acti')
    node.again()
    assert node.held() == []
    node.path = tmp_path / "away" / "orders.json"
    node.again()
    assert node.orders.take(Said("10.0.0.1", END)) == {
        "held": ["10.0.0.1"],
        "unwritten": "No such file or directory",
    }
    assert node.held() == ["10.0.0.1"]


async def test_the_agent_obeys_what_its_parent_says_and_forgets_what_it_says_no_more(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent.announcer = announcer()
    world.agent._speak()
    assert len(world.told) == 2
    held = Order(name="local-x", action="Hold", address="198.51.100.1", local=True)
    world.agent._on_parent({"orders": [msgspec.to_builtins(held)]})
    assert world.prefixes() == ["198.51.100.2/32"]
    world.agent._on_parent({"orders": []})
    assert len(world.told) == 2
