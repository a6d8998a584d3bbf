"""What annotations make of a route, seen where it counts: in the kernel of the router."""

import json

from lab.settings import ROUTER
from tests.lab.product import SYSTEM, Product, until

TOR = {"myASN": 64513, "peerASN": 64512, "peerAddress": ROUTER.address}


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
    address = product.announced("web")
    product.patch("service", "web", {"metadata": {"annotations": {"metalbgp.io/blackhole": "true"}}})
    holders = "the claim has the wish"
    until(holders, lambda: product.vips()[address]["holders"]["default/web"].get("wishes"))
    assert communities(product, address) == {""}
    notes = {"metalbgp.io/service-may": "blackhole"}
    product.patch("bgpadvertisement", "all", {"metadata": {"annotations": notes}}, SYSTEM)
    # FRR adds no-export by itself, as RFC 7999 section 3.2 wants.
    marked = {"blackhole no-export"}
    until("every path has it", lambda: communities(product, address), lambda found: found == marked)


CHANGES = {
    "a community more": ("BGPAdvertisement", "all", {"communities": ["64513:7", "no-export"]}, {}),
    "an aggregate": ("BGPAdvertisement", "all", {"aggregationLength": 24, "communities": ["64513:7"]}, {}),
    "two nodes alone": (
        "BGPAdvertisement",
        "all",
        {"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": name}} for name in ("n1", "n2")]},
        {"metalbgp.io/med": "7"},
    ),
    "another hold time": ("BGPPeer", "tor", {**TOR, "holdTime": "60s"}, {}),
    "a timer that no session minds": (
        "BGPPeer",
        "tor",
        {**TOR, "holdTime": "60s", "keepaliveTime": "5s"},
        {},
    ),
    "another pool": ("IPAddressPool", "pool", {"addresses": ["198.51.100.128/25"]}, {}),
}


def test_what_plan_foretells_is_what_then_happens(product: Product) -> None:
    product.bgp()
    product.service("web", address="198.51.100.7")
    product.service("other", on=("n2",))
    for name in ("web", "other"):
        product.routed(product.address(name))
    product.established()
    for what, (kind, name, spec, notes) in CHANGES.items():
        version = "v1beta2" if kind == "BGPPeer" else "v1beta1"
        about = {"name": name, "namespace": SYSTEM, "annotations": notes}
        body = {"apiVersion": f"metallb.io/{version}", "kind": kind, "metadata": about, "spec": spec}
        (foretold,) = product.cli("plan", "-", text=json.dumps(body))["items"]
        before, connections = routes(product), product.connections()
        sequence = max(one["configuration"] for one in product.nodestates().values())
        gone = {(one["node"], one["prefix"]) for one in foretold["routes"] if one["what"] == "removed"}
        comes = {(one["node"], one["prefix"]) for one in foretold["routes"] if one["what"] == "added"}
        changes = {(one["node"], one["prefix"]) for one in foretold["routes"] if one["what"] == "changed"}
        resets = {one["node"] for one in foretold["sessions"] if one["what"] == "reset"}
        product.lab.kubectl("replace", "-f", "-", input=json.dumps(body))
        wanted = (before.keys() - gone) | comes
        until(what, lambda: routes(product), lambda found, wanted=wanted: found.keys() == wanted)
        until(
            f"{what}: every route that changes",
            lambda: routes(product),
            lambda found, before=before, changes=changes: (
                {key for key in found.keys() & before.keys() if found[key] != before[key]} == changes
            ),
        )
        until(
            f"{what}: every node has it",
            lambda: [one["configuration"] for one in product.nodestates().values()],
            lambda found, sequence=sequence: min(found) > sequence,
        )
        until(
            f"{what}: these sessions were reset, and no other",
            lambda connections=connections: {
                node for node, port in product.connections().items() if connections[node] != port
            },
            lambda found, resets=resets: found == resets,
        )
        product.established()
        for one in foretold["services"]:
            said = [one["gained"] or [""]]
            until(what, lambda one=one: [_ingress(product, one["service"])], lambda a, said=said: [a] == said)


def _ingress(product: Product, service: str) -> str:
    return product.ingress(service.partition("/")[2])


def routes(product: Product) -> dict[tuple[str, str], str]:
    """What the speakers confirm of the wire: (node, prefix) → attributes."""
    found = product.cli("routes")["items"]
    keys = ("communities", "largeCommunities", "localPreference", "med", "prepended")
    return {
        (one["node"], one["prefix"]): str([one.get(key) for key in keys])
        for one in found
        if one["state"] == "confirmed"
    }


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
