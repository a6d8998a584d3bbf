"""What the first user does works, and what an address leads to follows the endpoints behind it.

In:  the files of docs/walkthrough, unchanged; real pods for them, made-up endpoints for the rest.
Out: the laws in the tests' names. Elsewhere: faults in test_product_faults.py.
"""

from __future__ import annotations

import json
from collections import Counter

from tests.lab.product import WALKTHROUGH, Product, until

ADDRESS = "10.252.252.100"


def _pages(product: Product, times: int = 30) -> Counter[str]:
    """Which pods answer a client outside the cluster."""
    command = f"for i in $(seq {times}); do curl -s --max-time 1 {ADDRESS} || echo none; done"
    lines = product.lab.client_exec(["sh", "-c", command]).stdout.splitlines()
    return Counter(line.split()[1] if line.startswith("POD") else line for line in lines)


def _all_pods_answer(product: Product) -> None:
    until(
        "all three pods answer, and nothing else",
        lambda: _pages(product),
        lambda pages: len(pages) == 3 and "none" not in pages,
        20,
    )


def _answerers(product: Product) -> set[str]:
    """Names of the nodes that answer an ARP request of the router for the address."""
    # arping exits with 1 when nobody answers
    said = product.lab.router_exec(
        ["arping", "-c", "2", "-w", "2", "-I", "eth0", ADDRESS], check=False
    ).stdout
    links = {
        json.loads(product.lab.node_exec(node.name, ["ip", "-j", "link", "show", "eth0"]).stdout)[0][
            "address"
        ].lower(): node.name
        for node in product.lab.nodes
    }
    return {name for mac, name in links.items() if mac in said.lower()}


def test_the_walkthrough_works_over_bgp_then_over_l2_then_over_bgp_again(product: Product) -> None:
    lab = product.lab
    for name in ("pool", "bgp", "service", "app"):
        lab.apply(WALKTHROUGH / f"{name}.yaml")
    assert product.address("nginx") == ADDRESS
    lab.kubectl("rollout", "status", "deployment/nginx-app", "--timeout=60s")
    product.routed(ADDRESS)
    assert set(product.routes()) == {ADDRESS}  # a /32 and nothing else
    _all_pods_answer(product)
    described = until(
        "the Service says who announces it",
        lambda: lab.kubectl("describe", "service", "nginx"),
        lambda text: text.count('with protocol "bgp"') == 3,
    )
    assert "IPAllocated" in described

    lab.delete(WALKTHROUGH / "bgp.yaml")
    lab.apply(WALKTHROUGH / "l2.yaml")
    product.routed(ADDRESS, on=())
    owner = until("exactly one node answers ARP", lambda: _answerers(product), lambda nodes: len(nodes) == 1)
    assert owner == set(product.vips()[ADDRESS]["candidates"][:1])
    _all_pods_answer(product)

    lab.delete(WALKTHROUGH / "l2.yaml")
    lab.apply(WALKTHROUGH / "bgp.yaml")
    product.routed(ADDRESS)
    until("no node answers ARP", lambda: _answerers(product), lambda nodes: not nodes)
    lab.router_exec(["ip", "neigh", "flush", "to", ADDRESS])
    _all_pods_answer(product)


def test_the_last_endpoint_takes_the_route_with_it_and_the_first_brings_it_back(product: Product) -> None:
    product.bgp()
    product.service("web", on=["n2"])
    address = product.address("web")
    product.routed(address)
    product.endpoints("web", [])
    product.routed(address, on=())
    assert product.ingress("web") == address  # kept: only the announcement goes
    product.endpoints("web", ["n3"])
    product.routed(address)


def test_policy_local_is_announced_by_the_nodes_with_an_endpoint_alone(product: Product) -> None:
    product.bgp()
    product.service("web", policy="Local", on=["n1", "n3"])
    address = product.address("web")
    product.routed(address, on=["n1", "n3"])
    product.endpoints("web", ["n2"])
    product.routed(address, on=["n2"])
    product.patch("service", "web", {"spec": {"externalTrafficPolicy": "Cluster"}})
    product.routed(address)
