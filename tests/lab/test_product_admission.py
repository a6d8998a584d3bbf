"""The webhook as a cluster has it: asked by its Service, over TLS, in pods; and never in anybody's way."""

from tests.lab.product import MANIFEST, METALLB, POOLS, SYSTEM, WALKTHROUGH, WEBHOOKS, Product, until


def test_a_wrong_pool_is_refused_by_kubectl_whichever_replica_is_asked(product: Product) -> None:
    product.judged()
    product.bgp()
    said = product.refused("198.51.100.9-198.51.100.1")
    assert 'admission webhook "validation.metallb.io" denied the request' in said
    assert "IPAddressPool asked: spec.addresses[0]: 198.51.100.9 is after 198.51.100.1" in said
    assert "overlaps" in product.refused("198.51.100.8/29")
    # The one that does not lead judges alone, and then whoever comes after it.
    product.lab.kubectl("delete", "pod", "-n", SYSTEM, product.leader(), "--wait=true")
    product.judged()
    product.all_ready(90)
    assert "overlaps" in product.refused("198.51.100.8/29")


def test_manifest_pool_peer_advertisement_and_service_applied_at_once_end_right(product: Product) -> None:
    product.lab.kubectl("delete", "-f", str(MANIFEST), "--ignore-not-found", check=False)
    until("no controller is left", lambda: product.list_pods("controller"), lambda pods: not pods, 60)
    product.remove(f"/api/v1/namespaces/{SYSTEM}/secrets/metallb-webhook-cert")
    files = (MANIFEST, *(WALKTHROUGH / f"{name}.yaml" for name in ("bgp", "service", "pool")))
    product.lab.kubectl("apply", *(word for file in files for word in ("-f", str(file))))
    # Whoever was asked before anybody answered was let through; nothing of it was lost or refused later.
    assert product.address("nginx", limit=60) == "10.252.252.100"
    product.all_ready(90)
    product.endpoints("nginx", ("n1",))
    product.routed("10.252.252.100", limit=30)
    product.judged()
    (found,) = (
        one for one in product.list(WEBHOOKS) if one["metadata"]["name"] == "metallb-webhook-configuration"
    )
    assert all(entry["clientConfig"]["caBundle"] for entry in found["webhooks"])


def test_with_no_controller_at_all_every_object_can_be_restored(product: Product) -> None:
    product.bgp()
    product.service("web", address="198.51.100.77")
    product.routed(product.address("web"))
    product.judged()
    kinds = {POOLS: "IPAddressPool", f"{METALLB}/bgpadvertisements": "BGPAdvertisement"}
    saved = {path: product.list(path) for path in kinds}
    with product.without_controller():
        until("nobody judges", lambda: product.refused("nonsense"), lambda said: not said, 60)
        for path, items in saved.items():
            for item in items:
                product.remove(f"{path}/{item['metadata']['name']}")
        for path, items in saved.items():
            for item in items:
                product.put(path, kinds[path], item["metadata"]["name"], item["spec"])
    product.all_ready(90)
    assert product.address("web") == "198.51.100.77"
    product.routed("198.51.100.77", limit=30)
    product.judged()
