"""What annotations make of a route, seen where it counts: in the kernel of the router."""

import json

from tests.lab.product import SYSTEM, Product, until


def test_nodes_are_weighed_by_their_endpoints_and_a_backup_node_only_when_nobody_else_is_left(
    product: Product,
) -> None:
    product.bgp()
    notes = {"metalbgp.io/link-bandwidth": "100", "metalbgp.io/backup-nodes": "kubernetes.io/hostname=n3"}
    product.patch("bgpadvertisement", "all", {"metadata": {"annotations": notes}}, SYSTEM)
    product.service("web", policy="Local", on=("n1", "n2", "n2", "n2", "n3"))
    address = product.address("web")
    until(
        "n2 gets three times as much as n1",
        lambda: weights(product, address),
        lambda w: w == {"n1": 25, "n2": 75},
    )
    # The backup announces all the time, and is used when it is the last one.
    product.endpoints("web", ("n3",))
    product.routed(address, on=("n3",))
    product.endpoints("web", ("n1", "n2", "n3"))
    until("both are equal again", lambda: weights(product, address), lambda w: w == {"n1": 50, "n2": 50})


def test_a_blackhole_reaches_the_router_only_where_the_operator_lets_services_ask_for_it(
    product: Product,
) -> None:
    product.bgp()
    product.service("web")
    address = product.address("web")
    product.routed(address)
    product.patch("service", "web", {"metadata": {"annotations": {"metalbgp.io/blackhole": "true"}}})
    holders = "the claim has the wish"
    until(holders, lambda: product.vips()[address]["holders"]["default/web"].get("wishes"))
    assert communities(product, address) == {""}
    notes = {"metalbgp.io/service-may": "blackhole"}
    product.patch("bgpadvertisement", "all", {"metadata": {"annotations": notes}}, SYSTEM)
    # FRR adds no-export by itself, as RFC 7999 section 3.2 wants.
    marked = {"blackhole no-export"}
    until("every path has it", lambda: communities(product, address), lambda found: found == marked)


def communities(product: Product, address: str) -> set[str]:
    """Of every path that the router has to the address."""
    shown = json.loads(product.lab.vtysh(f"show ip bgp {address}/32 json") or "{}")
    return {path.get("community", {}).get("string", "") for path in shown.get("paths", ())}


def weights(product: Product, address: str) -> dict[str, int]:
    """Of the router's FIB, by node, in percent."""
    shown = json.loads(product.lab.vtysh(f"show ip route {address} json") or "{}")
    hops = [hop for route in shown.get(f"{address}/32", ()) for hop in route["nexthops"] if hop.get("fib")]
    nodes = {node.address: node.name for node in product.lab.nodes}
    return {nodes[hop["ip"]]: int(hop.get("weight", 0)) for hop in hops}
