"""k8s/ on a real API server: schemas, defaults, refusals, columns, and who may write what.

Everything here is applied as a user would: kubectl, and the objects of docs/walkthrough unchanged.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import Conflict
from metalbgp.cluster.resources import VIRTUAL_IPS
from metalbgp.config import compiled, nodestate, objects, virtualip
from metalbgp.model.addresses import range_from_text
from metalbgp.model.configuration import BGPAdvertisement, Configuration, Peer, Pool
from metalbgp.model.report import NodeReport, SessionReport
from metalbgp.model.virtualips import Holder, VirtualIP
from tests.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "metallb-system"


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    apiserver.install()
    # The server learns of a policy by a watch of its own: wait until it refuses.
    probe = made(nodestate.encode(NodeReport(node="probe"), SYSTEM, SYSTEM))
    for _ in range(100):
        try:
            apiserver.kubectl("create", "--dry-run=server", "-f", "-", stdin=probe)
        except AssertionError:
            return apiserver
    pytest.fail("the admission policy did not come into force")


def document(kind: str, name: str, version: str = "v1beta1", **spec: Any) -> str:
    meta = {"name": name, "namespace": SYSTEM}
    return json.dumps({"apiVersion": f"metallb.io/{version}", "kind": kind, "metadata": meta, "spec": spec})


def read(server: ApiServer, kind: str, name: str) -> Any:
    return json.loads(server.kubectl("get", kind, name, "-n", SYSTEM, "-o", "json"))


def refused(server: ApiServer, *args: str, stdin: str = "") -> str:
    with pytest.raises(AssertionError) as caught:
        server.kubectl(*args, stdin=stdin)
    return str(caught.value)


def test_the_walkthrough_applies_and_its_defaults_are_filled(server: ApiServer) -> None:
    for name in ("pool", "bgp", "l2"):
        server.kubectl("apply", "-f", str(ROOT / "docs" / "walkthrough" / f"{name}.yaml"))
    pool = read(server, "ipaddresspool", "production")["spec"]
    assert pool == {"addresses": ["10.252.252.100/30"], "autoAssign": True, "avoidBuggyIPs": False}
    peer = read(server, "bgppeer", "tor")["spec"]
    assert (peer["peerPort"], peer["disableMP"], peer["dualStackAddressFamily"]) == (179, False, False)
    advertisement = read(server, "bgpadvertisement", "external")["spec"]
    assert (advertisement["aggregationLength"], advertisement["aggregationLengthV6"]) == (32, 128)
    columns = server.kubectl("get", "bgppeers", "-n", SYSTEM).splitlines()[0].split("  ")
    assert [one.strip() for one in columns if one.strip()] == [
        "NAME",
        "ADDRESS",
        "ASN",
        "BFD PROFILE",
        "MULTI HOPS",
    ]


PEER = {"myASN": 64513, "peerASN": 64512, "peerAddress": "10.0.0.1"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (document("IPAddressPool", "x"), "spec.addresses: Required"),
        (
            document("BGPPeer", "x", "v1beta2", **PEER | {"myASN": 4294967296}),
            "less than or equal to 4294967295",
        ),
        (document("BGPPeer", "x", "v1beta2", **PEER | {"peerPort": 0}), "greater than or equal to 1"),
        (document("BGPPeer", "x", "v1beta2", **PEER | {"peerPort": 16385}), "less than or equal to 16384"),
        (document("BGPPeer", "x", "v1beta2", peerAddress="10.0.0.1"), "spec.myASN: Required"),
        (document("BGPPeer", "x", "v1beta2", **PEER, dynamicASN="both"), "supported values"),
        (document("BGPPeer", "x", "v1beta2", **PEER, localASN=0), "greater than or equal to 1"),
        (document("BGPPeer", "x", "v1beta2", **PEER, connectTime="0s"), "from 1s to 65535s"),
        (document("BGPPeer", "x", "v1beta2", **PEER, connectTime="65536s"), "from 1s to 65535s"),
        (document("BGPPeer", "x", "v1beta2", **PEER, connectTime="1500ms"), "whole number of seconds"),
        (document("BGPPeer", "x", myASN=64513), "spec.peerASN: Required"),
        (document("BGPAdvertisement", "x", aggregationLength=0), "greater than or equal to 1"),
        (
            document("BGPAdvertisement", "x", aggregationLength=24, serviceSelectors=[{}]),
            "aggregationLength must be 32",
        ),
        (
            document("BGPAdvertisement", "x", aggregationLengthV6=64, serviceSelectors=[{}]),
            "aggregationLengthV6 128",
        ),
        (
            document("L2Advertisement", "x", preferredNodeSelectors=[{"weight": 101, "preference": {}}]),
            "less than or equal to 100",
        ),
        (document("L2Advertisement", "x", preferredNodeSelectors=[{"weight": 1}]), "preference: Required"),
        (document("BFDProfile", "x", receiveInterval=9), "greater than or equal to 10"),
        (document("BFDProfile", "x", detectMultiplier=256), "less than or equal to 255"),
        (document("BFDProfile", "x", minimumTtl=255), "less than or equal to 254"),
    ],
)
def test_what_the_schema_forbids_is_refused(server: ApiServer, text: str, why: str) -> None:
    assert why in refused(server, "create", "-f", "-", stdin=text)


@pytest.mark.parametrize(
    "text",
    [
        document("BGPPeer", "ok-dynamic", "v1beta2", myASN=64513, dynamicASN="external", interface="eth0"),
        document("BGPPeer", "ok-connect", "v1beta2", **PEER, connectTime="10s", holdTime="1m30s"),
        document("BGPAdvertisement", "ok-selectors", serviceSelectors=[{"matchLabels": {"a": "b"}}]),
        document("BGPAdvertisement", "ok-empty", aggregationLength=24, serviceSelectors=[]),
        document("BFDProfile", "ok-bfd", receiveInterval=10, detectMultiplier=2, echoMode=True),
        document("Community", "ok-alias", communities=[{"name": "NO_ADVERTISE", "value": "65535:65282"}]),
    ],
)
def test_what_the_schema_allows_is_taken(server: ApiServer, text: str) -> None:
    server.kubectl("create", "-f", "-", stdin=text)


def test_graceful_restart_is_fixed_only_while_both_versions_carry_it(server: ApiServer) -> None:
    def change(**fields: Any) -> tuple[str, ...]:
        return ("patch", "bgppeer", "gr", "-n", SYSTEM, "--type=merge", "-p", json.dumps({"spec": fields}))

    server.kubectl("create", "-f", "-", stdin=document("BGPPeer", "gr", "v1beta2", **PEER))
    server.kubectl(*change(enableGracefulRestart=True))
    assert "cannot be changed" in refused(server, *change(enableGracefulRestart=False))
    server.kubectl(*change(enableGracefulRestart=None))
    server.kubectl(*change(enableGracefulRestart=False))


def test_a_v1beta1_peer_is_served_as_v1beta2_and_keeps_its_missing_timers(server: ApiServer) -> None:
    selector = {"matchExpressions": [{"key": "rack", "operator": "In", "values": ["a"]}]}
    text = document("BGPPeer", "older", **PEER, nodeSelectors=[selector])
    server.kubectl("create", "-f", "-", stdin=text)
    stored = read(server, "bgppeers.v1beta2.metallb.io", "older")
    assert stored["apiVersion"] == "metallb.io/v1beta2"
    assert "holdTime" not in stored["spec"]
    raw = objects.bgp_peer(json.dumps(stored).encode())
    assert raw.spec.node_selectors is not None and raw.spec.node_selectors[0].match_expressions is not None


def test_a_crd_that_another_controller_left_with_a_webhook_is_taken_over(server: ApiServer) -> None:
    hook = {
        "strategy": "Webhook",
        "webhook": {
            "clientConfig": {"service": {"name": "webhook-service", "namespace": SYSTEM, "path": "/convert"}},
            "conversionReviewVersions": ["v1"],
        },
    }
    name = "crd/bgppeers.metallb.io"
    server.kubectl("patch", name, "--type=merge", "-p", json.dumps({"spec": {"conversion": hook}}))
    server.kubectl("apply", "-f", str(ROOT / "k8s" / "crds.yaml"))
    found = json.loads(server.kubectl("get", name, "-o", "json"))
    assert found["spec"]["conversion"] == {"strategy": "None"}


# ------------------------------------------------------------------ our own kinds

WEB = VirtualIP(
    address="10.9.0.1",
    pool="p",
    configuration=3,
    holders={
        "web/nginx": Holder(
            uid="u",
            bgp=("external",),
            policy="Local",
            serving=True,
            nodes={"n1": 2},
            terminating={"n2": 1},
            last_resort=True,
        )
    },
    candidates=("n1", "n2"),
    since="2026-01-01T00:00:00Z",
    installation=SYSTEM,
)
CONFIGURATION = Configuration(
    installation=SYSTEM,
    sequence=3,
    pools=(Pool(name="p", ranges=(range_from_text("10.9.0.1-10.9.0.9"),), labels=(("a", "b"),)),),
    peers=(Peer(name="tor", my_asn=64513, peer_asn=64512, address="10.0.0.1", hold_time=0),),
    bgp_advertisements=(BGPAdvertisement(name="a", pools=("p",), communities=((65000, 1),)),),
)
REPORT = NodeReport(
    node="n1",
    updated="2026-01-01T00:00:00Z",
    sessions=(SessionReport("tor", "10.0.0.1", 179, 64513, 64512, "Established"),),
)


def made(body: dict[str, Any]) -> str:
    return msgspec.json.encode(body).decode()


def as_user(user: str) -> str:
    return f"--token=test-token-of-{user}"


def test_our_own_objects_come_back_as_they_were_written(server: ApiServer) -> None:
    out = ("-o", "json")
    vip = virtualip.encode(WEB, SYSTEM)
    back = server.kubectl(as_user("controller"), "create", "-f", "-", *out, stdin=made(vip))
    found = virtualip.decode(back.encode())
    assert msgspec.structs.replace(found, uid="", resource_version="", created="") == WEB
    conf = compiled.encode(CONFIGURATION, SYSTEM)
    back = server.kubectl(as_user("controller"), "create", "-f", "-", *out, stdin=made(conf))
    assert compiled.decode(back.encode()) == CONFIGURATION
    state = nodestate.encode(REPORT, SYSTEM, SYSTEM)
    back = server.kubectl(as_user("speaker"), "create", "-f", "-", *out, stdin=made(state))
    assert nodestate.decode(back.encode()) == REPORT
    lines = server.kubectl("get", "vips", "10.9.0.1").splitlines()
    assert lines[1].split()[:6] == ["10.9.0.1", "10.9.0.1", "p", "bound", "web/nginx", "n1"]
    assert "1/1" in server.kubectl("get", "nodestates", "-n", SYSTEM)
    assert server.kubectl("get", "spkconf", SYSTEM, "-n", SYSTEM).splitlines()[1].split()[:2] == [SYSTEM, "3"]


def test_a_patch_of_ours_is_a_compare_and_swap(server: ApiServer) -> None:
    async def run() -> None:
        async with Client(server.access("controller")) as client:
            one = msgspec.structs.replace(WEB, address="10.9.0.2")
            first = virtualip.decode(await client.create(VIRTUAL_IPS, virtualip.encode(one)))
            left = msgspec.structs.replace(first, phase="releasing", holders={}, candidates=())
            patch = virtualip.merge_patch(first, left)
            assert patch is not None
            second = virtualip.decode(await client.patch(VIRTUAL_IPS, "10.9.0.2", patch))
            assert (second.phase, second.holders, second.candidates) == ("releasing", {}, ())
            with pytest.raises(Conflict):
                await client.patch(VIRTUAL_IPS, "10.9.0.2", patch)

    asyncio.run(run())


def test_only_the_controller_writes_claims_and_not_even_an_administrator(server: ApiServer) -> None:
    body = made(virtualip.encode(msgspec.structs.replace(WEB, address="10.9.0.3")))
    said = refused(server, as_user("admin"), "create", "-f", "-", stdin=body)
    assert "only metalbgp itself writes virtualips" in said
    server.kubectl(as_user("controller"), "create", "-f", "-", stdin=body)
    for verb in (
        ("delete", "vip", "10.9.0.3"),
        ("label", "vip", "10.9.0.3", "metalbgp.io/installation=mine", "--overwrite"),
        ("patch", "vip", "10.9.0.3", "--type=merge", "-p", '{"spec":{"pool":"q"}}'),
    ):
        assert "only metalbgp itself writes virtualips" in refused(server, *verb)
    server.kubectl(as_user("controller"), "delete", "vip", "10.9.0.3")


def test_an_address_is_claimed_once_and_never_renamed(server: ApiServer) -> None:
    body = virtualip.encode(msgspec.structs.replace(WEB, address="10.9.0.4"))
    server.kubectl(as_user("controller"), "create", "-f", "-", stdin=made(body))
    said = refused(server, as_user("controller"), "create", "-f", "-", stdin=made(body))
    assert "AlreadyExists" in said
    change = ("patch", "vip", "10.9.0.4", "--type=merge", "-p", '{"spec":{"address":"10.9.0.5"}}')
    assert "one address for ever" in refused(server, as_user("controller"), *change)
    body["metadata"]["name"] = "10.9.0.6"
    said = refused(server, as_user("controller"), "create", "-f", "-", stdin=made(body))
    assert "named after its address" in said


def test_a_claim_without_or_with_a_foreign_label_is_not_ours_to_write(server: ApiServer) -> None:
    body = virtualip.encode(msgspec.structs.replace(WEB, address="10.9.0.7", installation=""))
    said = refused(server, as_user("controller"), "create", "-f", "-", stdin=made(body))
    assert "label metalbgp.io/installation must say metallb-system" in said


def test_node_states_are_written_by_speakers_alone(server: ApiServer) -> None:
    body = made(nodestate.encode(NodeReport(node="n2"), SYSTEM, SYSTEM))
    assert "only metalbgp itself writes nodestates" in refused(server, "create", "-f", "-", stdin=body)
    assert "cannot create" in refused(server, as_user("controller"), "create", "-f", "-", stdin=body)
    server.kubectl(as_user("speaker"), "create", "-f", "-", stdin=body)


def test_a_speaker_speaks_for_its_own_node_only(server: ApiServer) -> None:
    # What the token of a Pod says since Kubernetes 1.32, said here by impersonation.
    who = (
        f"--as=system:serviceaccount:{SYSTEM}:speaker",
        f"--as-group=system:serviceaccounts:{SYSTEM}",
        "--as-user-extra=authentication.kubernetes.io/node-name=n3",
    )
    own = made(nodestate.encode(NodeReport(node="n3"), SYSTEM, SYSTEM))
    other = made(nodestate.encode(NodeReport(node="n4"), SYSTEM, SYSTEM))
    server.kubectl(*who, "create", "-f", "-", stdin=own)
    assert "of its own node only" in refused(server, *who, "create", "-f", "-", stdin=other)


@pytest.mark.parametrize(
    ("user", "verb", "what", "allowed"),
    [
        ("controller", "list", "services", True),
        ("controller", "patch", "services/status", True),
        ("controller", "patch", "services", False),
        ("controller", "delete", "crd/ipaddresspools.metallb.io", False),
        ("controller", "patch", "crd/ipaddresspools.metallb.io", True),
        ("controller", "patch", "ipaddresspools", False),
        ("controller", "create", "virtualips", True),
        ("speaker", "watch", "virtualips", True),
        ("speaker", "create", "virtualips", False),
        ("speaker", "list", "services", False),
        ("speaker", "list", "secrets", False),
        ("speaker", "get", "secret/metalbgp-speaker", True),
        ("speaker", "get", "secret/other", False),
        ("speaker", "get", "daemonset/speaker", True),
        ("nobody", "list", "virtualips", False),
    ],
)
def test_each_account_may_do_what_it_needs(
    server: ApiServer, user: str, verb: str, what: str, allowed: bool
) -> None:
    question = (as_user(user), "auth", "can-i", verb, *what.split(" "), "-n", SYSTEM, "-q")
    if what == "services/status":
        question = (
            as_user(user),
            "auth",
            "can-i",
            verb,
            "services",
            "--subresource=status",
            "-n",
            SYSTEM,
            "-q",
        )
    try:
        server.kubectl(*question)
        answer = True
    except AssertionError:
        answer = False
    assert answer is allowed


def test_deleting_the_manifest_leaves_the_pools(server: ApiServer) -> None:
    server.kubectl("create", "-f", "-", stdin=document("IPAddressPool", "kept", addresses=["10.7.0.0/24"]))
    said = refused(
        server, "delete", "-f", str(ROOT / "k8s" / "metalbgp.yaml"), "--wait=false", "--ignore-not-found"
    )
    assert said.count("Error from server") == 1
    assert "because it holds your pools" in said
    assert read(server, "ipaddresspool", "kept")["spec"]["addresses"] == ["10.7.0.0/24"]
    left = server.kubectl(
        "get", "deployments,daemonsets,clusterroles,validatingadmissionpolicies", "-A", "-o", "name"
    )
    assert "metalbgp" not in left and "controller" not in left.split("clusterrole")[0]
    server.apply_manifest()
