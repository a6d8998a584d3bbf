"""`metalbgp validate`: each mistake on its line, with the reason and the remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.world import SYSTEM, World, node

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
    path = tmp_path / "f.yaml"
    path.write_text(text)
    result = (world or World()).run("validate", str(path), *options)
    return result.exit_code, [line.replace(f"{path}:", "") for line in result.stdout.splitlines()]


def test_what_is_right_is_said_in_one_line(tmp_path: Path) -> None:
    assert said(tmp_path, POOL + L2 + PEER) == (0, ["ok: 3 objects and nothing wrong"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            POOL.replace("198.51.100.0/24", "198.51.100.7"),
            'bad  6: IPAddressPool production: spec.addresses[0]: "198.51.100.7" is one address, not a CIDR '
            "or a range. Remedy: write 198.51.100.7/32",
        ),
        (
            POOL + "  autoAsign: false\n",
            'bad  7: IPAddressPool production: spec.autoAsign: there is no field "autoAsign" (did you mean '
            '"autoAssign"?). Remedy: the API server drops it, or refuses the object if asked to be strict',
        ),
        (
            PEER + '  peerPort: "179"\n',
            "bad  9: BGPPeer tor: spec.peerPort: Expected `int | null`, got `str`",
        ),
        (
            POOL.replace("v1beta1", "v1"),
            "bad  1: IPAddressPool production: apiVersion: IPAddressPool has no version v1. "
            "Remedy: write metallb.io/v1beta1",
        ),
        (
            POOL + "---\n" + POOL.replace("production", "other"),
            'bad  6: IPAddressPool production: spec.addresses[0]: CIDR "198.51.100.0/24" in pool '
            '"production" overlaps with CIDR "198.51.100.0/24" in pool "other". Remedy: take the shared '
            'addresses out of "production"',
        ),
        (
            POOL + SERVICE,
            "bad  13: Service default/web: metadata.annotations.metallb.io/address-pool: pool "
            '"prodution" does not exist (did you mean "production"?). Remedy: name one of production',
        ),
        ("a: 1\na: 2\n", 'bad  2: file : YAML: the key "a" stands there twice'),
    ],
)
def test_a_mistake_stands_on_its_line(tmp_path: Path, text: str, line: str) -> None:
    code, lines = said(tmp_path, text)
    assert code == 1
    assert lines == [line]


def test_every_file_of_a_folder_is_judged_together(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.yaml").write_text(POOL)
    (tmp_path / "b" / "c.yml").write_text(L2.replace("ipAddressPools: [production]", "ipAddressPools: [x]"))
    (tmp_path / "notes.txt").write_text("{")
    result = World().run("validate", str(tmp_path), "--strict")
    assert result.exit_code == 1
    assert "b/c.yml:5: L2Advertisement flat: spec.ipAddressPools: " in result.stdout
    assert "a.yaml:3: IPAddressPool production: metadata.name: no BGPAdvertisement" in result.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (POOL, "its addresses are announced nowhere"),
        (POOL + L2 + PEER + "  password: x\n", "readable by everybody"),
        (
            POOL + L2 + SERVICE.replace("metallb.io/address-pool: prodution", "metallb.universe.tf/x: z"),
            "deprecated",
        ),
        (POOL + L2 + PEER.replace("v1beta2", "v1beta1"), "v1beta1 is deprecated"),
        (POOL + L2.replace("{name: flat}", "{name: flat, namespace: b}"), "in several namespaces"),
    ],
)
def test_what_is_legal_and_surely_not_meant_is_said_when_asked(tmp_path: Path, text: str, words: str) -> None:
    assert said(tmp_path, text)[0] == 0
    code, lines = said(tmp_path, text, "--strict")
    assert code == 1
    assert any(words in line and line.startswith("warn") for line in lines)


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    _, lines = said(
        tmp_path, PEER + "  password: topsecret\n  passwordSecret: {name: s}\n", "--strict", "-o", "json"
    )
    assert lines
    assert "topsecret" not in "".join(lines)


def stored(
    kind: str, name: str, spec: dict[str, Any], created: str = "2026-01-01T00:00:00Z"
) -> dict[str, Any]:
    about = {"name": name, "namespace": SYSTEM, "uid": name, "creationTimestamp": created}
    return {"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": about, "spec": spec}


def test_files_are_laid_over_the_cluster_and_its_own_troubles_are_not_theirs(tmp_path: Path) -> None:
    world = World()
    world.objects["ipaddresspools"] = [
        stored("IPAddressPool", "old", {"addresses": ["198.51.100.128/25"]}),
        stored("IPAddressPool", "broken", {"addresses": ["nonsense"]}),
    ]
    code, lines = said(tmp_path, POOL, "--cluster", world=world)
    assert code == 1
    assert len(lines) == 1
    assert 'overlaps with CIDR "198.51.100.128/25" in pool "old"' in lines[0]
    alone = world.run("validate", "--cluster")
    assert (alone.exit_code, "cluster: IPAddressPool broken" in alone.stdout) == (1, True)


def test_the_clusters_own_addresses_and_nodes_are_known_with_cluster(tmp_path: Path) -> None:
    world = World()
    world.objects["nodes"] = [node("n1", rack="a")]
    text = POOL.replace("198.51.100.0/24", "10.252.252.0/24") + L2 + PEER
    text += "  nodeSelectors: [{matchLabels: {rack: z}}]\n"
    code, lines = said(tmp_path, text, "--cluster", "--strict", world=world)
    assert code == 1
    assert any("overlaps with Node n1" in line for line in lines)
    assert any("it selects none of the 1 nodes" in line for line in lines)


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    assert World().run("validate").exit_code == 2
    assert World().run("validate", str(tmp_path / "absent.yaml")).exit_code == 2
    assert World().run("validate", str(tmp_path)).exit_code == 2


def test_standard_input_and_json_are_read(tmp_path: Path) -> None:
    result = World().run(
        "validate", "-", "-o", "json", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": []})
    )
    assert result.exit_code == 0
    assert json.loads(result.stdout)["items"] == []
