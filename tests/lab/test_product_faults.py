"""Whatever dies, routes that should stay stay, and what should be there is there again by itself.

In:  Services with made-up endpoints; kill -9 of one process at a time, the API server's included.
Out: the laws in the tests' names. Elsewhere: bad configuration in test_product_configuration.py.
"""

from __future__ import annotations

import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.lab.product import SYSTEM, Product, alive, kill, processes_of, until
from tests.wire.doing import nothing_for

AGENT: Final = r"-m metalbgp\.speaker\.agent"
REFLEX: Final = r"-m metalbgp\.reflex"
EXABGP: Final = r"launch\.py server"
HELPER: Final = r"helper\.py"
CONTROLLER: Final = r"-m metalbgp\.controller$"


def _kill_and_wait(product: Product, pod: dict[str, Any], words: str, limit: float = 15) -> int:
    """kill -9, then wait for its successor."""
    pid = product.pid(pod, words)
    kill(pid)
    until(f"another {words} runs", lambda: product.pid(pod, words), lambda new: new not in (0, pid), limit)
    return pid


def _many(product: Product, count: int) -> dict[str, str]:
    """Names and addresses of so many Services."""
    names = [f"s{number:02}" for number in range(count)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(product.service, names))
        return dict(zip(names, pool.map(lambda name: product.address(name, 30), names), strict=True))


def test_routes_stay_while_the_api_server_is_away_and_a_service_is_served_when_it_is_back(
    product: Product,
) -> None:
    product.bgp()
    address = product.announced("web")
    before = product.connections()
    with product.never_lost(address):
        with product.lab.without("apiserver"):
            nothing_for(10)
        product.service("after")
        product.routed(product.address("after", limit=30))
    assert product.connections() == before
    # Endpoints that went while nobody was told are noticed as well.
    product.endpoints("web", [])
    product.routed(address, on=())


def test_an_agent_that_starts_without_api_server_announces_what_was_last_known(product: Product) -> None:
    product.bgp()
    address = product.announced("web")
    before = product.connections()
    pod = product.speaker("n1")
    with product.never_lost(address):
        with product.lab.without("apiserver"):
            _kill_and_wait(product, pod, AGENT)
            _kill_and_wait(product, pod, EXABGP)
            product.routed(address)
        product.all_ready()
    product.established()
    after = product.connections()
    del before["n1"], after["n1"]
    assert after == before


def test_a_killed_exabgp_announces_everything_again_by_itself(product: Product) -> None:
    product.bgp()
    addresses = _many(product, 5)
    for address in addresses.values():
        product.routed(address)
    before = product.connections()
    _kill_and_wait(product, product.speaker("n2"), EXABGP)
    until(
        "the session is another one",
        product.connections,
        lambda now: now.get("n2", before["n2"]) != before["n2"],
    )
    for address in addresses.values():
        product.routed(address)
    product.established()
    after = product.connections()
    del before["n2"], after["n2"]
    assert after == before


def test_a_killed_helper_costs_no_session_and_no_change(product: Product) -> None:
    product.bgp()
    product.service("web")
    product.service("other", on=[])
    address, other = product.address("web"), product.address("other")
    product.routed(address)
    before = product.connections()
    with product.never_lost(address):
        kill(product.pid(product.speaker("n1"), HELPER))
        product.endpoints("other", ["n1"])
        product.routed(other)
        until(
            "a helper runs again",
            lambda: product.pid(product.speaker("n1"), HELPER),
        )
        product.endpoints("other", [])
        product.routed(other, on=())
    assert product.connections() == before


def test_an_agent_killed_in_a_burst_leaves_the_session_up_and_the_router_as_wanted(product: Product) -> None:
    product.bgp()
    addresses = _many(product, 30)
    until(
        "all 30 are in the router",
        product.routes,
        lambda routes: all(len(routes.get(address, ())) == 3 for address in addresses.values()),
        30,
    )
    before = product.connections()
    assert len(before) == 3
    rand = random.Random(4)  # noqa: S311  # a repeatable burst
    serving = dict.fromkeys(addresses, True)
    pods = [product.speaker(node) for node in ("n1", "n2")]
    for number in range(200):
        name = rand.choice(list(addresses))
        serving[name] = not serving[name]
        product.endpoints(name, ["n1"] if serving[name] else [])
        if number in (70, 130):
            kill(product.pid(pods[number == 130], AGENT))
    wanted = {addresses[name] for name, serves in serving.items() if serves}
    until(
        "the router has what is wanted and nothing else",
        product.routes,
        lambda routes: {a for a, hops in routes.items() if len(hops) == 3} == wanted == set(routes),
        30,
    )
    assert product.connections() == before


def _l2(product: Product) -> tuple[str, str]:
    """A Service over L2 alone: its address and the node that owns it."""
    product.pool("segment", "10.252.252.200/29")
    product.lab.apply(
        f"""
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {{name: all, namespace: {SYSTEM}}}
"""
    )
    product.service("web")
    address = product.address("web")
    owner = until(
        "a node is the first candidate",
        lambda: product.vips()[address].get("candidates"),
        bool,
    )[0]
    until("the owner answers", lambda: _answers(product, address), lambda macs: len(macs) == 1)
    return address, owner


def _answers(product: Product, address: str) -> set[str]:
    """Hardware addresses that answer an ARP request of the router."""
    said = product.lab.router_exec(
        ["arping", "-c", "1", "-w", "1", "-i", "eth0", address], check=False
    ).stdout
    return set(re.findall(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", said.lower()))


def test_a_killed_reflex_answers_again_within_seconds_also_while_the_agent_is_away(product: Product) -> None:
    address, owner = _l2(product)
    pod = product.speaker(owner)
    before = _answers(product, address)
    _kill_and_wait(product, pod, REFLEX)
    until("the same node answers again", lambda: _answers(product, address), lambda now: now == before, 5)
    kill(product.pid(pod, AGENT))
    assert _answers(product, address) == before  # the reflex does not need it
    reflex = product.pid(pod, REFLEX)
    kill(reflex)
    until("the same node answers again", lambda: _answers(product, address), lambda now: now == before, 15)
    assert product.pid(pod, AGENT)


def test_a_deleted_speaker_takes_its_routes_along_and_brings_them_back(product: Product) -> None:
    product.bgp()
    address = product.announced("web")
    with product.never_lost(address):  # the other two nodes serve meanwhile
        name = product.speaker("n2")["metadata"]["name"]
        product.lab.kubectl("delete", "pod", "-n", SYSTEM, name, "--wait=false")
        product.routed(address, on=["n1", "n3"])
        product.routed(address, limit=40)


def test_with_graceful_restart_a_deleted_speaker_is_not_missed(product: Product) -> None:
    product.bgp(enableGracefulRestart=True)
    product.service("web", policy="Local", on=["n2"])
    address = product.address("web")
    product.routed(address, on=["n2"])
    before = product.connections()
    with product.never_lost(address):
        old = product.speaker("n2")["metadata"]["name"]
        product.lab.kubectl("delete", "pod", "-n", SYSTEM, old, "--wait=false")
        until(
            "the session of n2 is another one",
            product.connections,
            lambda now: now.get("n2", before["n2"]) != before["n2"],
            40,
        )
        until("a new speaker is ready", lambda: product.ready("speaker"), lambda n: len(n - {old}) == 3, 40)
        until(
            "the route is no longer stale",
            lambda: json.loads(product.lab.vtysh(f"show bgp ipv4 unicast {address}/32 json")),
            lambda shown: shown.get("paths") and not any(path.get("stale") for path in shown["paths"]),
        )
    product.endpoints("web", [])  # and it can still be withdrawn
    product.routed(address, on=())


def test_a_leader_killed_in_a_burst_loses_no_service_and_gives_no_address_twice(product: Product) -> None:
    product.bgp()
    leader = until("a controller leads", product.leader)
    pod = product.pods("controller")[leader]
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/metalbgp-controller"
    held = product.api.get(lease)["spec"]["holderIdentity"]
    names = [f"b{number:02}" for number in range(40)]
    killed: list[int] = []

    def make(name: str) -> str:
        if name == "b20":
            killed.append(_kill(product, pod))
        return product.service(name)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(make, names))
    assert killed
    until(
        "another life of a controller leads",
        lambda: product.api.get(lease)["spec"]["holderIdentity"],
        lambda now: now and now != held,
        30,
    )
    shown = until(
        "all 40 have an address",
        lambda: {name: product.ingress(name) for name in names},
        lambda found: all(found.values()),
        30,
    )
    assert len(set(shown.values())) == 40
    holders = {address: set(spec["holders"]) for address, spec in product.vips().items()}
    assert holders == {address: {f"default/{name}"} for name, address in shown.items()}
    until(
        "all 40 are in the router",
        product.routes,
        lambda routes: all(len(routes.get(address, ())) == 3 for address in shown.values()),
        30,
    )
    assert set(product.routes()) == set(shown.values())


def _kill(product: Product, pod: dict[str, Any]) -> int:
    pid = product.pid(pod, CONTROLLER)
    kill(pid)
    assert not alive(pid) or processes_of(pod)
    return pid
