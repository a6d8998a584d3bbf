"""A machine of somebody else has an address of the pool: the Service gets another, and the MAC is told."""

import json

from lab.shell import inside, run
from tests.lab.product import METALLB, OURS, SYSTEM, Product, until

POLICIES = f"{OURS}/namespaces/{SYSTEM}/poolpolicies"
FIRST, SECOND = "10.252.252.100", "10.252.252.101"
FIRST6, SECOND6 = "fd00:10:252::100", "fd00:10:252::101"


def test_an_address_that_a_stranger_has_is_found_on_the_wire_and_the_next_one_given(product: Product) -> None:
    stranger = product.lab.settings.namespace("cp")  # it stands on the nodes' segment, and is no node
    (link,) = json.loads(run(*inside(stranger, ["ip", "-j", "link", "show", "eth0"])).stdout)
    addresses = {FIRST: [], FIRST6: ["nodad"]}
    for address, words in addresses.items():
        run(*inside(stranger, ["ip", "address", "add", address, "dev", "eth0", *words]))
    try:
        product.pool("pool", f"{FIRST}-{SECOND}", f"{FIRST6}-{SECOND6}")
        product.put(f"{METALLB}/l2advertisements", "L2Advertisement", "segment", {})
        product.put(POLICIES, "PoolPolicy", "ask", {"ipAddressPools": ["pool"], "probe": "BeforeUse"})
        until("the policy is in force", lambda: _conditions(product, "ask"))
        product.service("web", dual=True)
        ingress = until("both are given", lambda: product.every_ingress("web"), lambda found: len(found) == 2)
        assert ingress == [SECOND, SECOND6]
        for address in (FIRST, FIRST6):
            told = [one for one in product.events("Service", "web", "AddressInUse") if f"{address} " in one]
            assert told and all(link["address"] in one and " on eth0" in one for one in told)
        owner = until("a node owns it", lambda: product.vips()[SECOND].get("candidates", [""])[0])
        until("it answers", lambda: product.nodestates()[owner]["duties"])
        # What nodes found is no longer needed, and gone.
        until("no node speaks of probes", lambda: _probes(product), lambda found: not found)
    finally:
        product.remove(f"{POLICIES}/ask")
        for address in addresses:
            run(*inside(stranger, ["ip", "address", "del", address, "dev", "eth0"]), check=False)


def _probes(product: Product) -> list[object]:
    return [one for state in product.nodestates().values() for one in state.get("probes") or ()]


def _conditions(product: Product, policy: str) -> list[object]:
    return list((product.find(f"{POLICIES}/{policy}") or {}).get("status", {}).get("conditions") or ())
