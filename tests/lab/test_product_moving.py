"""A real pod moves: what Kubernetes writes into EndpointSlices, and what routers and visitors see of it.

In:  a Deployment of one pod behind a Service with externalTrafficPolicy Local.
Out: the law in the test's name. Elsewhere: slices written by hand are test_product_serving.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from lab.settings import CLIENT
from lab.shell import inside
from tests.lab.product import SERVICES, SYSTEM, Product, until

MOVING: Final = {"app": "moving"}


def test_a_pod_that_moves_to_another_node_under_local_loses_no_request(product: Product) -> None:
    product.bgp()
    notes = {"metalbgp.io/announce-delay": "3s"}  # kube-proxy has that long to learn of the new pod
    product.patch("bgpadvertisement", "all", {"metadata": {"annotations": notes}}, SYSTEM)
    ports = [{"port": 80}]
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": MOVING, "ports": ports}
    product.create(SERVICES, {"metadata": {"name": "moving"}, "spec": spec})
    try:
        deploy(product, "n1")
        address = product.address("moving")
        product.routed(address, on=("n1",), limit=60)
        with visitors(product, address) as pages, product.never_lost(address):
            until("the pod answers", lambda: pages[-1:], lambda last: last == ["n1"])
            deploy(product, "n2")
            product.routed(address, on=("n2",), limit=90)
            # The old one has only begun to end: it would serve for minutes.
            assert pods(product) == {"n1": "ends", "n2": "runs"}
            until("the new pod answers", lambda: pages[-1:], lambda last: last == ["n2"])
        assert set(pages) == {"n1", "n2"}
    finally:
        product.remove("/apis/apps/v1/namespaces/default/deployments/moving")
        product.lab.kubectl(
            "delete", "pods", "-l", "app=moving", "--grace-period=0", "--force", "--wait=false"
        )


def deploy(product: Product, node: str) -> None:
    """One pod that says where it runs, there and nowhere else; it ends slowly, and serves until then."""
    page = "echo $NODE > /usr/share/nginx/html/index.html && exec nginx -g 'daemon off;'"
    pod = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "terminationGracePeriodSeconds": 240,
        "containers": [
            {
                "name": "nginx",
                "image": "nginx:latest",
                "command": ["sh", "-c", page],
                "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1},
                "lifecycle": {"preStop": {"sleep": {"seconds": 200}}},
            }
        ],
    }
    spec = {"selector": {"matchLabels": MOVING}, "template": {"metadata": {"labels": MOVING}, "spec": pod}}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "moving"}, "spec": spec}
    product.lab.kubectl("apply", "-n", "default", "-f", "-", input=json.dumps(body))


def pods(product: Product) -> dict[str, str]:
    found = product.list("/api/v1/namespaces/default/pods?labelSelector=app=moving")
    return {
        one["spec"]["nodeName"]: "ends" if "deletionTimestamp" in one["metadata"] else "runs" for one in found
    }


@contextmanager
def visitors(product: Product, address: str) -> Iterator[list[str]]:
    """A client outside the cluster that asks without end, each time anew; what it was answered, "none" for
    nothing within ten seconds."""
    command = f"while true; do curl -s --max-time 10 {address} || echo none; done"
    asking = subprocess.Popen(
        inside(product.lab.settings.namespace(CLIENT.name), ["sh", "-c", command]),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert asking.stdout is not None
    pages: list[str] = []
    output = asking.stdout
    reader = threading.Thread(target=lambda: pages.extend(line.strip() for line in output), daemon=True)
    reader.start()
    try:
        yield pages
    finally:
        os.killpg(asking.pid, signal.SIGKILL)
        asking.wait()
        reader.join(10)
