"""What routers and whole containers do, seen as operators see it: in NodeStates, and in the router's kernel.

In:  a lab; the router's own processes and namespace, a container's pid 1.
Out: the laws in the tests' names. Elsewhere: the same faults in detail, and all that needs no Kubernetes, are
     tests/wire/test_bgp_faults_*.py; one process of the speaker at a time is test_product_faults.py.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lab.settings import ROUTER
from lab.shell import inside, run
from tests.lab.product import Product, kill, until
from tests.lab.test_product_faults import AGENT

ALL: Final = ("n1", "n2", "n3")
PARENT: Final = r"-m metalbgp\.speaker$"


def served(product: Product, *names: str) -> dict[str, str]:
    """Services on all nodes, in the router."""
    found = {}
    for name in names:
        product.service(name)
        found[name] = product.address(name)
        product.routed(found[name])
    product.established()
    return found


def as_wanted(product: Product, addresses: dict[str, str]) -> None:
    """The router leads every address to all nodes, and nothing else; the nodes have nothing to say."""
    for address in addresses.values():
        product.routed(address, limit=60)
    assert set(product.routes()) == set(addresses.values())
    product.established()
    rows = until(
        "every node says that its session is up",
        lambda: [product.session(node, "tor") for node in ALL],
        lambda rows: all(row.get("state") == "Established" for row in rows),
    )
    assert not any(row.get("lastError") or row.get("reason") for row in rows), rows


def said(product: Product, reason: str) -> list[dict[str, Any]]:
    """Until every node gives this reason for having no session."""
    return until(
        f"every node says {reason}",
        lambda: [product.session(node, "tor") for node in ALL],
        lambda rows: all(row.get("reason") == reason for row in rows),
        60,
    )


def until_ended(product: Product, words: str) -> None:
    """Until every node says that its session ended so; what it says of the tries since may vary."""

    def ended(row: dict[str, Any]) -> bool:
        return row.get("state") != "Established" and words in row.get("endedWhy", "")

    until(
        f"every node says {words}",
        lambda: [product.session(node, "tor") for node in ALL],
        lambda rows: all(map(ended, rows)),
        60,
    )


def bgpd(product: Product) -> int:
    """The router's bgpd, of all that run on this machine: it is in the router's network namespace."""
    namespace = product.lab.settings.namespace(ROUTER.name)
    for pid in run("ip", "netns", "pids", namespace).stdout.split():
        if Path(f"/proc/{pid}/comm").read_text().strip() == "bgpd":
            return int(pid)
    raise AssertionError("the router has no bgpd")


@contextmanager
def silent(product: Product) -> Iterator[None]:
    pid = bgpd(product)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_silent_router_is_named_by_every_node_and_has_what_changed_when_it_speaks_again(
    product: Product,
) -> None:
    product.bgp(holdTime="3s")
    addresses = served(product, "stays", "goes")
    with silent(product):
        until_ended(product, "Hold Timer Expired")
        product.endpoints("goes", [])
        product.service("comes")
        addresses["comes"] = product.address("comes")
    del addresses["goes"]
    as_wanted(product, addresses)


def test_a_router_that_restarts_is_named_and_gets_everything_again(product: Product) -> None:
    product.bgp()
    addresses = served(product, "web", "other")
    product.lab.crash_router()
    try:
        said(product, "ConnectionRefused")
        product.service("meanwhile")
        addresses["meanwhile"] = product.address("meanwhile")
    finally:
        product.lab.start_router()
    as_wanted(product, addresses)


def test_a_whole_container_that_is_killed_is_not_missed_with_graceful_restart(product: Product) -> None:
    """pid 1 dies, and everything in the container with it; the kubelet starts it again, in the same pod."""
    product.bgp(enableGracefulRestart=True)
    addresses = served(product, "web", "other")
    pod = product.speaker("n2")
    before, agent = product.connections()["n2"], product.pid(pod, AGENT)
    with product.never_lost(*addresses.values()):
        kill(product.pid(pod, PARENT))
        until("a new session", product.connections, lambda now: now.get("n2", before) != before, 60)
        until("another agent", lambda: product.pid(pod, AGENT), lambda pid: pid not in (0, agent), 60)
        as_wanted(product, addresses)
    restarts = product.speaker("n2")["status"]["containerStatuses"][0]["restartCount"]
    assert restarts >= 1 and product.speaker("n2")["metadata"]["uid"] == pod["metadata"]["uid"]


def test_connections_that_the_router_resets_come_back_by_themselves(product: Product) -> None:
    product.bgp()
    addresses = served(product, "web")
    before = product.connections()
    namespace = product.lab.settings.namespace(ROUTER.name)
    run(*inside(namespace, ["ss", "-K", "state", "established", "sport", "=", ":179"]))
    until(
        "three other sessions",
        product.connections,
        lambda now: len(now) == 3 and all(now[node] != port for node, port in before.items()),
        60,
    )
    as_wanted(product, addresses)
    until(
        "every node has counted it",
        lambda: [product.session(node, "tor").get("flaps", 0) for node in ALL],
        lambda flaps: min(flaps) >= 1,
    )
