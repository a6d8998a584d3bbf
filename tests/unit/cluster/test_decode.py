"""What of Kubernetes' JSON decides something, and what odd JSON costs."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.cluster import decode
from metalbgp.model.services import Endpoint, Port, Rank


def service(spec: Any = None, status: Any = None, **metadata: Any) -> bytes:
    about = {"name": "web", "namespace": "default", "uid": "u1", "resourceVersion": "7"} | metadata
    return json.dumps({"metadata": about, "spec": spec or {}, "status": status or {}}).encode()


def test_a_service_keeps_what_decides() -> None:
    found = decode.service(
        service(
            {
                "type": "LoadBalancer",
                "loadBalancerClass": "metalbgp.io/lb",
                "loadBalancerIP": "192.0.2.9",
                "ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}],
                "clusterIP": "10.0.0.1",
                "clusterIPs": ["10.0.0.1", "fd00::1"],
                "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "PreferDualStack",
                "externalTrafficPolicy": "Local",
                "publishNotReadyAddresses": True,
                "selector": {"app": "web"},
            },
            {"loadBalancer": {"ingress": [{"ip": "192.0.2.9", "ipMode": "VIP"}]}},
            creationTimestamp="2026-01-01T00:00:00Z",
        )
    )
    assert found.key == "default/web"
    assert found.ports == (Port("TCP", 80), Port("UDP", 53))
    assert found.cluster_ips == ("10.0.0.1", "fd00::1")
    assert (found.local, found.publish_not_ready, found.foreign_ingress) == (True, True, False)
    assert found.ingress == ("192.0.2.9",)
    assert found.load_balancer_ip == "192.0.2.9"


@pytest.mark.parametrize(
    ("notes", "pool"),
    [
        ({"metallb.io/address-pool": "new"}, "new"),
        ({"metallb.universe.tf/address-pool": "old"}, "old"),
        ({"metallb.io/address-pool": "", "metallb.universe.tf/address-pool": "old"}, ""),
    ],
)
def test_the_current_annotation_wins_even_when_empty(notes: dict[str, str], pool: str) -> None:
    assert decode.service(service(annotations=notes)).requested_pool == pool


def test_requested_addresses_tell_absent_from_empty() -> None:
    assert decode.service(service()).requested_addresses is None
    assert decode.service(service(annotations={"metallb.io/loadBalancerIPs": ""})).requested_addresses == ""


def test_a_headless_service_has_no_cluster_ip() -> None:
    assert decode.service(service({"clusterIP": "None", "clusterIPs": ["None"]})).cluster_ips == ()


def test_an_ingress_that_we_never_write_is_foreign() -> None:
    status = {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}
    assert decode.service(service(status=status)).foreign_ingress


def test_a_service_of_another_type_is_none_of_our_business() -> None:
    assert decode.load_balancer(service({"type": "ClusterIP"})) is None


@pytest.mark.parametrize(
    ("conditions", "rank"),
    [
        (None, Rank.READY),
        ({}, Rank.READY),
        ({"ready": True}, Rank.READY),
        ({"ready": None}, Rank.READY),
        ({"ready": False}, Rank.NONE),
        ({"ready": True, "serving": True, "terminating": False}, Rank.READY),
        ({"ready": False, "serving": True, "terminating": True}, Rank.TERMINATING),
        ({"ready": False, "serving": True}, Rank.TERMINATING),  # contradicts itself: second best
        (
            {"ready": True, "serving": False, "terminating": True},
            Rank.TERMINATING,
        ),  # publishNotReadyAddresses
        ({"ready": False, "serving": False}, Rank.NONE),
        ({"ready": False, "serving": False, "terminating": True}, Rank.NONE),
    ],
)
def test_an_endpoint_is_ready_or_terminates_or_does_not_serve(conditions: Any, rank: Rank) -> None:
    entry = {"addresses": ["10.1.0.1"], "nodeName": "n1", "conditions": conditions}
    raw = {
        "metadata": {"name": "web-x", "namespace": "default", "labels": {decode.SERVICE_NAME: "web"}},
        "endpoints": [entry],
    }
    found = decode.endpoint_slice(json.dumps(raw).encode())
    assert found is not None
    assert found.service_key == "default/web"
    assert found.endpoints == (Endpoint(("10.1.0.1",), "n1", rank),)


def test_host_names_are_no_endpoints() -> None:
    labels = {decode.SERVICE_NAME: "web"}
    raw = {
        "metadata": {"name": "x", "namespace": "default", "labels": labels},
        "addressType": "FQDN",
        "endpoints": [{"addresses": ["web.example.org"], "nodeName": "n1"}],
    }
    found = decode.endpoint_slice(json.dumps(raw).encode())
    assert found is not None and found.endpoints == ()


def test_a_slice_may_have_null_endpoints_or_no_service() -> None:
    about = {"name": "x", "namespace": "default"}
    labelled = about | {"labels": {decode.SERVICE_NAME: "web"}}
    empty = decode.endpoint_slice(json.dumps({"metadata": labelled, "endpoints": None}).encode())
    assert empty is not None
    assert empty.endpoints == ()
    assert decode.endpoint_slice(json.dumps({"metadata": about}).encode()) is None


def test_a_node_keeps_labels_addresses_and_its_network() -> None:
    raw = {
        "metadata": {"name": "n1", "labels": {"rack": "1"}},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "False"},
                {"type": "NetworkUnavailable", "status": "True"},
            ],
            "addresses": [
                {"type": "Hostname", "address": "n1"},
                {"type": "InternalIP", "address": "192.0.2.1"},
            ],
            "images": [{"names": ["x"], "sizeBytes": 1}],
        },
    }
    found = decode.node(json.dumps(raw).encode())
    assert found.network_unavailable
    assert found.addresses == ("192.0.2.1",)


def test_a_secret_never_shows_its_words() -> None:
    raw = {
        "metadata": {"name": "s", "namespace": "m", "uid": "u"},
        "type": "kubernetes.io/basic-auth",
        "data": {"password": "aHVudGVyMg=="},
    }
    found = decode.secret(json.dumps(raw).encode())
    assert found.data["password"] == b"hunter2"
    assert "hunter2" not in repr(found)
    assert "aHVudGVyMg" not in f"{found}"


def test_equal_labels_are_one_object() -> None:
    one, other = (decode.service(service(labels={"a": "b", "c": "d"})) for _ in range(2))
    assert one.labels is other.labels


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "status", "name", "endpoints", "ports"]), inner
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "read", [decode.service, decode.endpoint_slice, decode.node, decode.namespace, decode.pod, decode.secret]
)
@given(tree=JSON)
def test_any_json_is_a_value_or_one_kind_of_error(read: Any, tree: Any) -> None:
    try:
        read(json.dumps(tree).encode())
    except msgspec.ValidationError:
        return
