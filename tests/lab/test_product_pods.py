"""A node takes itself out when its own Pods serve no more: without a controller, and with one before it.

In:  real Pods, one a node, whose readiness is a file; a Service with externalTrafficPolicy Local; the router.
Out: the laws in the tests' names; how long it takes is printed.
Elsewhere: what counts as serving is tests/unit/speaker/test_own_pods.py; a Pod that moves is
     test_product_moving.py.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from lab.settings import ROUTER
from lab.shell import inside
from metalbgp.speaker.own_pods import LAG
from tests.lab.product import SERVICES, Product, processes_of, until
from tests.lab.test_product_alone import AGENT, killed, known_on_disk, metrics

ALL: Final = ("n1", "n2", "n3")
PODS: Final = "/api/v1/namespaces/default/pods"
LABELS: Final = {"app": "looked-after"}
PAGE: Final = "usr/share/nginx/html/ready"
TURNS: Final = 3  # of each kind


def run_pod(product: Product, node: str) -> None:
    """nginx; it is ready while the page `ready` is there."""
    command = "touch /usr/share/nginx/html/ready && exec nginx -g 'daemon off;'"
    container = {
        "name": "nginx",
        "image": "nginx:latest",
        "command": ["sh", "-c", command],
        "readinessProbe": {
            "httpGet": {"port": 80, "path": "/ready"},
            "periodSeconds": 1,
            "failureThreshold": 1,
        },
    }
    spec = {
        "nodeName": node,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    product.create(PODS, {"metadata": {"name": f"on-{node}", "labels": LABELS}, "spec": spec})


@pytest.fixture
def served(product: Product) -> Iterator[tuple[Product, str]]:
    """A Pod on each node, and its Service is announced by all of them."""
    product.bgp()
    spec = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "selector": LABELS,
        "ports": [{"port": 80}],
    }
    product.create(SERVICES, {"metadata": {"name": "looked-after"}, "spec": spec})
    try:
        for node in ALL:
            run_pod(product, node)
        address = product.address("looked-after")
        # A kubelet that lost its API server in the test before hears of a new Pod up to a minute later.
        product.routed(address, limit=150)
        for node in ALL:  # who was never seen to serve is not missed
            until(f"the speaker on {node} sees its Pods", lambda node=node: sees_all(product, node), limit=60)
        yield product, address
    finally:
        for node in ALL:
            product.remove(f"{PODS}/on-{node}?gracePeriodSeconds=0")


def sees_all(product: Product, node: str) -> bool:
    there = product.list(f"/api/v1/pods?fieldSelector=spec.nodeName={node}")
    return metrics(product, node).get("metalbgp_own_pods") == len(there)


def ready(product: Product, node: str, yes: bool) -> None:
    """The Pod there says so at its next probe, within a second."""
    pod = product.api.get(f"{PODS}/on-{node}")
    pid = min(pid for pid, line in processes_of(pod).items() if "nginx: master" in line)
    page = Path("/proc", str(pid), "root", PAGE)
    subprocess.run(["touch" if yes else "rm", page], check=True)  # a page of the test's own Pod


def counted(product: Product, address: str) -> dict[str, int]:
    """Ready endpoints by node, as the controller wrote them."""
    (one,) = product.vips()[address]["holders"].values()
    return dict(one.get("nodes", {}))


def why_not(product: Product, address: str) -> dict[str, str]:
    """Node → reason, as `explain` has it."""
    (found,) = product.cli("explain", "default/looked-after")["items"]
    lines = [line for one in found["bgp"] if one["address"] == address for line in one["lines"]]
    return {line["node"]: line["reason"]["reason"] for line in lines if line.get("reason")}


def test_without_a_controller_a_node_whose_pod_ends_withdraws_and_the_others_stay(
    served: tuple[Product, str],
) -> None:
    product, address = served
    with product.without_controller(), product.never_lost(address):
        before = product.vips()[address]
        ready(product, "n1", False)
        product.routed(address, on=("n2", "n3"))
        assert counted(product, address) == {"n1": 1, "n2": 1, "n3": 1}  # nobody has said so
        until(
            "explain says why",
            lambda: why_not(product, address),
            lambda found: found == {"n1": "NoServingPod"},
        )
        known_on_disk(product, "n1", address)
        killed(product, product.speaker("n1"), AGENT)
        until("the agent is ready", lambda: product.ready("speaker"), lambda names: len(names) == 3)
        assert product.hops(address) == {"n2", "n3"}
        product.remove(f"{PODS}/on-n2")
        product.routed(address, on=("n3",))
        # It is never added beyond what was granted, and comes back within that.
        ready(product, "n1", True)
        product.routed(address, on=("n1", "n3"))
        assert product.vips()[address] == before
    until(
        "a controller says the same",
        lambda: counted(product, address),
        lambda found: found == {"n1": 1, "n3": 1},
        90,
    )
    product.routed(address, on=("n1", "n3"))


def test_with_a_controller_the_route_of_a_pod_that_ends_goes_within_a_second(
    served: tuple[Product, str],
) -> None:
    """By what the speaker sees; and, for LAG after the count rose, by what the controller writes."""
    product, address = served
    lab = product.lab
    router = inside(lab.settings.namespace(ROUTER.name), ["ip", "-o", "monitor", "route"])
    kubectl = [str(lab.kubectl_path), f"--kubeconfig={lab.kubeconfig}", "get", "--raw"]
    pod = [*kubectl, f"{PODS}?watch=1&fieldSelector=metadata.name=on-n1"]
    n1 = lab.nodes[0].address
    took: dict[bool, list[float]] = {True: [], False: []}  # by whether the count is believed
    with told(router) as routes, told(pod) as pods:
        until("the watch speaks", lambda: pods)
        for turn in range(2 * TURNS):
            believed = bool(turn % 2)
            if not believed:
                threading.Event().wait(LAG)  # this very stretch of time is what the turn is about
            since = time.monotonic()
            ready(product, "n1", False)
            at = first(pods, since, lambda line: not is_ready(json.loads(line)))
            gone = first(routes, since, lambda line: address in line and n1 not in line)
            took[believed].append(gone - at)
            ready(product, "n1", True)
            product.routed(address)
    seen, written = (statistics.median(took[kind]) * 1000 for kind in (False, True))
    print(  # noqa: T201  # the figure
        f"\nthe Pod is not ready → its node has no route: {seen:.0f} ms as the speaker sees it, "
        f"{written:.0f} ms by EndpointSlice and controller (medians of {TURNS})"
    )
    assert seen < 1000


def is_ready(event: dict[str, Any]) -> bool:
    conditions = event["object"]["status"].get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@contextmanager
def told(command: list[str]) -> Iterator[list[tuple[float, str]]]:
    """What a program says, line by line, and when."""
    speaking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # of the test's own lab
    lines: list[tuple[float, str]] = []
    assert speaking.stdout is not None
    output = speaking.stdout

    def read() -> None:
        for line in output:
            lines.append((time.monotonic(), line.strip()))  # while they come

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        speaking.terminate()
        speaking.wait()
        reader.join(10)


def first(lines: list[tuple[float, str]], since: float, good: Callable[[str], bool]) -> float:
    """When such a line came first after that moment."""
    found = until(
        "a line that says so",
        lambda: [at for at, line in list(lines) if at >= since and good(line)],
        limit=30,
    )
    return found[0]
