"""The lab itself: it answers like a cluster, pulls what it runs, and leaves nothing behind.

In:  root on a machine where `lab build` has been run (or will be, by the first test).
Out: the promises of docs/development.md that other tests on the lab stand on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from lab import teardown
from lab.cluster import Lab
from lab.frr import router
from lab.router import configuration
from lab.settings import NODES, REPOSITORY, Settings
from lab.shell import wait_until

NAME: Final = f"t{os.getpid()}"

APP: Final = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 3
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule,
         labelSelector: {matchLabels: {app: app}}}
      containers:
      - name: nginx
        image: nginx:latest
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: app}
  ports: [{port: 80, nodePort: 30080}]
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(Settings(NAME))
    try:
        Lab.up(NAME)
        lab.apply(APP)
        lab.kubectl("rollout", "status", "deployment/app", "--timeout=60s")
        yield lab
    finally:
        lab.down()
    assert teardown.leftovers(Settings(NAME)) == []


def _page(lab: Lab, host: str) -> bool:
    shown = f"[{host}]" if ":" in host else host
    done = lab.client_exec(["curl", "-s", "--max-time", "2", f"http://{shown}:30080/"], check=False)
    return "nginx" in done.stdout


def test_three_nodes_are_ready_in_both_families(lab: Lab) -> None:
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    addresses = {
        item["metadata"]["name"]: [
            each["address"] for each in item["status"]["addresses"] if each["type"] == "InternalIP"
        ]
        for item in nodes
    }
    assert addresses == {node.name: [node.address, node.address6] for node in NODES}
    assert [item["spec"]["podCIDRs"] for item in nodes] == [node.pod_cidrs for node in NODES]


def test_a_service_answers_outside_the_cluster_on_every_node_and_family(lab: Lab) -> None:
    for node in lab.nodes:
        for address in (node.address, node.address6):
            wait_until(lambda address=address: _page(lab, address), f"{address}:30080 answers", 20)


def test_images_are_really_pulled(lab: Lab) -> None:
    events = lab.kubectl("get", "events", "--field-selector=reason=Pulled", "-o", "json")
    messages = [item["message"] for item in json.loads(events)["items"]]
    assert any("Successfully pulled image" in message and "nginx:latest" in message for message in messages)


def test_an_image_that_the_registry_lacks_fails_at_once(lab: Lab) -> None:
    lab.kubectl("run", "absent", "--image=no-such-image:1")
    try:
        wait_until(
            lambda: (
                "ImagePull" in lab.kubectl("get", "pod", "absent", "--no-headers")
                or "ErrImage" in lab.kubectl("get", "pod", "absent", "--no-headers")
            ),
            "the pull is refused",
            15,
        )
    finally:
        lab.kubectl("delete", "pod", "absent", "--grace-period=0", "--force")


def test_logs_and_exec_reach_the_kubelets(lab: Lab) -> None:
    assert "/usr/sbin/nginx" in lab.kubectl("exec", "deployment/app", "--", "ls", "/usr/sbin/nginx")
    assert lab.kubectl("logs", "deployment/app") is not None


def test_kube_proxy_is_configured_as_on_a_kubeadm_cluster(lab: Lab) -> None:
    config = lab.kubectl("get", "configmap", "-n", "kube-system", "kube-proxy", "-o", "yaml")
    assert "strictARP: false" in config
    assert "mode: nftables" in config


def test_the_router_answers_and_takes_configuration(lab: Lab) -> None:
    assert json.loads(lab.vtysh("show bgp summary json")) is not None
    lab.vtysh("configure terminal", "ip route 192.0.2.77/32 10.252.252.11")
    wait_until(
        lambda: "192.0.2.77" in lab.router_exec(["ip", "route"]).stdout, "the route is in the kernel", 5
    )
    lab.vtysh("configure terminal", "no ip route 192.0.2.77/32 10.252.252.11")


def test_the_routers_container_takes_a_session_from_a_node(lab: Lab) -> None:
    node = lab.nodes[0]
    config = (
        "router bgp 64513\n bgp router-id 10.252.252.11\n no bgp ebgp-requires-policy\n"
        " no bgp network import-check\n"
        " neighbor 10.252.252.1 remote-as 64512\n"
        " address-family ipv4 unicast\n  network 10.252.252.100/32\n exit-address-family\n"
    )
    with router(f"{NAME}n1", config, lab.settings.namespace(node.name), bgp_port=0) as peer:
        wait_until(lambda: peer.established("10.252.252.1"), "the session is up", 30)
        wait_until(
            lambda: "via 10.252.252.11" in lab.router_exec(["ip", "route", "show", "10.252.252.100"]).stdout,
            "the route is in the router's kernel",
            10,
        )


def test_the_api_server_may_die_and_come_back(lab: Lab) -> None:
    with lab.without("apiserver"):
        assert not lab.api.ready()
        assert _page(lab, NODES[0].address)
    assert lab.api.ready()


def test_a_cut_wire_takes_a_node_off_and_mending_brings_it_back(lab: Lab) -> None:
    node = lab.nodes[2]
    lab.link_down(node.name)
    try:
        assert "NO-CARRIER" in lab.node_exec(node.name, ["ip", "link", "show", "eth0"]).stdout
        assert not _page(lab, node.address)
    finally:
        lab.link_up(node.name)
    wait_until(lambda: _page(lab, node.address), "the node answers again", 20)


def test_two_routers_run_beside_each_other_as_plain_processes(lab: Lab) -> None:
    space = lab.settings.namespace("cp")
    with (
        router(f"{NAME}a", configuration(), space, bgp_port=0) as one,
        router(f"{NAME}b", configuration(asn=65000), space, bgp_port=0) as two,
    ):
        assert "64512" in one.vtysh("show running-config")
        assert "65000" in two.vtysh("show running-config")


@pytest.mark.parametrize("moment", ["network", "API server", "nodes"])
def test_down_cleans_up_after_up_was_killed(moment: str) -> None:
    """kill -9 at the first word of each stage, and once the pods of an earlier test may have started."""
    name = f"k{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "lab", "up", "--no-product"],
        env={**os.environ, "LAB_NAME": name, "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip().startswith(f"{moment}:"):
            break
    threading.Event().wait(0.3)  # somewhere inside of the next stage; nothing is waited for
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    Lab(Settings(name)).down()
    assert teardown.leftovers(Settings(name)) == []


def test_down_without_up_is_no_error() -> None:
    Lab(Settings("neverwas")).down()
    assert not Path("/run/metalbgp-lab/neverwas").exists()


def test_a_lab_touches_nothing_of_another(lab: Lab) -> None:
    other = Lab(Settings(f"o{os.getpid()}"))
    try:
        Lab.up(other.settings.name)
    finally:
        other.down()
    assert teardown.leftovers(other.settings) == []
    assert _page(lab, NODES[0].address)
    assert all(process.alive for process in lab.processes.all())
