"""Layer 2 while a node leaves, an address is held, or the owner's last Pod ends: who answers then, who never.

In:  a dual-stack Service over L2 with real Pods; a cordon, `metalbgp drain` and `hold`, readiness that is a
     file; a prober on the nodes' segment, and visitors behind the router.
Out: the laws in the tests' names, with their figures. Elsewhere: deaths and links are test_product_l2.py; who
     leaves when is tests/laws/test_draining.py; routes under the same orders are test_product_orders.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.visits import visiting
from lab.settings import CLIENT
from tests.lab.product import OURS, SERVICES, SYSTEM, Product, until
from tests.lab.test_product_l2 import (
    ADDRESS,
    ADDRESS6,
    BUSY,
    Probe,
    candidates,
    figure,
    probing,
)
from tests.lab.test_product_orders import AT_ONCE, UNDER_WAY, WHY
from tests.lab.test_product_pods import ALL, LABELS, PODS, ready, run_pod, sees_all

ORDERS: Final = f"{OURS}/namespaces/{SYSTEM}/speakerorders"
BOTH: Final = (ADDRESS, ADDRESS6)
MOVES: Final = 4  # cordoned, back, drained, back
QUIET: Final = 1.0  # seconds without one answer, of a prober that asks every 20 ms


def served(product: Product, policy: str = "Cluster", **annotations: str) -> None:
    """A dual-stack Service in L2; its Pods are a_pod_a_node()'s."""
    product.pool("segment", f"{ADDRESS}-10.252.252.201", f"{ADDRESS6}-{ADDRESS6[:-1]}1")
    advertisement = {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "L2Advertisement",
        "metadata": {"name": "all", "namespace": SYSTEM, "annotations": annotations},
    }
    product.lab.apply(json.dumps(advertisement))
    spec = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": policy,
        "ipFamilyPolicy": "RequireDualStack",
        "selector": LABELS,
        "ports": [{"port": 80}],
    }
    asked = {"metallb.io/loadBalancerIPs": ",".join(BOTH)}
    product.create(SERVICES, {"metadata": {"name": "web", "annotations": asked}, "spec": spec})


def in_order(product: Product) -> tuple[str, ...]:
    """The candidates, when all three nodes are and both families agree."""
    one, other = until(
        "three candidates", lambda: candidates(product), lambda found: [*map(len, found)] == [3, 3], 60
    )
    assert one == other
    return one


def answers(probe: Probe, node: str, limit: float = 20) -> None:
    for address in BOTH:
        until(
            f"{node} answers for {address}", lambda a=address: probe.owner(a), lambda now: now == node, limit
        )


def moved(probe: Probe, since: float, to: str, what: str) -> None:
    """Both families are at the node, after a handover in which nobody waited long."""
    ipv4, ipv6 = (probe.moved(since, to, address) for address in BOTH)
    two = max(0.0, *(probe.together(since, address) for address in BOTH))
    figure(
        f"{what}: {ipv4 * 1000:.0f} ms (IPv4), {ipv6 * 1000:.0f} ms (IPv6) without an answer, "
        f"{two * 1000:.0f} ms with two"
    )
    assert max(ipv4, ipv6, two) <= BUSY * 0.1


def silent(probe: Probe, since: float) -> float:
    """Until nobody has answered for either family for a while; seconds from `since` to the last answer."""

    def last(address: str) -> float:
        return max((at for at, _ in probe.of(address, since)), default=since)

    for address in BOTH:
        until(
            f"nobody answers for {address}",
            lambda a=address: time.time() - last(a),
            lambda quiet: quiet > QUIET,
            AT_ONCE + QUIET,
        )
    return max(map(last, BOTH)) - since


@contextmanager
def cordoned(product: Product, node: str) -> Iterator[None]:
    product.lab.kubectl("cordon", node)
    try:
        yield
    finally:
        product.lab.kubectl("uncordon", node)


@contextmanager
def ordered(product: Product, name: str = "four", **spec: str) -> Iterator[None]:
    """As the command line writes it, without its start: what is timed is the speakers."""
    product.put(ORDERS, "SpeakerOrder", name, {**spec, "reason": WHY, "author": "eve"})
    try:
        yield
    finally:
        product.remove(f"{ORDERS}/{name}")


def locally(product: Product, node: str, verb: str, *words: str) -> None:
    """On the socket of a node's speaker, inside its pod."""
    pod = product.speaker(node)["metadata"]["name"]
    command = ("metalbgp", verb, "--local", ADDRESS, *words)
    product.lab.kubectl("exec", "-n", SYSTEM, pod, "-c", "speaker", "--", *command)


@contextmanager
def a_pod_a_node(product: Product) -> Iterator[None]:
    for node in ALL:
        run_pod(product, node)
    try:
        yield
    finally:
        for node in ALL:
            product.remove(f"{PODS}/on-{node}?gracePeriodSeconds=0")


def test_an_l2_address_leaves_with_its_node_but_never_the_last_and_held_is_answered_by_nobody(
    product: Product,
) -> None:
    served(product, **{"metalbgp.io/drain": "cordon"})
    with a_pod_a_node(product), probing(product) as probe:
        first, second, third = in_order(product)
        product.served(ADDRESS)
        answers(probe, first)
        with visiting(product.lab.settings.namespace(CLIENT.name), ADDRESS) as visits:
            visits.wait(50)
            since = time.time()
            with cordoned(product, first):
                moved(probe, since, second, "cordoned")
                assert in_order(product) == (second, third, first)  # the controller wrote it down
                since = time.time()
            moved(probe, since, first, "uncordoned")
            since = time.time()
            with ordered(product, action="Drain", node=first):
                moved(probe, since, second, "drained")
                visits.wait(50)
                since = time.time()
            moved(probe, since, first, "undrained")
            visits.wait(50)
        report = visits.report
        failed = len(report.failed)
        figure(f"cordon, drain and back: {report.asked} requests, {failed} failed, {report.slow} slow")
        # As over BGP (test_product_orders.py): a request under way arrives at a node that does not know it.
        assert failed <= BUSY * MOVES * UNDER_WAY, report.failed

        since = time.time()
        locally(product, first, "hold", "--for", "30m")  # the others hear of it by heartbeat alone
        assert max(probe.moved(since, second), probe.together(since)) <= BUSY * 0.1
        assert probe.owner(ADDRESS6) == first  # what is decided beside it has not moved
        locally(product, first, "unhold")
        probe.moved(time.time(), first)

        only = {"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": first}}]}
        product.patch("l2advertisement.metallb.io", "all", {"spec": only}, SYSTEM)
        until("one candidate", lambda: candidates(product), lambda found: found == [(first,), (first,)])
        with ordered(product, action="Drain", node=first):
            since = time.time()
            until(
                "the node says what it could not hand over",
                lambda: [one["answers"] for one in product.nodestates()[first]["drain"]],
                lambda found: found == [sorted(BOTH)],
            )
            assert f"{first} leaves (drained by eve" in product.told("explain", "default/web")
            for address in BOTH:
                assert probe.moved(since, first, address) <= BUSY * 0.1
                assert {node for _, node in probe.of(address, since)} == {first}

        since = time.time()
        with (
            ordered(product, action="Hold", address=ADDRESS),
            ordered(product, "six", action="Hold", address=ADDRESS6),
        ):
            quiet = silent(probe, since)
            since = time.time()
        answers(probe, first, AT_ONCE)
        back = max(min(at for at, _ in probe.of(address, since)) for address in BOTH) - since
        figure(f"held: the last answer after {quiet * 1000:.0f} ms; back after {back * 1000:.0f} ms")


def test_without_a_controller_the_owner_whose_pod_ends_stops_and_another_that_has_one_answers(
    product: Product,
) -> None:
    served(product, "Local")
    product.service("other")  # whose heartbeats go on: the nodes are no less alive
    with a_pod_a_node(product), probing(product) as probe:
        first, second, third = in_order(product)
        for node in ALL:  # who was never seen to serve is not missed
            until(f"the speaker on {node} sees its Pods", lambda node=node: sees_all(product, node), limit=60)
        answers(probe, first)
        with product.without_controller():
            before = product.vips()
            since = time.time()
            ready(product, first, False)
            answers(probe, second)
            moved(probe, since, second, "its last Pod ended, the probe that sees it included")
            product.remove(f"{PODS}/on-{second}")
            answers(probe, third)
            assert f"{first} declining; {second} declining" in product.told("explain", "default/web")
            ready(product, first, True)
            answers(probe, first)
            assert product.vips() == before  # nobody has said so
