"""BFD on the cluster: the YAML that users have, three nodes, and the router's own bfdd."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.product import METALLB, SYSTEM, Product, until

FIGURE = 0.4  # seconds from the loss of a node to a router that does not use it any more
FAST = {"receiveInterval": 100, "transmitInterval": 100, "detectMultiplier": 3}
ROUTER = ["configure terminal", "router bgp 64512"]


@pytest.fixture
def watched(product: Product) -> Iterator[Product]:
    """The router has BFD with every node, 100 ms × 3."""
    product.lab.vtysh(
        *("configure terminal", "bfd", "profile fast"),
        *("receive-interval 100", "transmit-interval 100", "detect-multiplier 3"),
    )
    product.lab.vtysh(*ROUTER, "neighbor NODES bfd", "neighbor NODES bfd profile fast")
    try:
        yield product
    finally:
        product.lab.vtysh(*ROUTER, "no neighbor NODES bfd")
        product.lab.vtysh("configure terminal", "bfd", "no profile fast")


def profile(product: Product, **spec: Any) -> None:
    product.put(f"{METALLB}/bfdprofiles", "BFDProfile", "fast", FAST | spec)


def bfdd(product: Product, what: str = "") -> dict[str, dict[str, Any]]:
    """By node, what the router's bfdd says of it."""
    nodes = {node.address: node.name for node in product.lab.nodes}
    shown = json.loads(product.lab.vtysh(f"show bfd peers {what} json") or "[]")
    return {nodes[one["peer"]]: one for one in shown if one["peer"] in nodes}


def all_up(product: Product) -> None:
    until(
        "BFD is Up at both ends of three sessions",
        lambda: (
            {one["status"] for one in bfdd(product).values()},
            [product.session(node.name, "tor").get("bfd") for node in product.lab.nodes],
        ),
        lambda ends: ends == ({"up"}, ["Up", "Up", "Up"]),
        limit=60,
    )


def test_a_lost_node_gets_no_packet_after_the_figure_and_all_is_as_before_when_it_returns(
    watched: Product,
) -> None:
    profile(watched)
    watched.bgp(bfdProfile="fast", holdTime="90s")
    watched.service("web")
    address = watched.address("web")
    watched.routed(address)
    all_up(watched)
    rows = watched.cli("sessions")["items"]
    assert [row["session"]["bfd"] for row in rows] == ["Up"] * 3
    watched.lab.link_down("n3")
    began = time.monotonic()
    try:
        watched.routed(address, on=("n1", "n2"), limit=5 * FIGURE)
        sys.stdout.write(f"\nnode lost: its route was gone after {time.monotonic() - began:.2f} s\n")
    finally:
        watched.lab.link_up("n3")
    watched.routed(address, limit=60)
    all_up(watched)


def test_a_profile_that_changes_costs_no_session_and_what_it_cannot_have_is_said(watched: Product) -> None:
    profile(watched)
    watched.bgp(bfdProfile="fast")
    watched.established()
    all_up(watched)
    before = watched.connections()
    profile(watched, transmitInterval=500, receiveInterval=500, echoMode=True)
    until(
        "the router hears the new interval from all",
        lambda: {one["remote-transmit-interval"] for one in bfdd(watched).values()},
        lambda found: found == {500},
    )
    said = until("an event", lambda: watched.events("BFDProfile", "fast", "NotInForce"))
    assert "spec.echoMode" in said[-1] and "control packets" in said[-1]
    assert [one["session-down"] for one in bfdd(watched, "counters").values()] == [0, 0, 0]
    assert watched.connections() == before
    watched.patch("bgppeer", "tor", {"spec": {"bfdProfile": None}}, SYSTEM)
    until(
        "no node speaks BFD any more",
        lambda: {one["status"] for one in bfdd(watched).values()},
        lambda found: found == {"down"},
    )
