"""What SIGTERM means to a speaker where graceful restart would keep its routes: a return, or a farewell.

In:  a Service of each node's own, so that no other announcer covers for it; peers with graceful restart, so
     that a route only goes when the speaker itself takes it away.
Out: the laws in the tests' names. Elsewhere: a pod that is replaced and keeps its routes is
     test_product_faults.py and test_product_upgrade.py; the whole manifest deleted, test_product_rules.py;
     what each answer of the API server means, tests/unit/speaker/test_loop.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.lab.product import MANIFEST, SYSTEM, Product, until

NODES: Final = ("n1", "n2", "n3")
MARK: Final = "metalbgp.io/speaks-here"
SOON: Final = 30.0  # seconds; by itself the router would keep the routes for the 120 s of graceful restart


def test_a_speaker_that_a_node_no_longer_gets_takes_its_routes_along(product: Product) -> None:
    with only_on_marked_nodes(product):
        product.all_ready(90)
        addresses = own_services(product)
        with product.never_lost(addresses["n1"], addresses["n3"]):
            product.patch("node", "n2", {"metadata": {"labels": {MARK: None}}})
            product.routed(addresses["n2"], on=(), limit=SOON)
            until("n2 has no speaker", lambda: speakers(product), lambda found: found == {"n1", "n3"}, 60)
        product.patch("node", "n2", {"metadata": {"labels": {MARK: ""}}})
        product.routed(addresses["n2"], on=("n2",), limit=60)


def test_speakers_whose_daemonset_is_deleted_take_their_routes_along(product: Product) -> None:
    addresses = own_services(product)
    try:
        product.lab.kubectl("delete", "daemonset", "speaker", "-n", SYSTEM, "--wait=false")
        for address in addresses.values():
            product.routed(address, on=(), limit=SOON)
        until("no speaker is left", lambda: product.list_pods("speaker"), lambda pods: not pods, 60)
    finally:
        product.lab.apply(MANIFEST)
    product.all_ready(90)
    for node, address in addresses.items():
        product.routed(address, on=(node,), limit=30)


def own_services(product: Product) -> dict[str, str]:
    """One a node, announced by it alone, with graceful restart on both ends."""
    product.bgp(enableGracefulRestart=True)
    for node in NODES:
        product.service(f"own-{node}", policy="Local", on=[node])
    addresses = {node: product.address(f"own-{node}") for node in NODES}
    for node, address in addresses.items():
        product.routed(address, on=(node,))
    until(
        "graceful restart is negotiated",
        product.sessions,
        lambda seen: len(seen) == 3 and all(map(graceful, seen.values())),
    )
    return addresses


def graceful(session: dict[str, Any]) -> bool:
    return bool(session["neighborCapabilities"]["gracefulRestart"] == "advertisedAndReceived")


def speakers(product: Product) -> set[str]:
    return {pod["spec"]["nodeName"] for pod in product.pods("speaker").values()}


@contextmanager
def only_on_marked_nodes(product: Product) -> Iterator[None]:
    """The DaemonSet wants marked nodes only, and all of them are marked."""
    try:
        mark(product, "")
        select(product, "")
        yield
    finally:
        select(product, None)
        mark(product, None)


def mark(product: Product, value: str | None) -> None:
    for node in NODES:
        product.patch("node", node, {"metadata": {"labels": {MARK: value}}})


def select(product: Product, value: str | None) -> None:
    template = {"spec": {"nodeSelector": {MARK: value}}}
    product.patch("daemonset", "speaker", {"spec": {"template": template}}, SYSTEM)
    words = ("rollout", "status", "daemonset/speaker", "--timeout=120s")
    product.lab.kubectl("-n", SYSTEM, *words, timeout=130)
