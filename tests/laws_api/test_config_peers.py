"""BGPPeers in both versions on a real API server: no webhook converts them, and no timer appears by itself.

In:  YAML as users of MetalLB have it; a CRD as MetalLB left it, with a conversion webhook that is gone.
Out: the laws in the tests' names. Elsewhere: what a peer becomes is tests/unit/config/test_kinds.py.
"""

import asyncio
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metalbgp.cluster.client import Client
from metalbgp.cluster.resources import BGP_PEERS
from metalbgp.config import objects
from metalbgp.config.compile import Compiled
from metalbgp.config.compile import compile as compile_objects
from metalbgp.controller import crds
from metalbgp.model.configuration import Configuration, Peer
from metalbgp.model.selectors import Requirement, Selector
from tests.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "metallb-system"
OLDER = """
apiVersion: metallb.io/v1beta1
kind: BGPPeer
metadata: {{name: {name}, namespace: metallb-system}}
spec:
  myASN: 64513
  peerASN: 64512
  peerAddress: {address}
  {more}
"""
FULL = """
  peerPort: 180
  sourceAddress: 10.0.0.9
  holdTime: 1m30s
  keepaliveTime: 30s
  routerID: 1.2.3.4
  password: secret
  ebgpMultiHop: true
  nodeSelectors:
  - matchLabels: {zone: x}
    matchExpressions:
    - {key: rack, operator: In, values: [b, a]}
"""


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> Iterator[ApiServer]:
    apiserver.install()
    yield apiserver
    apiserver.kubectl("delete", "bgppeers", "-n", SYSTEM, "-l", "of=these-tests")


def apply(server: ApiServer, name: str, address: str = "10.0.0.1", more: str = "") -> None:
    body = yaml.safe_load(OLDER.format(name=name, address=address, more=more.strip("\n ")))
    body["metadata"]["labels"] = {"of": "these-tests"}
    server.kubectl("apply", "-f", "-", stdin=json.dumps(body))


def read(server: ApiServer, name: str, version: str) -> dict[str, Any]:
    words = ("get", f"bgppeers.{version}.metallb.io", name, "-n", SYSTEM, "-o", "json")
    found: dict[str, Any] = json.loads(server.kubectl(*words))
    return found


def compiled(server: ApiServer, name: str) -> tuple[Compiled, Peer]:
    raw = objects.from_mapping(read(server, name, "v1beta2"))
    result = compile_objects(objects.gather([raw]), Configuration(installation=SYSTEM))
    assert [one.explain() for one in result.invalid] == []
    (peer,) = result.configuration.peers
    return result, peer


@pytest.mark.parametrize(
    ("name", "more", "port", "times"),
    [
        ("bare", "", 179, (None, None)),
        ("port-zero", "peerPort: 0", 179, (None, None)),
        ("hold-only", "holdTime: 90s", 179, (90, 30)),
        ("keepalive-only", "keepaliveTime: 10s", 179, (30, 10)),
        ("both", "{peerPort: 1790, holdTime: 1m30s, keepaliveTime: 20s}", 1790, (90, 20)),
        ("timeless", "{holdTime: 0s, keepaliveTime: 0s}", 179, (0, 0)),
    ],
)
def test_an_older_peer_means_what_it_says_and_timers_that_it_lacks_stay_lacking(
    server: ApiServer, name: str, more: str, port: int, times: tuple[int | None, int | None]
) -> None:
    apply(server, name, more=more.replace("{", "").replace("}", "").replace(", ", "\n  "))
    _, peer = compiled(server, name)
    assert (peer.port, peer.hold_time, peer.keepalive_time) == (port, *times)
    older, newer = read(server, name, "v1beta1")["spec"], read(server, name, "v1beta2")["spec"]
    for timer in ("holdTime", "keepaliveTime"):
        assert older.get(timer) == newer.get(timer)
        assert (timer in newer) is (timer in more)


def test_every_field_of_an_older_peer_is_in_force(server: ApiServer) -> None:
    apply(server, "full", more=FULL)
    _, peer = compiled(server, "full")
    assert peer == Peer(
        name="full",
        my_asn=64513,
        peer_asn=64512,
        address="10.0.0.1",
        port=180,
        source_address="10.0.0.9",
        hold_time=90,
        keepalive_time=30,
        router_id="1.2.3.4",
        has_password=True,
        ebgp_multihop=True,
        node_selectors=(
            Selector(
                labels=(("zone", "x"),),
                expressions=(Requirement(key="rack", operator="In", values=("a", "b")),),
            ),
        ),
        source=peer.source,
    )


def test_a_selector_of_an_older_peer_has_values_as_its_schema_says(server: ApiServer) -> None:
    empty = "nodeSelectors: [{matchExpressions: [{key: rack, operator: Exists, values: []}]}]"
    with pytest.raises(AssertionError, match="should have at least 1 items"):
        apply(server, "empty", more=empty)


def test_a_condition_is_written_on_an_older_peer_whatever_its_port(server: ApiServer) -> None:
    # 0 is no port in v1beta2; a write of the status must not be refused for what stands in the spec.
    apply(server, "told", more="peerPort: 0")
    condition = {
        "type": "metalbgp.io/Valid",
        "status": "False",
        "reason": "Invalid",
        "message": "why",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }

    async def run() -> None:
        async with Client(server.access("controller")) as client:
            patch = {"status": {"conditions": [condition]}}
            await client.patch(BGP_PEERS, "told", patch, SYSTEM, subresource="status")

    asyncio.run(run())
    assert read(server, "told", "v1beta1")["status"]["conditions"] == [condition]


def test_an_older_peer_can_be_edited_through_either_version(server: ApiServer) -> None:
    apply(server, "edited", more="holdTime: 30s")
    for version, time in (("v1beta1", "60s"), ("v1beta2", "90s")):
        words = ("patch", f"bgppeers.{version}.metallb.io", "edited", "-n", SYSTEM, "--type=merge", "-p")
        server.kubectl(*words, json.dumps({"spec": {"holdTime": time}}))
        assert read(server, "edited", "v1beta1")["spec"]["holdTime"] == time
        assert read(server, "edited", "v1beta2")["spec"]["holdTime"] == time
    assert compiled(server, "edited")[1].keepalive_time == 30


def test_timers_that_metallb_stored_as_zero_are_taken_out_as_the_page_says(server: ApiServer) -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    (words,) = re.findall(r"^\$ kubectl (patch bgppeer .*)$", page, re.M)
    apply(server, "tor", more="holdTime: 0s\n  keepaliveTime: 0s")
    assert compiled(server, "tor")[1].hold_time == 0
    server.kubectl(*shlex.split(words))
    assert compiled(server, "tor")[1].hold_time is None


HOOK = {
    "strategy": "Webhook",
    "webhook": {
        "clientConfig": {
            "service": {"name": "metallb-webhook-service", "namespace": SYSTEM, "path": "/convert"}
        },
        "conversionReviewVersions": ["v1alpha1", "v1beta1", "v1beta2"],
    },
}


def test_peers_of_a_cluster_whose_conversion_webhook_is_gone_are_readable_again(server: ApiServer) -> None:
    apply(server, "left-behind")
    crd = "crd/bgppeers.metallb.io"
    server.kubectl("patch", crd, "--type=merge", "-p", json.dumps({"spec": {"conversion": HOOK}}))
    eventually(lambda: unreadable(server, "left-behind"))
    definitions = [one for one in yaml.safe_load_all((ROOT / "k8s" / "crds.yaml").read_text()) if one]

    async def run() -> None:  # as the controller's init container does it, with its rights
        async with Client(server.access("controller")) as client:
            await crds.install(client, definitions)

    asyncio.run(run())
    assert json.loads(server.kubectl("get", crd, "-o", "json"))["spec"]["conversion"] == {"strategy": "None"}
    eventually(lambda: not unreadable(server, "left-behind"))
    assert "holdTime" not in read(server, "left-behind", "v1beta1")["spec"]
    assert compiled(server, "left-behind")[1].hold_time is None


def unreadable(server: ApiServer, name: str) -> bool:
    try:
        read(server, name, "v1beta1")
    except AssertionError as error:
        assert "conversion webhook" in str(error), error
        return True
    return False


def eventually(holds: Any) -> None:
    """The API server learns of a changed CRD by a watch of its own; each look takes kubectl's time."""
    assert any(holds() for _ in range(200))
