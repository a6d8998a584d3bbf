"""Peers of which the object does not say all, through the API server: what is learned, what a node lacks."""

from typing import Any

from lab.settings import ROUTER
from tests.lab.product import PEERS, Product, until


def test_a_number_is_learned_and_what_a_node_lacks_is_said_there_while_the_others_go_on(
    product: Product,
) -> None:
    product.bgp()
    product.service("web")
    product.routed(product.address("web"))
    # The same router, of which only the address is known: the session goes on under another name of its AS.
    external: dict[str, Any] = {"myASN": 64513, "dynamicASN": "external", "peerAddress": ROUTER.address}
    notes = {"metalbgp.io/listen-port": "1790"}
    body = {"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "spec": external}
    product.remove(f"{PEERS}/tor")
    product.create(PEERS, body | {"metadata": {"name": "learned", "annotations": notes}})
    red = {"myASN": 64513, "peerASN": 64999, "peerAddress": "10.252.252.199", "vrf": "red"}
    product.put(PEERS, "BGPPeer", "red", red)
    link = {"myASN": 64513, "dynamicASN": "external", "interface": "eth0"}
    product.put(PEERS, "BGPPeer", "link", link)
    product.established()
    product.routed(product.address("web"))
    for node in ("n1", "n2", "n3"):
        session = until(
            f"{node} has learned the number",
            lambda node=node: product.session(node, "learned"),
            lambda found: found.get("peerAsn") == 64512 and found.get("state") == "Established",
        )
        assert session["holdTime"] and "4-octet-as" in session["capabilities"]
        for peer, reason in (("red", "VRFMissing"), ("link", "SeveralRouters")):
            until(
                f"{node} says what {peer} lacks",
                lambda node=node, peer=peer: product.session(node, peer).get("reason"),
                lambda found, reason=reason: found == reason,
            )
    shown = {(one["node"], one["session"]["peer"]): one for one in product.cli("sessions")["items"]}
    assert "ip link add red type vrf" in shown["n1", "red"]["session"]["remedy"]
    # No link of two: the nodes hear each other's advertisements there, so the pods may send and listen.
    assert "several routers advertise themselves on eth0" in shown["n1", "link"]["session"]["lastError"]
