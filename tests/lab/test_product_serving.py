"""What can be served, and by whom (docs/serving.md), seen where it counts: in the routers.

In:  Services with EndpointSlices written by hand, so that every condition is exactly what the test says.
Out: routes in the kernel of the lab's router, and what a second router was told.
Elsewhere: real pods are test_product_moving.py; each case without a lab is a file in tests/stories; the rule
     itself is a law in tests/laws.
"""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from lab import frr
from lab.router import configuration
from lab.settings import CLIENT
from tests.lab.product import PEERS, SLICES, SYSTEM, Product, kill, until

AGENT: Final = r"-m metalbgp\.speaker\.agent"
READY: Final = {"ready": True, "serving": True, "terminating": False}
TERMINATING: Final = {"ready": False, "serving": True, "terminating": True}
UNREADY: Final = {"ready": False, "serving": False, "terminating": False}
ALL: Final = ("n1", "n2", "n3")
EXCLUDE: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
Said = Sequence[tuple[str | None, dict[str, bool]]]


def test_under_local_ready_nodes_come_first_then_those_that_terminate_and_never_nobody(
    product: Product,
) -> None:
    product.bgp()
    product.service("web", policy="Local", on=None)
    address = product.address("web")
    write(product, "web", [("n1", READY), ("n2", READY)])
    product.routed(address, on=("n1", "n2"))
    with product.never_lost(address):
        write(product, "web", [("n1", TERMINATING), ("n2", READY), ("n2", TERMINATING)])
        product.routed(address, on=("n2",))
    with labelled(product, "n2", EXCLUDE):  # the only ready one is on a node that may not announce
        product.routed(address, on=("n1",))
    product.routed(address, on=("n2",))
    with product.never_lost(address):
        write(product, "web", [("n1", TERMINATING), ("n2", TERMINATING)])
        product.routed(address, on=("n1", "n2"))
        # n3 begins in the moment that the others start to end: they stay until it is there.
        write(product, "web", [("n1", TERMINATING), ("n2", TERMINATING), ("n3", READY)])
        product.routed(address, on=("n3",))
        product.patch("service", "web", {"spec": {"externalTrafficPolicy": "Cluster"}})
        product.routed(address, on=ALL)
        write(product, "web", [("n1", TERMINATING)])
        product.service("later")  # what comes after it has arrived: so has it
        product.routed(product.address("later"), on=ALL)
        product.routed(address, on=ALL)
    write(product, "web", [("n1", UNREADY)])
    product.routed(address, on=())


def test_a_node_that_begins_announces_after_its_delay_and_a_speaker_that_starts_at_once(
    product: Product,
) -> None:
    product.pool()
    product.pool("slow", "203.0.113.0/28")
    product.peer(enableGracefulRestart=True)
    product.advertise(ipAddressPools=["pool"])
    product.advertise("slow", ipAddressPools=["slow"])
    delay(product, "300s")
    product.service("web", pool="slow", policy="Local", on=None)
    address = product.address("web")
    write(product, "web", [("n1", READY)])
    holder = "the claim says n1"
    until(
        holder,
        lambda: product.vips()[address]["holders"]["default/web"].get("nodes"),
        lambda n: n == {"n1": 1},
    )
    product.service("other")  # what comes after it has arrived at every node: so has it
    product.routed(product.address("other"))
    assert not product.hops(address)
    delay(product, "1s")
    product.routed(address, on=("n1",))
    # An agent, and a speaker, that start while it is announced go on with it.
    delay(product, "300s")
    pod = product.speaker("n1")
    with product.never_lost(address):
        old = product.pid(pod, AGENT)
        kill(old)
        until("another agent runs", lambda: product.pid(pod, AGENT), lambda pid: pid not in (0, old))
        product.service("more", on=("n1",))
        product.routed(product.address("more"), limit=40)  # by which it has said all that it knows
        before = product.connections()["n1"]
        product.lab.kubectl("delete", "pod", "-n", SYSTEM, pod["metadata"]["name"], "--wait=false")
        until("a new session", product.connections, lambda now: now.get("n1", before) != before, 60)
        until(
            "the router got the route anew", lambda: stale(product, address), lambda found: found == [False]
        )
    # It moves: n3 waits, and n1 as long as n3.
    delay(product, "3s")
    with product.never_lost(address):
        write(product, "web", [("n1", TERMINATING), ("n3", READY)])
        product.routed(address, on=("n3",))


def test_all_slices_count_together_and_an_endpoint_without_a_node_is_nobodys_under_local(
    product: Product,
) -> None:
    product.bgp()
    product.service("web", on=None)
    address = product.address("web")
    write(product, "web", [("n1", UNREADY), ("n2", UNREADY)], piece="one")
    write(product, "web", [("n3", READY)], piece="names", kind="FQDN")
    endpoints(product, "web", "0/2")
    assert not product.hops(address)
    write(product, "web", [(None, READY)], piece="two")
    product.routed(address, on=ALL)
    product.patch("service", "web", {"spec": {"externalTrafficPolicy": "Local"}})
    product.routed(address, on=())
    write(product, "web", [("n1", READY), ("n3", READY)], piece="three")
    product.routed(address, on=("n1", "n3"))
    write(product, "web", [("n2", READY)], piece="one")
    product.routed(address, on=ALL)
    product.remove(f"{SLICES}/web-three-hand")
    product.routed(address, on=("n2",))


def test_a_route_of_several_services_stands_from_the_first_that_serves_to_the_last(product: Product) -> None:
    """An address that two share; and an aggregate of two members, beside their own host routes."""
    product.pool()
    product.peer()
    product.advertise("whole", aggregationLength=24, communities=["64513:24"])
    product.advertise("hosts", communities=["64513:32"])
    for name, port in (("tcp", 80), ("more", 443)):
        product.service(name, address="198.51.100.7", on=None)
        change: dict[str, Any] = {"metadata": {"annotations": {"metallb.io/allow-shared-ip": "both"}}}
        product.patch("service", name, {**change, "spec": {"ports": [{"port": port}]}})
        assert product.address(name, limit=30) == "198.51.100.7"
    product.service("other", address="198.51.100.9", on=None)
    product.address("other")
    assert not product.routes()
    write(product, "tcp", [("n1", READY)])
    for prefix in ("198.51.100.7", "198.51.100.0/24"):
        product.routed(prefix)
    with product.never_lost("198.51.100.7", "198.51.100.0/24"):
        write(product, "more", [("n3", READY)])
        holders = until(
            "both serve",
            lambda: product.vips()["198.51.100.7"]["holders"],
            lambda found: all(one.get("serving") for one in found.values()),
        )
        assert holders.keys() == {"default/tcp", "default/more"}
        write(product, "other", [("n2", READY)])
        product.routed("198.51.100.9")
        write(product, "tcp", [("n1", UNREADY)])
        until("one serves", lambda: serving(product, "198.51.100.7"), lambda f: f == {"default/more"})
    with product.never_lost("198.51.100.0/24"):
        product.remove("/api/v1/namespaces/default/services/more")
        product.routed("198.51.100.7", on=())
    assert told(product, "198.51.100.0/24") == {"64513:24"}
    assert told(product, "198.51.100.9/32") == {"64513:32"}
    write(product, "other", [("n2", UNREADY)])
    until("nothing is left", product.routes, lambda routes: not routes)


def test_each_peer_is_told_what_is_meant_for_it_and_a_renamed_one_keeps_its_session_and_routes(
    product: Product,
) -> None:
    with second_router(product) as far:
        product.pool()
        product.peer()
        product.peer("far", peerASN=64514, peerAddress=CLIENT.address, ebgpMultiHop=True)
        product.advertise("both", communities=["64513:1"])
        product.advertise("marked", peers=["tor"], communities=["64513:2"])
        product.advertise("near", peers=["tor"], serviceSelectors=[{"matchLabels": {"who": "near"}}])
        product.service("web")
        product.service("other", on=("n1",))
        addresses = [product.address(name) for name in ("web", "other")]
        for address in addresses:
            product.routed(address)
            until("the second router has it", lambda a=address: of(far, a), lambda f: f == {"64513:1"})
            until(
                "and the first one what is meant for it",
                lambda a=address: told(product, f"{a}/32"),
                lambda found: found == {"64513:1 64513:2"},
            )
        # Now only one of them may have it: the other's route goes, and this one's stays as it is.
        product.established()
        before = product.connections()
        with product.never_lost(*addresses):
            product.advertise("both", peers=["tor"], communities=["64513:1"])
            for address in addresses:
                until("the second router lost it", lambda a=address: of(far, a), lambda f: not f)
            # The BGPPeer takes another name.
            for name, marks in (("both", ["64513:1"]), ("marked", ["64513:2"])):
                product.advertise(name, peers=["tor", "rack"], communities=marks)
            with product.without_webhook():  # which would refuse the second one: it has the same address
                product.peer("rack")
                until(
                    "it waits for the other",
                    lambda: product.configuration_state().get("errorSummary", ""),
                    lambda said: "rack" in said,
                )
            product.remove(f"{PEERS}/tor")
            until(
                "every node calls it by its new name",
                lambda: {node.name: product.session(node.name, "rack") for node in product.lab.nodes},
                lambda rows: all(row.get("state") == "Established" for row in rows.values()),
            )
            assert told(product, f"{addresses[0]}/32") == {"64513:1 64513:2"}
        assert product.connections() == before
        assert not far.prefixes()


def test_a_prefix_that_changes_many_times_in_a_moment_ends_as_it_is_meant(product: Product) -> None:
    product.bgp()
    names = ("even", "odd")
    for name in names:
        product.service(name, policy="Local", on=("n1", "n2"))
    addresses = {name: product.address(name) for name in names}
    for name in names:
        product.routed(addresses[name], on=("n1", "n2"))
    product.established()
    before = product.connections()
    for number in range(40):
        for name in names:
            product.endpoints(name, ("n1", "n3") if number % 2 else ())
        if number % 8 == 0:
            product.advertise(communities=[f"64513:{number}"])
    product.endpoints("even", ("n2",))
    product.endpoints("odd", ())
    product.advertise(communities=["64513:99"])
    product.routed(addresses["even"], on=("n2",))
    product.routed(addresses["odd"], on=())
    mark = {"64513:99"}
    until("the last mark", lambda: told(product, f"{addresses['even']}/32"), lambda found: found == mark)
    assert product.connections() == before


# ---------------------------------------------------------------- verbs


def write(product: Product, service: str, said: Said, *, piece: str = "one", kind: str = "IPv4") -> None:
    """One EndpointSlice of the Service, as it is from now on."""
    name = f"{service}-{piece}-hand"
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": kind,
        "ports": [{"port": 80, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"web{at}.example.org" if kind == "FQDN" else f"10.244.9.{at + 1}"],
                "conditions": conditions,
                **({"nodeName": node} if node else {}),
            }
            for at, (node, conditions) in enumerate(said)
        ],
    }
    try:
        product.api.request("PUT", f"{SLICES}/{name}", body)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        product.create(SLICES, body)


def stale(product: Product, address: str) -> list[bool]:
    """Of each path: whether the router only keeps it until the speaker is back."""
    shown = json.loads(product.lab.vtysh(f"show ip bgp {address}/32 json") or "{}")
    return [bool(path.get("stale")) for path in shown.get("paths", ())]


def delay(product: Product, text: str) -> None:
    """Of the advertisement `slow`, once every speaker has it."""
    before = max((one.get("configuration", 0) for one in product.nodestates().values()), default=0)
    notes = {"metalbgp.io/announce-delay": text}
    product.patch("bgpadvertisement", "slow", {"metadata": {"annotations": notes}}, SYSTEM)
    until(
        f"a delay of {text} is in force",
        lambda: [one.get("configuration", 0) for one in product.nodestates().values()],
        lambda found: len(found) == 3 and min(found) > before,
    )


def endpoints(product: Product, service: str, wanted: str) -> None:
    """Until the product counts so many serving and in all."""

    def counted() -> str:
        return next(one for one in product.cli("services")["items"] if one["service"].endswith(service))

    until(f"{service} has {wanted}", counted, lambda row: f"{row['serving']}/{row['endpoints']}" == wanted)


def serving(product: Product, address: str) -> set[str]:
    return {name for name, one in product.vips()[address]["holders"].items() if one.get("serving")}


@contextmanager
def labelled(product: Product, node: str, label: str) -> Iterator[None]:
    product.lab.kubectl("label", "node", node, f"{label}=")
    try:
        yield
    finally:
        product.lab.kubectl("label", "node", node, f"{label}-")


@contextmanager
def second_router(product: Product) -> Iterator[frr.Router]:
    """Behind the first one, two hops from the nodes; it installs nothing."""
    config = configuration(asn=64514, router_id=CLIENT.address, hostname="far")
    config = config.replace(
        " neighbor NODES remote-as 64513\n",
        " neighbor NODES remote-as 64513\n neighbor NODES ebgp-multihop 4\n",
    )
    config = config.replace("  maximum-paths 16\n", "  maximum-paths 16\n  table-map NOTHING\n")
    config += "route-map NOTHING deny 10\n"
    with frr.router(
        f"{product.lab.settings.name}far", config, product.lab.settings.namespace(CLIENT.name)
    ) as far:
        yield far


def told(product: Product, prefix: str) -> set[str]:
    """Communities of every path that the router has to a prefix."""
    shown = json.loads(product.lab.vtysh(f"show ip bgp {prefix} json") or "{}")
    return {path.get("community", {}).get("string", "") for path in shown.get("paths", ())}


def of(far: frr.Router, address: str) -> set[str]:
    """The same of the second router; nothing when it has no path."""
    shown = far.json(f"show ip bgp {address}/32")
    return {path.get("community", {}).get("string", "") for path in shown.get("paths", ())}
