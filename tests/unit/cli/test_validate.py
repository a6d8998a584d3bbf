"""`metalbgp validate`: each mistake on its line, with the reason and the remedy."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metalbgp.cli.judging import Known, judge
from metalbgp.cli.manifests import Manifests
from metalbgp.cli.validate import schemas
from metalbgp.config.documents import documents
from metalbgp.config.objects import READERS
from tests.unit.cli.world import World

POOL = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: production}
spec:
  addresses:
  - 198.51.100.0/24
"""
L2 = """\
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: flat}
spec: {ipAddressPools: [production]}
"""
PEER = """\
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: tor}
spec:
  myASN: 64512
  peerASN: 64513
  peerAddress: 192.0.2.1
"""
SERVICE = """\
---
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations:
    metallb.io/address-pool: prodution
spec: {type: LoadBalancer, ports: [{port: 80}]}
"""


def said(tmp_path: Path, text: str, *options: str, world: World | None = None) -> tuple[int, list[str]]:
    """The exit code, and the lines without their file and without the summary."""
    path = tmp_path / "f.yaml"
    path.write_text(text)
    result = (world or World()).run("validate", str(path), *options)
    lines = [line.replace(f"{path}:", "") for line in result.stdout.splitlines()]
    return result.exit_code, lines[:-1]


def asks(name: str, pool: str = "", **more: Any) -> str:
    notes = {"metallb.io/address-pool": pool} if pool else {}
    notes |= more.pop("annotations", {})
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "web", "annotations": notes},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], **more},
    }
    return f"---\n{json.dumps(body)}\n"


def test_what_is_right_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(POOL + L2 + PEER)
    result = World().run("validate", str(tmp_path / "f.yaml"))
    assert (result.exit_code, result.stdout) == (0, "3 objects: nothing wrong\n")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            POOL.replace("198.51.100.0/24", "198.51.100.7"),
            [
                '6: IPAddressPool production: spec.addresses[0]: "198.51.100.7" is one address, '
                "not a CIDR or a range",
                "    remedy: write 198.51.100.7/32",
            ],
        ),
        (
            POOL + "  autoAsign: false\n",
            [
                "7: IPAddressPool production: spec.autoAsign: there is no such field "
                '(did you mean "autoAssign"?)'
            ],
        ),
        (
            POOL.replace("addresses", "adresses"),
            [
                "5: IPAddressPool production: spec.adresses: there is no such field "
                '(did you mean "addresses"?)'
            ],
        ),
        (
            PEER + '  peerPort: "179"\n',
            [
                '9: BGPPeer tor: spec.peerPort: "179" is not a whole number',
                "    remedy: write it without quotes: 179",
            ],
        ),
        (PEER.replace("  myASN: 64512\n", ""), ["5: BGPPeer tor: spec.myASN: is missing"]),
        (
            POOL.replace("v1beta1", "v1"),
            [
                "1: IPAddressPool production: apiVersion: there is no IPAddressPool in metallb.io/v1",
                "    remedy: write apiVersion: metallb.io/v1beta1",
            ],
        ),
        (
            POOL.replace("metallb.io", "metalb.io"),
            [
                '1: IPAddressPool production: apiVersion: nobody knows the group "metalb.io" (did you mean '
                '"metallb.io"?)',
                "    remedy: write apiVersion: metallb.io/v1beta1",
            ],
        ),
        (
            POOL.replace("IPAddressPool", "IPAdressPool"),
            [
                "2: IPAdressPool production: kind: there is no such kind in metallb.io "
                '(did you mean "IPAddressPool"?)'
            ],
        ),
        (
            POOL + "---\n" + POOL.replace("production", "other"),
            [
                '6: IPAddressPool production: spec.addresses[0]: CIDR "198.51.100.0/24" in pool "production" '
                'overlaps with CIDR "198.51.100.0/24" in pool "other"',
                '    remedy: take the shared addresses out of "production"',
            ],
        ),
        (
            POOL + SERVICE,
            [
                "13: Service default/web: metadata.annotations.metallb.io/address-pool: "
                'pool "prodution" does not exist (did you mean "production"?)',
                "    remedy: name one of: production",
            ],
        ),
        ("a: 1\na: 2\n", ['2: the key "a" stands there twice']),
        ("a: 1\n", ["1: object ?: kind: is missing: a document is an object with apiVersion and kind"]),
    ],
)
def test_a_mistake_stands_on_its_line(tmp_path: Path, text: str, lines: list[str]) -> None:
    assert said(tmp_path, text) == (1, lines)


def test_of_two_documents_for_one_object_the_later_is_told(tmp_path: Path) -> None:
    code, lines = said(tmp_path, POOL + "---\n" + POOL)
    assert (code, lines[0].split(": ")[0], "the last one counts" in lines[0]) == (1, "10", True)


# ------------------------------------------------------------------ Services


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (asks("a", annotations={"metallb.io/loadBalancerIPs": "198.51.100.300"}), "is not an IP address"),
        (asks("a", annotations={"metallb.io/loadBalancerIPs": "203.0.113.1"}), "is not in any pool"),
        (asks("a", ipFamilyPolicy="RequireDualStack"), "has no IPv6 addresses"),
        (
            asks("a", annotations={"metallb.io/loadBalancerIPs": "2001:db8::1"}, ipFamilies=["IPv4"]),
            "needs IPv4",
        ),
        (
            asks(
                "a", annotations={"metallb.io/loadBalancerIPs": "198.51.100.1"}, loadBalancerIP="198.51.100.1"
            ),
            "spec.loadBalancerIP: ",
        ),
        (
            asks("a", loadBalancerIP="198.51.100.1") + asks("b", loadBalancerIP="198.51.100.1"),
            "is held by web/a",
        ),
    ],
)
def test_a_service_that_would_get_no_address_is_told_with_its_field(
    tmp_path: Path, text: str, words: str
) -> None:
    code, lines = said(tmp_path, POOL + text)
    assert (code, len([line for line in lines if "remedy" not in line])) == (1, 1)
    assert words in lines[0]


def test_services_that_share_or_leave_enough_are_all_right(tmp_path: Path) -> None:
    key = {"metallb.io/allow-shared-ip": "x"}
    one = asks("a", loadBalancerIP="198.51.100.1", annotations=key)
    other = asks("b", loadBalancerIP="198.51.100.1", annotations=key, ports=[{"port": 81}])
    assert said(tmp_path, POOL + one + other + asks("c")) == (0, [])


def test_a_full_pool_is_told_of_who_comes_last(tmp_path: Path) -> None:
    small = POOL.replace("/24", "/32")
    code, lines = said(tmp_path, small + asks("first") + asks("second"))
    assert code == 1
    assert "Service web/second: spec: no pool can serve it" in lines[0]


def test_a_broken_pool_is_told_once_and_its_services_are_not_blamed(tmp_path: Path) -> None:
    broken = POOL.replace("198.51.100.0/24", "nonsense")
    _, lines = said(
        tmp_path, broken + L2 + asks("a", "production") + asks("b", loadBalancerIP="198.51.100.1"), "--strict"
    )
    assert [line for line in lines if "remedy" not in line] == [lines[0]]
    assert "spec.addresses[0]" in lines[0]


def test_an_advertisement_that_is_wrong_blames_no_pool_and_a_wrong_name_is_told_once(tmp_path: Path) -> None:
    wrong = L2.replace("{ipAddressPools: [production]}", "{ipAddressPools: [production, production]}")
    assert [line for line in said(tmp_path, POOL + wrong, "--strict")[1] if "warning" in line] == []
    other = L2.replace("flat", "other").replace("production", "prodution")
    told = said(tmp_path, POOL + L2 + other, "--strict")[1]
    assert [line for line in told if "warning" in line] == [
        "16: warning: L2Advertisement other: spec.ipAddressPools: "
        'IPAddressPool "prodution" does not exist (did you mean "production"?)'
    ]


def test_labels_of_namespaces_are_read_from_the_files_or_nothing_is_said(tmp_path: Path) -> None:
    pinned = (
        POOL + "  serviceAllocation: {namespaceSelectors: [{matchLabels: {team: a}}]}\n  autoAssign: true\n"
    )
    space = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: web, labels: {team: %s}}\n"
    assert said(tmp_path, pinned + asks("a", "production"))[0] == 0
    assert said(tmp_path, pinned + space % "a" + asks("a", "production"))[0] == 0
    assert said(tmp_path, pinned + space % "b" + asks("a", "production"))[0] == 1


# ------------------------------------------------------------------ --strict


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (POOL, "no advertisement selects this pool"),
        (POOL + L2 + PEER + "  password: x\n", "stands in clear"),
        (
            POOL + L2 + asks("a", annotations={"metallb.universe.tf/allow-shared-ip": "z"}),
            "the prefix metallb.universe.tf is deprecated",
        ),
        (
            POOL + L2 + asks("a", annotations={"metallb.io/loadBalancerIP": "z"}),
            '(did you mean "metallb.io/loadB',
        ),
        (POOL + L2 + asks("a", "production", type="ClusterIP"), "the Service has type ClusterIP"),
        (POOL + L2 + PEER.replace("v1beta2", "v1beta1"), "v1beta1 is deprecated"),
        (POOL + L2.replace("[production]", "[prodution]"), '(did you mean "production"?)'),
    ],
)
def test_what_is_legal_and_surely_not_meant_is_said_when_asked(tmp_path: Path, text: str, words: str) -> None:
    assert said(tmp_path, text) == (0, [])
    code, lines = said(tmp_path, text, "--strict")
    assert code == 1
    assert any(words in line and ": warning: " in line for line in lines)


def test_objects_of_two_namespaces_are_a_warning_that_fails_only_when_strict(tmp_path: Path) -> None:
    text = POOL.replace("{name: production}", "{name: production, namespace: a}")
    text += L2.replace("{name: flat}", "{name: flat, namespace: b}")
    code, lines = said(tmp_path, text)
    assert (code, "10: warning: L2Advertisement flat: metadata.namespace: is b" in lines[0]) == (0, True)
    assert said(tmp_path, text, "--strict")[0] == 1


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    for value in ("topsecret", "47110815"):
        text = PEER + f"  password: {value}\n  passwordSecret: {{name: s}}\n"
        for options in (("--strict", "-o", "json"), ("--strict",)):
            _, lines = said(tmp_path, text, *options)
            assert lines
            assert value not in "".join(lines)


# ------------------------------------------------------------------ files


def test_every_file_of_a_folder_is_judged_together(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.yaml").write_text("[")
    (tmp_path / "a.yaml").write_text(POOL)
    (tmp_path / "values.yaml").write_text("replicas: 3\n")
    (tmp_path / "b" / "c.yml").write_text(L2.replace("[production]", "[production, x]"))
    (tmp_path / "notes.txt").write_text("{")
    result = World().run("validate", str(tmp_path), str(tmp_path / "a.yaml"), "--strict")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{tmp_path}/b/c.yml:5: warning: L2Advertisement flat: spec.ipAddressPools: "
        'IPAddressPool "x" does not exist',
        "2 objects: nothing wrong, 1 warning",
    ]


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    assert World().run("validate").exit_code == 2
    assert World().run("validate", str(tmp_path / "absent.yaml")).exit_code == 2
    assert World().run("validate", str(tmp_path)).exit_code == 2
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4\n")
    assert World().run("validate", str(tmp_path / "latin.yaml")).exit_code == 2


def test_standard_input_and_json_are_read() -> None:
    body = {"apiVersion": "v1", "kind": "List", "items": [json.loads(asks("a").removeprefix("---\n"))]}
    result = World().run("validate", "-", "-o", "json", input=json.dumps(body))
    assert (result.exit_code, json.loads(result.stdout)["items"]) == (0, [])
    bad = World().run("validate", "-", "-o", "json", input=POOL.replace("addresses", "adresses"))
    assert json.loads(bad.stdout)["items"][0] == {
        "file": "-",
        "line": 5,
        "verdict": "bad",
        "kind": "IPAddressPool",
        "object": "production",
        "field": "spec.adresses",
        "reason": "Invalid",
        "message": 'there is no such field (did you mean "addresses"?)',
        "remedy": "",
    }


# ------------------------------------------------------------------ laws

VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("198.51.100.0/24")
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    (
        *("addresses", "autoAssign", "serviceAllocation", "ipAddressPools", "peers", "communities", "quotas"),
        *("nodeSelectors", "myASN", "peerASN", "peerAddress", "passwordSecret", "holdTime", "sticky"),
        *("service", "serviceSelector", "type", "ports", "clusterIPs", "ipFamilies", "loadBalancerIP"),
    )
)
RULES = schemas()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    kind=st.sampled_from([*READERS, "Service", "Namespace"]),
    metadata=st.one_of(
        VALUES, st.fixed_dictionaries({"name": VALUES, "annotations": VALUES, "labels": VALUES})
    ),
    spec=st.one_of(VALUES, st.dictionaries(FIELDS, VALUES, max_size=5)),
)
def test_whatever_stands_in_a_document_it_is_judged_and_nothing_raises(
    kind: str, metadata: Any, spec: Any
) -> None:
    group = {"Service": "v1", "Namespace": "v1"}.get(kind) or next(
        f"{group}/{version}"
        for group, versions in (("metallb.io", RULES[kind]), ("metalbgp.io", RULES[kind]))
        for version in versions
        if (kind in ("PoolPolicy", "AddressReservation")) == (group == "metalbgp.io")
    )
    text = json.dumps({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec}, allow_nan=True)
    try:
        read = documents(text.replace("NaN", "0").replace("Infinity", "1"), "f")
    except ValueError:
        return
    found = judge(Manifests([*read, *documents(POOL, "g")], RULES), Known())
    for one in (*found.findings, *found.surprises):
        assert one.line >= 1
        assert one.lines()


def test_labels_of_a_namespace_that_are_no_map_end_nothing(tmp_path: Path) -> None:
    """Found by the test above."""
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: b}\n"
    assert said(tmp_path, text) == (0, [])
