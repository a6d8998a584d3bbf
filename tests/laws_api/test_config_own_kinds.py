"""PoolPolicies, AddressReservations and conditions on a real API server: what is refused, shown and written.

In:  YAML as docs/addresses.md shows it; status patches as the controller makes them, with its rights.
Out: the laws in the tests' names. Elsewhere: what the objects become is tests/unit/config/test_policies.py.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import ClusterError
from metalbgp.cluster.resources import ADDRESS_RESERVATIONS, IP_ADDRESS_POOLS, Resource
from metalbgp.config import virtualip
from metalbgp.controller.tell import KINDS
from metalbgp.model.virtualips import Holder, Phase, VirtualIP
from tests.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "metallb-system"
SHOP = {"namespace": "web", "name": "shop"}
CONDITION = {
    "type": "metalbgp.io/Valid",
    "status": "False",
    "reason": "Invalid",
    "message": "why",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
SPECS: dict[str, dict[str, Any]] = {
    "IPAddressPool": {"addresses": ["10.66.0.0/24"]},
    "BGPPeer": {"myASN": 64513, "peerASN": 64512, "peerAddress": "10.0.0.1"},
    "BGPAdvertisement": {},
    "L2Advertisement": {},
    "Community": {},
    "BFDProfile": {},
    "PoolPolicy": {"ipAddressPools": ["production"]},
    "AddressReservation": {"addresses": ["198.18.1.7"], "service": SHOP},
}


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> Iterator[ApiServer]:
    apiserver.install()
    yield apiserver
    for kind in KINDS.values():
        words = ("delete", f"{kind.plural}.{kind.group}", "-n", SYSTEM, "-l", "of=these-tests")
        apiserver.kubectl(*words)


def document(kind: str, name: str, **spec: Any) -> str:
    resource = KINDS[kind]
    meta = {"name": name, "namespace": SYSTEM, "labels": {"of": "these-tests"}}
    return json.dumps({"apiVersion": resource.api_version, "kind": kind, "metadata": meta, "spec": spec})


def made(server: ApiServer, kind: str, name: str, **spec: Any) -> dict[str, Any]:
    text = server.kubectl("create", "-f", "-", "-o", "json", stdin=document(kind, name, **spec))
    found: dict[str, Any] = json.loads(text)
    return found


def patched(server: ApiServer, resource: Resource, name: str, status: dict[str, Any]) -> dict[str, Any]:
    """A merge patch of the status with the controller's own rights; the status that came of it."""

    async def run() -> bytes:
        async with Client(server.access("controller")) as client:
            return await client.patch(resource, name, {"status": status}, SYSTEM, subresource="status")

    found: dict[str, Any] = json.loads(asyncio.run(run()))["status"]
    return found


@pytest.mark.parametrize(
    ("kind", "spec", "why"),
    [
        ("PoolPolicy", {}, "spec.ipAddressPools: Required"),
        ("PoolPolicy", {"ipAddressPools": []}, "should have at least 1 items"),
        ("PoolPolicy", {"ipAddressPools": ["a", "a"]}, "Duplicate value"),
        ("PoolPolicy", {"ipAddressPools": ["a"], "sticky": {"for": "0s"}}, "must be more than 0s"),
        ("PoolPolicy", {"ipAddressPools": ["a"], "sticky": {"for": "1d"}}, "sticky.for"),
        ("PoolPolicy", {"ipAddressPools": ["a"], "reuseDelay": "-1s"}, "must not be negative"),
        ("PoolPolicy", {"ipAddressPools": ["a"], "whenExhausted": "reuse"}, 'supported values: "Refuse"'),
        ("PoolPolicy", {"ipAddressPools": ["a"], "probe": "Always"}, 'supported values: "Never"'),
        ("PoolPolicy", {"ipAddressPools": ["a"], "protection": "All"}, 'supported values: "None"'),
        ("PoolPolicy", {"ipAddressPools": ["a"], "clusterAddresses": "No"}, 'supported values: "Refuse"'),
        ("PoolPolicy", {"ipAddressPools": ["a"], "quotas": [{}]}, "quotas[0].limit: Required"),
        ("PoolPolicy", {"ipAddressPools": ["a"], "quotas": [{"limit": -1}]}, "greater than or equal to 0"),
        ("AddressReservation", {"service": SHOP}, "spec.addresses: Required"),
        ("AddressReservation", {"addresses": ["198.18.1.7"]}, "give exactly one"),
        (
            "AddressReservation",
            {"addresses": ["198.18.1.7"], "service": SHOP, "serviceSelector": {}},
            "give exactly one",
        ),
        (
            "AddressReservation",
            {"addresses": ["198.18.1.7"], "service": {"name": "shop"}},
            "needs service.namespace",
        ),
    ],
)
def test_what_the_schema_of_our_kinds_forbids_is_refused(
    server: ApiServer, kind: str, spec: dict[str, Any], why: str
) -> None:
    with pytest.raises(AssertionError) as caught:
        server.kubectl("create", "-f", "-", stdin=document(kind, "x", **spec))
    assert why in str(caught.value)


def test_what_a_policy_leaves_out_is_filled_with_what_metallb_does(server: ApiServer) -> None:
    spec = made(server, "PoolPolicy", "plain", ipAddressPools=["production"])["spec"]
    assert spec == {
        "ipAddressPools": ["production"],
        "whenExhausted": "Refuse",
        "probe": "Never",
        "protection": "None",
        "clusterAddresses": "Refuse",
    }


def test_kubectl_shows_what_a_policy_says(server: ApiServer) -> None:
    made(
        server,
        "PoolPolicy",
        "shown",
        ipAddressPools=["production"],
        sticky={"for": "24h"},
        reuseDelay="10m",
        probe="BeforeUse",
    )
    head, line = server.kubectl("get", "pp", "shown", "-n", SYSTEM).splitlines()
    assert head.split("  ")[0] == "NAME" and "REUSE DELAY" in head
    assert line.split()[:5] == ["shown", '["production"]', '{"for":"24h"}', "10m", "BeforeUse"]


def test_kubectl_shows_for_whom_a_reservation_is_and_who_holds_it(server: ApiServer) -> None:
    made(server, "AddressReservation", "dns", addresses=["198.18.1.8"], service=SHOP, comment="DNS")
    status = {"for": "web/shop", "holder": "web/other", "conditions": [CONDITION]}
    assert patched(server, ADDRESS_RESERVATIONS, "dns", status) == status
    _, line = server.kubectl("get", "ar", "dns", "-n", SYSTEM).splitlines()
    assert line.split()[:5] == ["dns", '["198.18.1.8"]', "web/shop", "web/other", "DNS"]


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_the_controller_writes_a_condition_on_every_configuration_object(
    server: ApiServer, kind: str
) -> None:
    assert set(SPECS) == set(KINDS)
    made(server, kind, "told", **SPECS[kind])
    assert patched(server, KINDS[kind], "told", {"conditions": [CONDITION]}) == {"conditions": [CONDITION]}
    spec = {"spec": {"x": 1}}

    async def run() -> None:
        async with Client(server.access("controller")) as client:
            await client.patch(KINDS[kind], "told", spec, SYSTEM)

    with pytest.raises(ClusterError, match="cannot patch"):
        asyncio.run(run())


def test_counters_and_conditions_of_a_pool_stand_with_and_without_each_other(server: ApiServer) -> None:
    counters = {"assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": 255, "availableIPv6": 2**63 - 1}
    for name, first, second in (
        ("counted-first", counters, {"conditions": [CONDITION]}),
        ("told-first", {"conditions": [CONDITION]}, counters),
    ):
        made(server, "IPAddressPool", name, addresses=["10.67.0.0/24"])
        assert patched(server, IP_ADDRESS_POOLS, name, first) == first
        assert patched(server, IP_ADDRESS_POOLS, name, second) == counters | {"conditions": [CONDITION]}


def test_people_may_delete_an_address_that_cools_down_and_no_other(server: ApiServer) -> None:
    def vip(address: str, phase: Phase) -> None:
        holders = {"web/shop": Holder(uid="u")} if phase == "bound" else {}
        one = VirtualIP(address=address, pool="p", phase=phase, holders=holders, installation=SYSTEM)
        body = msgspec.json.encode(virtualip.encode(one)).decode()
        server.kubectl(CONTROLLER, "create", "-f", "-", stdin=body)

    vip("10.68.0.1", "cooling")
    server.kubectl("delete", "vip", "10.68.0.1")
    phases: tuple[Phase, ...] = ("reserved", "bound", "releasing")
    for at, phase in enumerate(phases):
        vip(f"10.68.0.{at + 2}", phase)
        eventually_refused(server, f"10.68.0.{at + 2}")
        server.kubectl(CONTROLLER, "delete", "vip", f"10.68.0.{at + 2}")
    vip("10.68.0.9", "cooling")
    with pytest.raises(AssertionError, match="only metalbgp itself writes"):
        server.kubectl("label", "vip", "10.68.0.9", "mine=yes")
    server.kubectl(CONTROLLER, "delete", "vip", "10.68.0.9")


CONTROLLER = "--token=test-token-of-controller"


def eventually_refused(server: ApiServer, address: str) -> None:
    """The server learns of a policy by a watch of its own; a deletion that is only tried shows it."""
    for _ in range(100):
        try:
            server.kubectl("delete", "vip", address, "--dry-run=server")
        except AssertionError as error:
            assert "only metalbgp itself writes virtualips" in str(error)
            break
    with pytest.raises(AssertionError, match="only metalbgp itself writes virtualips"):
        server.kubectl("delete", "vip", address)


PAGE = (ROOT / "docs" / "addresses.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_what_the_page_of_addresses_shows_applies(server: ApiServer, text: str) -> None:
    made = [one for one in yaml.safe_load_all(text) if one["kind"] != "Service"]
    for one in made:
        server.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(one))
    assert made or "address-id" in text


def test_the_page_of_addresses_names_every_field_of_a_policy_and_its_default() -> None:
    crd = next(
        one
        for one in yaml.safe_load_all((ROOT / "k8s" / "crds.yaml").read_text())
        if one and one["metadata"]["name"] == "poolpolicies.metalbgp.io"
    )
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    listed = dict(re.findall(r"^\| `(\w+)(?:\[\])?` \| (.*?) \|", PAGE, re.M))
    fields = root["properties"]["spec"]["properties"]
    assert set(listed) == set(fields)
    for name, field in fields.items():
        assert "default" not in field or listed[name] == f"`{field['default']}`"
