"""What is deleted and made again under the product's feet: a Node, and every Secret."""

from functools import partial

from lab import nodes
from tests.lab.product import SECRETS, SYSTEM, Product, until
from tests.lab.test_product_configuration import PASSWORD, router_with_password, secret

NODES = "/api/v1/nodes"
OURS = ("metalbgp-speaker", "metallb-webhook-cert")


def test_a_node_that_is_deleted_and_made_again_announces_again_and_the_others_never_stop(
    product: Product,
) -> None:
    product.bgp()
    address = product.announced("web")
    before = product.api.get(f"{NODES}/n3")["metadata"]["uid"]
    pod, sessions = product.speaker("n3")["metadata"]["uid"], product.connections()
    node = next(one for one in product.lab.nodes if one.name == "n3")
    with product.never_lost(address):
        product.remove(f"{NODES}/n3")
        product.create(NODES, nodes.node_object(node))
        until(
            "the NodeState is the new Node's",
            lambda: owner(product, "n3"),
            lambda uid: uid not in ("", before),
            120,
        )
        until("n3's kubelet has told its addresses", lambda: addresses(product, "n3"), limit=120)
    product.all_ready(120)
    product.routed(address, limit=60)
    assert product.ingress("web") == address
    # If its Pods outlived it (they go where a Node is away for long), so did the session.
    if product.speaker("n3")["metadata"]["uid"] == pod:
        assert product.connections() == sessions


def addresses(product: Product, node: str) -> list[str]:
    found = product.api.get(f"{NODES}/{node}")["status"].get("addresses", ())
    return [one["address"] for one in found if one["type"] == "InternalIP"]


def owner(product: Product, node: str) -> str:
    """The Node that the NodeState belongs to; "" while there is none."""
    states = product.list(f"/apis/metalbgp.io/v1alpha1/namespaces/{SYSTEM}/nodestates")
    mine = [item["metadata"] for item in states if item["metadata"]["name"] == node]
    return str(mine[0]["ownerReferences"][0]["uid"]) if mine else ""


def test_all_secrets_made_again_cost_no_session_and_no_route(product: Product) -> None:
    product.pool()
    product.advertise()
    product.service("web")
    address = product.address("web")
    with router_with_password(product, PASSWORD):
        secret(product, "tor-password", PASSWORD)
        product.peer("tor", passwordSecret={"name": "tor-password"})
        product.routed(address, limit=60)
        product.established(60)
        before = product.connections()
        with product.never_lost(address):
            secret(product, "tor-password", PASSWORD)
            for name in OURS:
                product.remove(f"{SECRETS}/{name}")
            for name in OURS:
                until(f"Secret {name} is there again", partial(product.find, f"{SECRETS}/{name}"))
            product.judged(60)  # the webhook answers with its new certificate
            product.service("other")
            product.routed(product.address("other"), limit=30)
        assert product.connections() == before
