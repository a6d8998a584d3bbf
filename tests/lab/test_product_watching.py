"""What the CLI shows of sessions and of what changes, beside what the router on the other end says.

In:  `metalbgp sessions --as-frr` and `metalbgp watch`, as processes; vtysh.
Elsewhere: each line as a function is tests/unit/cli; the watch on a bare API server is tests/laws_api.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from typing import Any

from lab.settings import REPOSITORY, ROUTER
from tests.lab.product import SERVICES, SYSTEM, Product, until
from tests.watching import watching

ON_NODES = {"n1", "n2", "n3"}
CLOCK = re.compile(r"\d\d:\d\d:\d\d")  # of a session that is younger than a day


def as_frr(product: Product) -> dict[str, dict[str, str]]:
    """Each node's row for the router, by the names of the columns, and its own AS number."""
    environment = {**os.environ, "KUBECONFIG": str(product.lab.kubeconfig), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "metalbgp.cli", "sessions", "--as-frr"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (0, 1), done.stderr  # 1: a NodeState still says otherwise
    found: dict[str, dict[str, str]] = {}
    node, columns = "", []
    for line in done.stdout.splitlines():
        if " BGP router identifier " in line:
            node, _, words = line.partition(":")
            found[node] = {"ours": words.split("local AS number ")[1]}
        elif line.startswith("Neighbor "):
            columns = line.split()
            assert columns == columns_of_the_router(product)
        elif line.startswith(ROUTER.address):
            found[node] |= dict(zip(columns, line.split(), strict=True))
    return found


def columns_of_the_router(product: Product) -> list[str]:
    lines = product.lab.vtysh("show bgp ipv4 unicast summary").splitlines()
    return next(line.split() for line in lines if line.startswith("Neighbor "))


def router_says(product: Product) -> dict[str, dict[str, Any]]:
    """The router's summary of IPv4, by the node's name."""
    nodes = {node.address: node.name for node in product.lab.nodes}
    found = json.loads(product.lab.vtysh("show bgp ipv4 unicast summary json"))
    return {nodes[peer]: {**row, "as": found["as"]} for peer, row in found["peers"].items()}


def test_sessions_as_frr_say_what_frr_says_of_its_end(product: Product) -> None:
    product.bgp()
    product.service("everywhere")
    product.service("there", policy="Local", on=("n2",))
    product.routed(product.address("everywhere"))
    product.routed(product.address("there"), on=("n2",))
    product.established()
    theirs = router_says(product)
    assert {node: row["pfxRcd"] for node, row in theirs.items()} == {"n1": 1, "n2": 2, "n3": 1}
    ours = until(
        "what was sent is what the router received",
        lambda: as_frr(product),
        lambda found: (
            {node: row["PfxSnt"] for node, row in found.items()} == {"n1": "1", "n2": "2", "n3": "1"}
        ),
    )
    for node, row in ours.items():
        other = theirs[node]
        assert (row["ours"], row["AS"]) == (str(other["remoteAs"]), str(other["as"]))
        assert CLOCK.fullmatch(row["Up/Down"]), row
        assert CLOCK.fullmatch(other["peerUptime"]), other
        assert row["Desc"] == "tor"
        assert {row[name] for name in ("MsgRcvd", "MsgSent", "TblVer", "InQ", "OutQ")} == {"-"}


def announced(lines: list[str]) -> dict[str, int]:
    """How many routes of each node were told as announced, by name or number."""
    found = Counter[str]()
    for one in map(json.loads, lines):
        if one["what"] == "route-announced":
            found[one["node"]] += one["count"] or 1
    return dict(found)


def test_watch_tells_of_routes_and_sessions_and_of_a_view_that_was_away(product: Product) -> None:
    product.bgp()
    product.service("first")
    product.routed(product.address("first"))
    until(
        "every node has said so",
        lambda: [one.get("routesConfirmed") for one in product.nodestates().values()],
        lambda found: found == [1, 1, 1],
    )
    with watching(product.lab.kubeconfig, "-o", "json") as watch:
        standing = watch.told(what="standing")
        assert (standing["established"], standing["routesConfirmed"]) == (3, 3)

        # A claim is written before its report, and comes by another connection: one that is late is a number.
        for number in range(1, 6):
            product.service(f"more{number}")
            prefix = f"{product.address(f'more{number}')}/32"
            watch.until(
                "every node announced it",
                lambda lines, number=number: announced(lines) == dict.fromkeys(ON_NODES, number),
            )
            if prefix in {one.get("prefix") for one in watch.said}:
                break
        assert watch.told(what="route-announced", prefix=prefix)["services"] == [f"default/more{number}"]

        notes = {"spec": {"communities": ["64513:7"]}}
        product.patch("bgpadvertisement", "all", notes, SYSTEM)
        for node in ON_NODES:
            watch.told(what="configuration", node=node)

        shut = ("configure terminal", "router bgp 64512", "neighbor NODES shutdown")
        product.lab.vtysh(*shut)
        try:
            for node in ON_NODES:
                down = watch.told(what="session-down", node=node)
                assert "Cease / Administrative Shutdown" in down["why"], down
        finally:
            product.lab.vtysh(*shut[:2], f"no {shut[2]}")
        for node in ON_NODES:
            watch.told(what="session-established", node=node)

        with product.lab.without("apiserver"):
            watch.told(what="view-lost")
        watch.told(what="view-back")
        product.remove(f"{SERVICES}/first")
        for node in ON_NODES:
            watch.told(what="route-withdrawn", node=node, peer="tor")
        assert watch.interrupt() == (0, "")
