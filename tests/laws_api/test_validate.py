"""`metalbgp validate` and the API server are of one mind: about YAML, about shapes, about what stands there.

In:  YAML as a user would write it, given to kubectl (strict, dry run) and to validate.
Out: the laws in the tests' names. Elsewhere: the words of validate are tests/unit/cli/test_validate.py.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metalbgp.cli.validate import schemas
from metalbgp.config.documents import NotYaml, documents
from metalbgp.config.schema import faults
from tests.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "metallb-system"
HEAD = "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x, namespace: metallb-system}}\nspec:\n"
POOL = HEAD.format(version="metallb.io/v1beta1", kind="IPAddressPool")
PEER = HEAD.format(version="metallb.io/v1beta2", kind="BGPPeer") + "  myASN: 64512\n"
OLD_PEER = HEAD.format(version="metallb.io/v1beta1", kind="BGPPeer")
BGP = HEAD.format(version="metallb.io/v1beta1", kind="BGPAdvertisement")
L2 = HEAD.format(version="metallb.io/v1beta1", kind="L2Advertisement")
BFD = HEAD.format(version="metallb.io/v1beta1", kind="BFDProfile")
COMMUNITY = HEAD.format(version="metallb.io/v1beta1", kind="Community")
POLICY = HEAD.format(version="metalbgp.io/v1alpha1", kind="PoolPolicy")
RESERVATION = HEAD.format(version="metalbgp.io/v1alpha1", kind="AddressReservation")

TEXTS = [
    POOL + "  addresses: [192.0.2.0/24]\nstatus: {}\n",
    POOL.replace("name: x", "name: x, creationTimestamp: null") + "  addresses: [192.0.2.0/24]\n",
    POOL + "  addresses: [192.0.2.0/24]\n  serviceAllocation: null\n",
    POOL.rstrip("\n") + " {}\n",
    POOL + "  addresses: [192.0.2.0/24]\n",
    POOL + "  adresses: [192.0.2.0/24]\n",
    POOL + "  addresses: 192.0.2.0/24\n",
    POOL + "  addresses: [7]\n",
    POOL + "  addresses: [192.0.2.0/24]\n  autoAssign: yes\n",
    POOL + '  addresses: [192.0.2.0/24]\n  autoAssign: "yes"\n',
    POOL + "  addresses: [192.0.2.0/24]\n  autoAssign: nope\n",
    POOL + "  addresses: [192.0.2.0/24]\n  autoAssign: 1\n",
    POOL + "  addresses: [192.0.2.0/24]\n  avoidBuggyIps: true\n",
    POOL + "  addresses: [192.0.2.0/24]\n  serviceAllocation: {priority: 0x10}\n",
    POOL + "  addresses: [192.0.2.0/24]\n  serviceAllocation: {priority: 1.5}\n",
    POOL + "  addresses: [192.0.2.0/24]\n  serviceAllocation: {priority: 1e1}\n",
    POOL + "  addresses: [192.0.2.0/24]\n  serviceAllocation: {namespaces: [on]}\n",
    POOL + "  addresses: [192.0.2.0/24]\n  serviceAllocation: []\n",
    POOL + "  addresses: [192.0.2.0/24]\n  serviceAllocation: {serviceSelectors: [{matchLabels: {a: 1}}]}\n",
    POOL + "  addresses: [192.0.2.0/24]\n  serviceAllocation: {serviceSelectors: [{matchLabel: {a: b}}]}\n",
    POOL
    + "  addresses: [192.0.2.0/24]\n  serviceAllocation: {serviceSelectors: [{matchExpressions: [{}]}]}\n",
    POOL.replace("name: x", "nam: x") + "  addresses: [192.0.2.0/24]\n",
    POOL.replace("name: x", "name: X_y") + "  addresses: [192.0.2.0/24]\n",
    POOL.replace("name: x", "name: x, lables: {a: b}") + "  addresses: [192.0.2.0/24]\n",
    POOL.replace("name: x", "name: x, labels: {a: 1}") + "  addresses: [192.0.2.0/24]\n",
    POOL.replace("name: x", "name: x, annotations: {a: yes}") + "  addresses: [192.0.2.0/24]\n",
    POOL.replace("spec:", "sepc:") + "  addresses: [192.0.2.0/24]\n",
    PEER + "  peerASN: 64513\n  peerAddress: 192.0.2.1\n",
    PEER + "  peerASN: 64513\n  peerAddress: 192.0.2.1\n  peerPort: 16385\n",
    PEER + "  peerASN: 64513\n  peerAddress: 192.0.2.1\n  peerPort: 0\n",
    PEER + "  peerASN: 4294967296\n  peerAddress: 192.0.2.1\n",
    PEER + "  peerASN: 0o17\n  peerAddress: 192.0.2.1\n",
    PEER + "  dynamicASN: inside\n  peerAddress: 192.0.2.1\n",
    PEER + "  peerASN: 64513\n  peerAddress: 192.0.2.1\n  password: 1234\n",
    PEER + "  peerASN: 64513\n  peerAddress: 192.0.2.1\n  passwordSecret: mine\n",
    PEER + "  peerASN: 64513\n  peerAddress: 192.0.2.1\n  holdTime: 90\n",
    PEER.replace("  myASN: 64512\n", "  peerASN: 64513\n  peerAddress: 192.0.2.1\n"),
    OLD_PEER + "  myASN: 64512\n  peerASN: 64513\n  peerAddress: 192.0.2.1\n  peerPort: 0\n",
    OLD_PEER + "  myASN: 64512\n  peerASN: 64513\n  peerAddress: 192.0.2.1\n  vrf: red\n",
    OLD_PEER + "  myASN: 64512\n  peerAddress: 192.0.2.1\n",
    BGP + "  communities: [64512:30, large:1:2:3]\n",
    BGP + "  communities: [64512]\n",
    BGP + "  aggregationLength: 0\n",
    BGP + "  aggregationLength: 24\n  aggregationLenghtV6: 64\n",
    BGP + "  localPref: 4294967296\n",
    L2 + "  preferredNodeSelectors: [{weight: 0, preference: {}}]\n",
    L2 + "  preferredNodeSelectors: [{preference: {}}]\n",
    L2 + "  preferredNodeSelectors: [{weight: 100}]\n",
    BFD + "  detectMultiplier: 1\n",
    BFD + "  receiveInterval: 9\n",
    BFD + "  minimumTtl: 254\n",
    COMMUNITY + "  communities: [{name: a, value: 1:2}]\n",
    COMMUNITY + "  communities: [{name: a, values: [1:2]}]\n",
    POLICY + "  ipAddressPools: [a]\n  whenExhausted: Maybe\n",
    POLICY + "  sticky: {}\n",
    POLICY + "  ipAddressPools: []\n",
    POLICY + "  ipAddressPools: [a]\n  quotas: [{namespaces: [a]}]\n",
    POLICY + "  ipAddressPools: [a]\n  quotas: [{limit: -1}]\n",
    RESERVATION + "  addresses: [192.0.2.1]\n  service: {namespace: a, name: b, port: 1}\n",
    RESERVATION + "  addresses: []\n  service: {namespace: a, name: b}\n",
]
UNREADABLE = ["a: 1\n\tb: 2\n", "a: [1\n", "- 1\n"]


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> Iterator[ApiServer]:
    apiserver.install()
    yield apiserver
    kinds = "ipaddresspools,bgppeers.metallb.io,l2advertisements"
    apiserver.kubectl("delete", kinds, "-n", SYSTEM, "--all")


def refused(server: ApiServer, text: str) -> str:
    """What kubectl or the API server says against it; "" if nothing."""
    try:
        server.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    except AssertionError as error:
        return str(error)
    return ""


RULES = schemas()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_the_api_server_refuses_what_validate_calls_wrong_in_shape_and_nothing_else(
    server: ApiServer, text: str
) -> None:
    try:
        (one,) = documents(text)
        found = [f"{fault.field}: {fault.why}" for fault in faults(one.body, RULES[one.kind][one.version])]
    except NotYaml as error:
        found = [error.why]
    said = refused(server, text)
    assert bool(found) == bool(said), (found, said)


@pytest.mark.parametrize("text", UNREADABLE)
def test_kubectl_reads_none_of_what_validate_cannot_read(server: ApiServer, text: str) -> None:
    with pytest.raises(NotYaml):
        documents(text)
    assert refused(server, text)


def test_a_key_that_stands_twice_is_wrong_though_kubectl_takes_the_last_in_silence(server: ApiServer) -> None:
    text = POOL + "  addresses: [192.0.2.0/24]\n  addresses: [192.0.2.0/25]\n"
    made = server.kubectl(
        "create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-", stdin=text
    )
    assert json.loads(made)["spec"]["addresses"] == ["192.0.2.0/25"]
    with pytest.raises(NotYaml, match="stands there twice"):
        documents(text)


def validate(server: ApiServer, *words: str, stdin: str = "") -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "metalbgp.cli", "validate", "-o", "json", *words]
    command += ["--kubeconfig", str(server.kubeconfig)]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def test_files_are_judged_with_what_stands_on_the_server(server: ApiServer) -> None:
    server.kubectl(
        "create", "-f", "-", stdin=POOL.replace("name: x", "name: standing") + "  addresses: [10.96.0.0/30]\n"
    )
    server.kubectl("create", "-f", "-", stdin=L2.replace("name: x", "name: all") + "  ipAddressPools: []\n")
    server.kubectl(
        "create",
        "secret",
        "generic",
        "for-tor",
        "-n",
        SYSTEM,
        "--from-literal=password=hush",
    )
    text = POOL + "  addresses: [10.96.0.0/31]\n---\n" + PEER
    text += "  peerASN: 64513\n  peerAddress: 192.0.2.1\n  passwordSecret: {name: for-tor}\n"
    code, said, _ = validate(server, "-", "--cluster", "--strict", stdin=text)
    told = [(one["line"], one["object"], one["field"], one["message"]) for one in said["items"]]
    assert code == 1
    assert (5, "x", "spec.addresses[0]") in [one[:3] for one in told]
    assert any('in pool "standing"' in message for *_, message in told)
    assert any(message.startswith('Secret "for-tor" has type Opaque') for *_, message in told)
    assert "hush" not in json.dumps(said)
    assert all(name == "x" for _, name, *_ in told), "what stood there before is not the files'"

    code, said, _ = validate(server, "--cluster", "--strict")
    overlap = [one["message"] for one in said["items"] if one["object"] == "standing"]
    assert (code, len(overlap)) == (1, 1)
    assert overlap[0].startswith("overlaps with the Service network (10.96.0.0/16")
    server.kubectl("delete", "secret", "for-tor", "-n", SYSTEM)
