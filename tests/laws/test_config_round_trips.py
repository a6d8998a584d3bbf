"""config: what is written is read back, and a patch applied to the old object is the new one."""

import os
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from metalbgp.config import compiled, nodestate, virtualip
from metalbgp.config.jsonpatch import merge_patch
from metalbgp.model.addresses import Range, from_int
from metalbgp.model.configuration import (
    BFDProfile,
    BGPAdvertisement,
    Configuration,
    L2Advertisement,
    Peer,
    Pool,
    PoolPolicy,
    Preference,
    Quota,
    Reservation,
    ServiceAllocation,
    Source,
)
from metalbgp.model.report import NodeReport
from metalbgp.model.selectors import Requirement, Selector
from metalbgp.model.virtualips import Holder, VirtualIP

LONG = bool(os.environ.get("METALBGP_LONG"))
MANY = settings(max_examples=500 if LONG else 60, deadline=None)
WORD = st.text("abcXYZ-./_09é", max_size=8)


def few(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(of, max_size=3).map(tuple)


@st.composite
def ranges(draw: Any) -> Range:
    version = draw(st.sampled_from([4, 6]))
    top = 2**32 - 1 if version == 4 else 2**128 - 1
    # Below 2**48 as IPv6 would be IPv4-mapped or shown with dots; no pool begins there.
    low = draw(st.integers(0 if version == 4 else 2**96, top))
    return Range(version=version, first=low, last=draw(st.integers(low, top)))


PAIRS = st.dictionaries(WORD, WORD, max_size=3).map(lambda found: tuple(sorted(found.items())))
COMMUNITY = st.tuples(st.integers(0, 65535), st.integers(0, 65535))
LARGE = st.tuples(*[st.integers(0, 2**32 - 1)] * 3)
SELECTOR = st.builds(
    Selector, labels=PAIRS, expressions=few(st.builds(Requirement, key=WORD, values=few(WORD)))
)
SOURCE = st.builds(Source, uid=WORD, generation=st.integers(0, 9), created=WORD)
SECONDS = st.none() | st.integers(0, 65535)
POOL = st.builds(
    Pool,
    name=WORD,
    ranges=few(ranges()),
    labels=PAIRS,
    source=SOURCE,
    auto_assign=st.booleans(),
    avoid_buggy_ips=st.booleans(),
    allocation=st.none()
    | st.builds(
        ServiceAllocation,
        priority=st.integers(0, 9),
        namespaces=few(WORD),
        namespace_selectors=few(SELECTOR),
        service_selectors=few(SELECTOR),
    ),
)
PEER = st.builds(
    Peer,
    name=WORD,
    my_asn=st.integers(0, 2**32 - 1),
    address=WORD,
    interface=WORD,
    peer_asn=st.integers(0, 2**32 - 1),
    dynamic_asn=st.sampled_from(["", "internal", "external"]),
    port=st.integers(1, 65535),
    hold_time=SECONDS,
    keepalive_time=SECONDS,
    connect_time=SECONDS,
    node_selectors=few(SELECTOR),
    has_password=st.booleans(),
    graceful_restart=st.booleans(),
    dual_stack=st.booleans(),
    source=SOURCE,
)
BGP = st.builds(
    BGPAdvertisement,
    name=WORD,
    pools=few(WORD),
    aggregation_length=st.integers(1, 32),
    aggregation_length_v6=st.integers(1, 128),
    local_preference=st.integers(0, 2**32 - 1),
    communities=few(COMMUNITY),
    large_communities=few(LARGE),
    node_selectors=few(SELECTOR),
    peers=few(WORD),
    service_selectors=few(SELECTOR),
    announce_delay=st.integers(0, 300_000),
    source=SOURCE,
)
LAYER2 = st.builds(
    L2Advertisement,
    name=WORD,
    pools=few(WORD),
    node_selectors=few(SELECTOR),
    preferences=few(st.builds(Preference, weight=st.integers(1, 100), selector=SELECTOR)),
    interfaces=few(WORD),
    service_selectors=few(SELECTOR),
    revertive=st.booleans(),
    fenced=st.booleans(),
    even=st.booleans(),
    source=SOURCE,
)
BFD = st.builds(
    BFDProfile,
    name=WORD,
    receive_interval=SECONDS,
    detect_multiplier=SECONDS,
    echo_mode=st.booleans(),
    minimum_ttl=SECONDS,
    source=SOURCE,
)
POLICY = st.builds(
    PoolPolicy,
    name=WORD,
    pools=few(WORD),
    sticky=st.booleans(),
    sticky_for=SECONDS,
    reuse_delay=st.integers(0, 99),
    reuse_early=st.booleans(),
    quotas=few(
        st.builds(Quota, limit=st.integers(0, 9), namespaces=few(WORD), namespace_selectors=few(SELECTOR))
    ),
    second_family_from=WORD,
    probe=st.booleans(),
    protect=st.booleans(),
    allow_cluster_addresses=st.booleans(),
    source=SOURCE,
)
RESERVATION = st.builds(
    Reservation,
    name=WORD,
    addresses=few(WORD),
    namespace=WORD,
    service=WORD,
    selector=st.none() | SELECTOR,
    comment=WORD,
    source=SOURCE,
)
CONFIGURATION = st.builds(
    Configuration,
    installation=WORD,
    sequence=st.integers(0, 2**53),
    pools=few(POOL),
    peers=few(PEER),
    bgp_advertisements=few(BGP),
    l2_advertisements=few(LAYER2),
    bfd_profiles=few(BFD),
    policies=few(POLICY),
    reservations=few(RESERVATION),
    ignore_exclude_label=st.booleans(),
)
HOLDER = st.builds(
    Holder,
    uid=WORD,
    created=WORD,
    bgp=few(WORD),
    l2=few(WORD),
    policy=st.sampled_from(["Cluster", "Local"]),
    serving=st.booleans(),
    nodes=st.dictionaries(WORD, st.integers(0, 99), max_size=3),
    terminating=st.dictionaries(WORD, st.integers(0, 99), max_size=3),
    last_resort=st.booleans(),
    selector=st.dictionaries(WORD, WORD, max_size=3),
    publish_not_ready=st.booleans(),
    sharing_key=WORD,
    ports=few(st.builds("{}/{}".format, st.sampled_from(["TCP", "UDP", "SCTP"]), st.integers(1, 65535))),
    address_id=WORD,
)
ADDRESS = st.one_of(
    st.integers(1, 2**32 - 1).map(lambda number: from_int(4, number)),
    st.integers(2**96, 2**128 - 1).map(lambda number: from_int(6, number)),
)
VIP = st.builds(
    VirtualIP,
    address=ADDRESS,
    pool=WORD,
    phase=st.sampled_from(["reserved", "bound", "releasing", "cooling"]),
    configuration=st.integers(0, 2**53),
    holders=st.dictionaries(WORD, HOLDER, max_size=3),
    candidates=few(WORD),
    since=WORD,
    kept_for=few(WORD),
    until=WORD,
    reservation=WORD,
    uid=WORD,
    resource_version=WORD,
    created=WORD,
    installation=WORD,
)


def apply(target: Any, patch: Any) -> Any:
    """RFC 7386, as its pseudocode says."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply(result.get(key), value)
    return result


def as_said_back(vip: VirtualIP) -> dict[str, Any]:
    found = virtualip.encode(vip)
    found["metadata"] |= {
        "uid": vip.uid,
        "resourceVersion": vip.resource_version,
        "creationTimestamp": vip.created,
    }
    return found


@MANY
@given(CONFIGURATION)
def test_a_configuration_survives_its_object(configuration: Configuration) -> None:
    body = msgspec.json.encode(compiled.encode(configuration, "metallb-system"))
    assert compiled.decode(body) == configuration


@MANY
@given(CONFIGURATION, CONFIGURATION)
def test_a_patch_of_the_old_configuration_is_the_new_one(old: Configuration, new: Configuration) -> None:
    new = replace(new, installation=old.installation)
    patch = compiled.merge_patch(old, new)
    after = apply(compiled.encode(old, "n"), patch or {})
    assert compiled.decode(msgspec.json.encode(after)) == new
    assert (patch is None) == (old == new)


@MANY
@given(VIP)
def test_a_virtual_ip_survives_its_object(vip: VirtualIP) -> None:
    assert virtualip.decode(msgspec.json.encode(as_said_back(vip))) == vip


@MANY
@given(VIP, VIP)
def test_a_patch_of_the_old_virtual_ip_is_the_new_one(old: VirtualIP, new: VirtualIP) -> None:
    # What the API server gives is the same object's; a VirtualIP never changes address or installation.
    new = replace(
        new,
        address=old.address,
        uid=old.uid,
        resource_version=old.resource_version,
        created=old.created,
        installation=old.installation,
    )
    patch = virtualip.merge_patch(old, new)
    assert (patch is None) == (old == new)
    after = apply(as_said_back(old), patch or {})
    assert virtualip.decode(msgspec.json.encode(after)) == new


@MANY
@given(st.from_type(NodeReport))
def test_a_node_state_survives_its_object(report: NodeReport) -> None:
    body = msgspec.json.encode(nodestate.encode(report, "metallb-system", "metallb-system"))
    assert nodestate.decode(body) == report


LEAF = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a"])
TREE = st.recursive(
    LEAF.filter(lambda value: value is not None),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
OBJECT = st.dictionaries(st.sampled_from("abc"), TREE, max_size=3)


@MANY
@given(OBJECT, OBJECT)
def test_a_merge_patch_makes_one_tree_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = merge_patch(old, new)
    assert apply(old, patch or {}) == new
