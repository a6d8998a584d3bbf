"""Our own objects: names, labels, what is left out, and patches that say no more than what changed."""

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from metalbgp.config import compiled, nodestate, virtualip
from metalbgp.config.jsonpatch import merge_patch
from metalbgp.model.addresses import AddressError, range_from_text
from metalbgp.model.configuration import BGPAdvertisement, Configuration, Peer, Pool
from metalbgp.model.report import DutyReport, NodeReport, RouteReport, SessionReport
from metalbgp.model.virtualips import Holder, VirtualIP

WEB = VirtualIP(
    address="10.0.0.1",
    pool="production",
    configuration=7,
    holders={
        "web/nginx": Holder(
            uid="u1", bgp=("external",), policy="Local", serving=True, nodes={"n1": 2, "n2": 1}
        )
    },
    candidates=("n2", "n1"),
    since="2026-01-01T00:00:00Z",
    uid="u",
    resource_version="41",
    installation="metallb-system",
)


def written(vip: VirtualIP) -> dict[str, Any]:
    """The object as the API server would say it back."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(virtualip.encode(vip)))
    found["metadata"] |= {"uid": vip.uid, "resourceVersion": vip.resource_version}
    return found


def test_a_virtual_ip_is_named_after_its_address_and_labelled_for_the_watches() -> None:
    found = written(WEB)
    assert found["metadata"]["name"] == "10.0.0.1"
    assert found["metadata"]["labels"] == {
        "metalbgp.io/installation": "metallb-system",
        "metalbgp.io/phase": "bound",
    }
    assert found["spec"]["services"] == "web/nginx"
    six = virtualip.encode(VirtualIP(address="2001:db8::1", pool="six"), "other")
    assert six["metadata"]["name"] == "2001-0db8-0000-0000-0000-0000-0000-0001"
    assert six["metadata"]["labels"]["metalbgp.io/installation"] == "other"


@pytest.mark.parametrize(
    "spec",
    [
        {"address": "10.0.0.2", "pool": "p", "phase": "bound"},
        {"address": "nonsense", "pool": "p", "phase": "bound"},
        {"address": "10.0.0.1", "pool": "p", "phase": "gone"},
        {"address": "10.0.0.1", "pool": "p"},
    ],
)
def test_an_object_that_contradicts_itself_is_no_virtual_ip(spec: dict[str, Any]) -> None:
    body = msgspec.json.encode({"metadata": {"name": "10.0.0.1"}, "spec": spec})
    with pytest.raises((AddressError, msgspec.ValidationError)):
        virtualip.decode(body)


def test_nothing_to_write_is_none() -> None:
    assert virtualip.merge_patch(WEB, WEB) is None


def test_a_changed_count_is_a_patch_of_that_count_alone() -> None:
    holder = replace(WEB.holders["web/nginx"], nodes={"n1": 3})
    patch = virtualip.merge_patch(WEB, replace(WEB, holders={"web/nginx": holder}))
    assert patch == {
        "metadata": {"resourceVersion": "41"},
        "spec": {"holders": {"web/nginx": {"nodes": {"n1": 3, "n2": None}}}},
    }


def test_a_phase_is_written_where_it_stands_and_where_it_is_watched() -> None:
    patch = virtualip.merge_patch(WEB, replace(WEB, phase="releasing", since="later"))
    assert patch == {
        "metadata": {"labels": {"metalbgp.io/phase": "releasing"}, "resourceVersion": "41"},
        "spec": {"phase": "releasing", "since": "later"},
    }


def test_a_holder_that_leaves_is_removed_by_null() -> None:
    shared = replace(WEB, holders={**WEB.holders, "web/other": Holder(uid="u2")})
    patch = virtualip.merge_patch(shared, WEB)
    assert patch is not None
    assert patch["spec"] == {"holders": {"web/other": None}, "services": "web/nginx"}


def test_true_is_not_one_in_a_patch() -> None:
    assert merge_patch({"a": 1, "b": 0}, {"a": True, "b": 0}) == {"a": True}


CONFIGURATION = Configuration(
    installation="metallb-system",
    sequence=3,
    pools=(Pool(name="p", ranges=(range_from_text("10.0.0.1-10.0.0.9"),), labels=(("a", "b"),)),),
    peers=(Peer(name="tor", my_asn=64513, hold_time=0),),
    bgp_advertisements=(
        BGPAdvertisement(name="a", communities=((65000, 1),), large_communities=((1, 2, 3),)),
    ),
)


def test_a_speaker_configuration_reads_like_what_people_wrote() -> None:
    found = compiled.encode(CONFIGURATION, "metallb-system")
    assert found["metadata"] == {
        "name": "metallb-system",
        "namespace": "metallb-system",
        "labels": {"metalbgp.io/installation": "metallb-system"},
    }
    assert found["spec"] == {
        "sequence": 3,
        "pools": [{"name": "p", "ranges": ["10.0.0.1-10.0.0.9"], "labels": {"a": "b"}}],
        "peers": [{"name": "tor", "myAsn": 64513, "holdTime": 0}],
        "bgpAdvertisements": [
            {"name": "a", "communities": ["65000:1"], "largeCommunities": ["1:2:3"]},
        ],
    }


def test_a_speaker_configuration_knows_its_version_in_the_cluster() -> None:
    body = compiled.encode(CONFIGURATION, "metallb-system")
    body["metadata"] |= {"uid": "u", "resourceVersion": "9", "generation": 2}
    stored = compiled.decode_stored(msgspec.json.encode(body))
    assert (stored.uid, stored.resource_version, stored.generation) == ("u", "9", 2)
    assert stored.configuration == CONFIGURATION


def test_what_a_newer_controller_writes_is_read_without_what_is_unknown() -> None:
    body = compiled.encode(CONFIGURATION, "metallb-system")
    body["spec"]["novelty"] = {"a": 1}
    body["spec"]["peers"][0]["novelField"] = True
    assert compiled.decode(msgspec.json.encode(body)) == CONFIGURATION


def test_a_change_of_one_list_is_a_patch_of_that_list() -> None:
    after = replace(CONFIGURATION, sequence=4, bgp_advertisements=())
    assert compiled.merge_patch(CONFIGURATION, after) == {"spec": {"sequence": 4, "bgpAdvertisements": None}}
    assert compiled.merge_patch(CONFIGURATION, CONFIGURATION) is None


def test_a_node_state_says_how_many_sessions_are_up() -> None:
    report = NodeReport(
        node="n1",
        sessions=(
            SessionReport("tor-a", "10.0.0.1", 179, 64513, 64512, "Established"),
            SessionReport("tor-b", "10.0.0.2", 179, 64513, 64512, "Connect"),
        ),
    )
    found = nodestate.encode(report, "metallb-system", "metallb-system")
    assert found["status"]["established"] == "1/2"
    assert nodestate.decode(msgspec.json.encode(found)) == report
    assert nodestate.merge_patch(report) == {"status": found["status"]}


def test_a_full_node_state_stays_under_64_kib() -> None:
    route = RouteReport(
        prefix="2001:db8:1111:2222:3333:4444:5555:6666/128",
        peer="p" * 63,
        state="waiting",
        since="2026-01-01T00:00:00Z",
        services=("n" * 63 + "/" + "s" * 63,) * 2,
        communities=("65000:65000",) * 10,
        why="the session is down: connection refused (nobody listens on port 179)",
    )
    duty = DutyReport(address=route.prefix, services=route.services, interfaces=("eth0",))
    session = SessionReport("p" * 63, route.prefix, 179, 1, 2, "Established", last_error="e" * 200)
    report = NodeReport(node="n1", sessions=(session,) * 32, unconfirmed=(route,) * 50, duties=(duty,) * 50)
    body = msgspec.json.encode(nodestate.encode(replace(report, duties_total=50), "metallb-system", "m"))
    assert len(body) < 64 * 1024
    found = nodestate.decode(body)
    assert len(found.sessions) == 32 and found.duties_total == 50
    assert len(found.unconfirmed) >= 30
