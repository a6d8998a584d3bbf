"""What a person says no to is gone from a real router at once, comes back whole, and costs no other anything.

In:  the command line's hold, shut and drain on three speakers; the API server away; requests all the while.
Out: the laws in the tests' names. Elsewhere: which words make which order tests/unit/cli/test_orders.py; who
     leaves when tests/laws/test_draining.py.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import Final

import pytest

from bench.visits import LIMIT, Trouble, visiting
from lab.settings import CLIENT
from tests.lab.product import METALLB, Product, about, kill, until
from tests.lab.test_product_faults import AGENT

MOVES, UNDER_WAY = 2, 1  # requests begin every 15 ms and take a few
NEAR: Final = 2.0  # seconds: five times the slowest answer that was seen on a busy machine
AT_ONCE: Final = 5.0  # seconds: five times what is promised, on a machine that does other things as well
WHY: Final = "new line card"


def order(product: Product, *words: str) -> float:
    """Give it; when it was there, in seconds of the monotonic clock."""
    before = time.monotonic()
    found = product.cli(*words)
    assert found["items"], found
    assert time.monotonic() - before < 30
    return time.monotonic()


def paths(product: Product, address: str) -> dict[str, str]:
    """By node: the communities of its path to the address, as the router names them."""
    nodes = {one.address: one.name for one in product.lab.nodes}
    found = json.loads(product.lab.vtysh(f"show bgp ipv4 unicast {address}/32 json") or "{}")
    return {
        nodes.get(one["peer"]["peerId"], ""): one.get("community", {}).get("string", "")
        for one in found.get("paths", ())
    }


def two(product: Product) -> tuple[str, str]:
    """Addresses of default/web, which something is ordered of, and of another Service."""
    product.bgp()
    product.service("web")
    product.service("other")
    web, other = product.address("web"), product.address("other")
    product.routed(web)
    product.routed(other)
    return web, other


def test_a_held_address_is_gone_at_once_and_the_others_stay(product: Product) -> None:
    web, other = two(product)
    before = product.connections()
    with product.never_lost(other):
        given = order(product, "hold", "default/web", "--reason", WHY)
        product.routed(web, on=(), limit=AT_ONCE)
        gone = time.monotonic() - given
        explained = product.cli("explain", web)["items"][0]
        assert WHY in explained["held"][0] and explained["bgpNodes"] == []
        obeyed = until(
            "three speakers say that they obey",
            lambda: product.cli("orders")["items"],
            lambda rows: [row["obeyedBy"] for row in rows] == [["n1", "n2", "n3"]],
        )
        assert obeyed[0]["author"] and obeyed[0]["reason"] == WHY
        taken = order(product, "unhold", web)
        product.routed(web, limit=AT_ONCE)
    sys.stdout.write(f"held: gone after {gone:.2f} s, back after {time.monotonic() - taken:.2f} s\n")
    assert product.connections() == before


def test_a_hold_survives_the_speaker_and_ends_by_itself_without_any_api_server(product: Product) -> None:
    web, other = two(product)
    order(product, "hold", web, "--for", "40s")
    product.routed(web, on=(), limit=AT_ONCE)
    until(
        "the snapshots have it",
        lambda: {node: len(state.get("orders", ())) for node, state in product.nodestates().items()},
        lambda counts: set(counts.values()) == {1},
    )
    pods = [product.speaker(node) for node in ("n1", "n2", "n3")]
    with product.never_lost(other), product.lab.without("apiserver"):
        for pod in pods:
            pid = product.pid(pod, AGENT)
            kill(pid)
            until(
                "another agent runs",
                partial(product.pid, pod, AGENT),
                lambda new, old=pid: new not in (0, old),
            )
        assert product.hops(web) == set()
        product.routed(web, limit=60)


def test_a_shut_session_takes_its_routes_along_and_no_other_notices(
    product: Product,
) -> None:
    product.bgp(enableGracefulRestart=True)
    address = product.announced("web")
    before = product.connections()
    with product.never_lost(address):
        order(product, "shut", "tor", "--node", "n2", "--reason", WHY)
        product.routed(address, on=("n1", "n3"), limit=AT_ONCE)
        # The router knows its nodes only while they are there; what it reads is tests/wire/test_bgp_shut.py.
        until("the session is down", product.sessions, lambda up: up.keys() == {"n1", "n3"}, AT_ONCE)
        until("n2 says so", lambda: product.session("n2", "tor").get("state"), lambda s: s == "Shut")
        now = product.connections()
        assert {"n1": now.get("n1"), "n3": now.get("n3")} == {"n1": before["n1"], "n3": before["n3"]}
        order(product, "unshut", "tor", "--node", "n2")
        product.routed(address, limit=30)


@pytest.mark.timeout(300)
def test_a_drained_node_is_less_preferred_then_gone_and_only_what_is_under_way_notices(
    product: Product,
) -> None:
    product.bgp(enableGracefulRestart=True)
    product.patch(
        "bgpadvertisement.metallb.io",
        "all",
        {"metadata": {"annotations": {"metalbgp.io/drain-delay": "15s"}}},
        namespace=METALLB.rpartition("/")[2],
    )
    product.service("alone", policy="Local", on=["n1"])
    web, alone = product.visited(), product.address("alone")
    product.routed(alone, on=["n1"])
    before = product.connections()
    with (
        product.never_lost(web, alone) as heard,
        visiting(product.lab.settings.namespace(CLIENT.name), web) as visits,
    ):
        visits.wait(300)
        order(product, "drain", "n1", "--reason", WHY)
        seen = until(
            "the router has n1's path with GRACEFUL_SHUTDOWN",
            lambda: paths(product, web),
            lambda found: "graceful-shutdown" in found.get("n1", "") or "65535:0" in found.get("n1", ""),
            AT_ONCE,
        )
        assert set(seen) == {"n1", "n2", "n3"} and not seen["n2"] and not seen["n3"]
        product.routed(web, on=("n2", "n3"), limit=15 + 4 * AT_ONCE)
        visits.wait(300)
        # The last next hop: nobody else serves it, so it stays and says so.
        assert product.hops(alone) == {"n1"}
        state = until(
            "n1 says what it could not withdraw",
            lambda: product.nodestates()["n1"].get("drain") or [{}],
            lambda found: found[0].get("stays") == [f"{alone}/32"],
        )
        assert state[0]["withdrawn"] == 1
        order(product, "undrain", "n1")
        product.routed(web, limit=AT_ONCE)
        visits.wait(300)
    found = visits.report
    sys.stdout.write(f"drained and back: {found.asked} requests, {found.failed}, {found.slow} slow\n")
    assert product.connections() == before
    # The router moves flows twice, when the route goes and when it is back. A request under way just then
    # may arrive at another node, which knows nothing of it (docs/drain.md); nobody else may notice.
    moved = [at for at, line in heard if about(line, [web])]
    assert len(moved) >= MOVES
    assert not [one for one in found.failed if not under_way(one, moved)], moved
    assert len(found.failed) <= MOVES * UNDER_WAY, found.failed


def under_way(trouble: Trouble, moved: list[float]) -> bool:
    """It was there when the router moved flows: it was reset then, or began then and got no answer."""
    ends = (trouble.at, trouble.at - LIMIT)
    return any(abs(end - move) <= NEAR for end in ends for move in moved)
