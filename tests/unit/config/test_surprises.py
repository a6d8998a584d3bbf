"""Legal, and surely not meant: each surprise has its field and a remedy, and silence has its reasons."""

from typing import Any

import pytest

from metalbgp.config.compile import compile as compile_objects
from metalbgp.config.objects import from_mapping, gather
from metalbgp.config.surprises import Around, Secret, of_service, surprises
from metalbgp.inventory.networks import occupied
from metalbgp.model.configuration import Configuration
from metalbgp.model.reasons import Surprise
from metalbgp.model.services import Node, Service

PEER = {"myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.1"}
NODES = (Node(name="n1", labels={"rack": "a"}, addresses=("198.18.0.9",), pod_cidrs=("10.1.0.0/24",)),)


def pool(name: str = "a", cidr: str = "198.18.0.0/24", **spec: Any) -> dict[str, Any]:
    return {"kind": "IPAddressPool", "metadata": {"name": name}, "spec": {"addresses": [cidr], **spec}}


def other(kind: str, name: str = "x", **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def told(*documents: dict[str, Any], around: Around | None = None) -> list[Surprise]:
    objects = gather([from_mapping(one) for one in documents])
    now = compile_objects(objects, Configuration("t")).configuration
    return list(surprises(objects, now, around) if around else surprises(objects, now))


L2 = other("L2Advertisement", "l2")
PINNED = {"namespaces": ["web"], "priority": 1}


@pytest.mark.parametrize(
    ("documents", "kind", "field"),
    [
        ([pool()], "IPAddressPool", "metadata.name"),
        (
            [pool(), L2, other("L2Advertisement", ipAddressPools=["b"])],
            "L2Advertisement",
            "spec.ipAddressPools",
        ),
        (
            [pool(), L2, other("L2Advertisement", ipAddressPoolSelectors=[{"matchLabels": {"a": "b"}}])],
            "L2Advertisement",
            "spec.ipAddressPoolSelectors",
        ),
        ([L2], "L2Advertisement", "spec"),
        ([pool(), other("BGPAdvertisement")], "BGPAdvertisement", "spec"),
        (
            [pool(), other("BGPAdvertisement", peers=["z"]), other("BGPPeer", **PEER)],
            "BGPAdvertisement",
            "spec.peers",
        ),
        (
            [other("Community", communities=[{"name": "n", "value": "1:2"}])],
            "Community",
            "spec.communities[0].name",
        ),
        ([other("BGPPeer", **{**PEER, "password": "p"})], "BGPPeer", "spec.password"),
        ([other("BGPPeer", **PEER, holdTime="0s", keepaliveTime="0s")], "BGPPeer", "spec.holdTime"),
        (
            [
                pool("a", serviceAllocation=PINNED),
                pool("b", "198.19.0.0/24", serviceAllocation={**PINNED, "namespaces": ["web", "shop"]}),
                L2,
            ],
            "IPAddressPool",
            "spec.serviceAllocation.priority",
        ),
    ],
)
def test_a_surprise_names_its_field_and_what_to_do(
    documents: list[dict[str, Any]], kind: str, field: str
) -> None:
    (one,) = told(*documents)
    assert (one.kind, one.field, bool(one.fix)) == (kind, field, True)
    assert one.explain().startswith(f"{kind} {one.object}: {field}: ")


@pytest.mark.parametrize(
    "documents",
    [
        [pool(), L2],
        [pool(), other("BGPAdvertisement"), other("BGPPeer", **PEER)],
        [pool(), L2, other("BGPPeer", **PEER, nodeSelectors=[{"matchLabels": {"rack": "z"}}])],
        [
            pool("a", serviceAllocation=PINNED),
            pool("b", "198.19.0.0/24", serviceAllocation={**PINNED, "priority": 2}),
            L2,
        ],
        [
            pool("a", serviceAllocation=PINNED),
            pool("b", "2001:db8::/64", serviceAllocation=PINNED),
            L2,
        ],
        [
            other("Community", communities=[{"name": "n", "value": "1:2"}]),
            pool(),
            other("BGPAdvertisement", communities=["n"]),
            other("BGPPeer", **PEER),
        ],
        [pool("a", "nonsense"), L2],
    ],
)
def test_what_is_meant_or_cannot_be_known_is_no_surprise(documents: list[dict[str, Any]]) -> None:
    assert told(*documents) == []


def test_nodes_that_nothing_selects_are_told_when_the_cluster_is_known() -> None:
    away = [{"matchLabels": {"rack": "z"}}]
    found = told(
        pool("a", "198.19.0.0/24"),
        other("BGPPeer", **PEER, nodeSelectors=away),
        other("BGPAdvertisement", nodeSelectors=away),
        other("L2Advertisement", nodeSelectors=away),
        around=Around(nodes=NODES),
    )
    assert [(one.kind, one.field) for one in found] == [
        (kind, "spec.nodeSelectors") for kind in ("BGPAdvertisement", "BGPPeer", "L2Advertisement")
    ]


def test_a_pool_over_the_clusters_own_addresses_names_each_owner_unless_a_policy_allows_it() -> None:
    around = Around(occupied=tuple(occupied(NODES, {"kubernetes": ("198.18.0.128/25",)})))
    (one,) = told(pool(), L2, around=around)
    assert one.field == "spec.addresses[0]"
    assert "Node n1, the Service network (198.18.0.128/25, ServiceCIDR kubernetes)" in one.why
    allowed = other("PoolPolicy", ipAddressPools=["a"], clusterAddresses="Allow")
    assert told(pool(), L2, allowed, around=around) == []


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        ({"s": None}, 'Secret "s" does not exist'),
        ({"s": Secret("Opaque", ("password",))}, "has type Opaque"),
        ({"s": Secret("kubernetes.io/basic-auth", ("username",))}, 'has no key "password"'),
        ({"s": Secret("kubernetes.io/basic-auth", ("password",))}, ""),
        (None, ""),
    ],
)
def test_a_secret_that_cannot_serve_is_told(secrets: dict[str, Secret | None] | None, words: str) -> None:
    found = told(other("BGPPeer", **PEER, passwordSecret={"name": "s"}), around=Around(secrets=secrets))
    assert [words in one.why for one in found] == ([True] if words else [])


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("metallb.universe.tf/address-pool", "LoadBalancer", "deprecated"),
        ("metallb.io/adress-pool", "LoadBalancer", 'did you mean "metallb.io/address-pool"?'),
        ("metallb.io/address-pool", "ClusterIP", "has type ClusterIP"),
        ("metallb.io/address-pool", "LoadBalancer", ""),
        ("metallb.io/ip-allocated-from-pool", "ClusterIP", ""),
        ("metalbgp.io/address-id", "LoadBalancer", ""),
        ("example.com/address-pool", "LoadBalancer", ""),
    ],
)
def test_annotations_that_nobody_reads_or_soon_will_not_are_told(name: str, kind: str, words: str) -> None:
    service = Service("web", "x", "", "", "", type=kind)
    found = list(of_service(service, [name]))
    assert [words in one.why for one in found] == ([True] if words else [])
    assert all(one.field == f"metadata.annotations.{name}" for one in found)
