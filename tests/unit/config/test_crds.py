"""k8s/: the schemas keep up with model/, and the manifest keeps its promises (docs/decisions/0003)."""

import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import yaml
from msgspec import Struct
from msgspec.structs import fields

from metalbgp.cli import checks, removal
from metalbgp.config import objects
from metalbgp.config.compile import compile as compile_objects
from metalbgp.config.compiled import SPECIAL
from metalbgp.config.orders import OrderSpec
from metalbgp.config.written import camel
from metalbgp.controller.tell import KINDS
from metalbgp.model.configuration import Configuration, PoolPolicy
from metalbgp.model.report import NodeReport
from metalbgp.model.virtualips import Holder

ROOT = Path(__file__).resolve().parents[3]
CRDS = {
    document["metadata"]["name"]: document
    for document in yaml.safe_load_all((ROOT / "k8s" / "crds.yaml").read_text())
    if document
}
MANIFEST = [one for one in yaml.safe_load_all((ROOT / "k8s" / "metalbgp.yaml").read_text()) if one]
TEXT = {
    "ranges",
    "communities",
    "large_communities",
    "extended_communities",
}  # what compiled.py writes as texts


def schema(crd: str, version: str, *path: str) -> dict[str, Any]:
    versions = {one["name"]: one for one in CRDS[crd]["spec"]["versions"]}
    found: dict[str, Any] = versions[version]["schema"]["openAPIV3Schema"]
    for key in path:
        found = found["properties"][key]
    return found


def differences(kind: Any, found: Mapping[str, Any], where: str, *, texts: bool) -> Iterator[str]:
    """Where a schema does not hold what the model writes."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kind = next(one for one in args if one is not type(None))
        yield from differences(kind, found, where, texts=texts)
    elif isinstance(kind, type) and issubclass(kind, Struct):
        hints = get_type_hints(kind)
        for field in fields(kind):
            if kind is Configuration and field.name == "installation":  # it is the object's name
                continue
            name, inner = camel(field.name), f"{where}.{camel(field.name)}"
            if name not in found.get("properties", {}):
                yield f"{inner} is missing"
            elif texts and field.name in SPECIAL:
                want = "array" if field.name in TEXT else "object"
                if found["properties"][name]["type"] != want:
                    yield f"{inner} is no {want}"
            else:
                yield from differences(hints[field.name], found["properties"][name], inner, texts=texts)
    elif origin is tuple:
        yield from differences(args[0], found.get("items", {}), f"{where}[]", texts=texts)
    elif origin is not None and origin is not typing.Literal and issubclass(origin, Mapping):
        yield from differences(args[1], found.get("additionalProperties", {}), f"{where}{{}}", texts=texts)
    else:
        word = {str: "string", int: "integer", bool: "boolean"}.get(kind, "string")
        if found.get("type") != word:
            yield f"{where} is {found.get('type')} and not {word}"


@pytest.mark.parametrize(
    ("kind", "found", "texts"),
    [
        (Configuration, schema("speakerconfigurations.metalbgp.io", "v1alpha1", "spec"), True),
        (NodeReport, schema("nodestates.metalbgp.io", "v1alpha1", "status"), False),
        (
            Holder,
            schema("virtualips.metalbgp.io", "v1alpha1", "spec", "holders")["additionalProperties"],
            True,
        ),
    ],
)
def test_the_schema_of_our_own_kinds_holds_every_field_of_the_model(
    kind: Any, found: dict[str, Any], texts: bool
) -> None:
    assert list(differences(kind, found, kind.__name__, texts=texts)) == []


@pytest.mark.parametrize(
    ("crd", "version", "kind"),
    [
        ("ipaddresspools.metallb.io", "v1beta1", objects.IPAddressPoolSpec),
        ("bgppeers.metallb.io", "v1beta2", objects.BGPPeerSpec),
        ("bgpadvertisements.metallb.io", "v1beta1", objects.BGPAdvertisementSpec),
        ("l2advertisements.metallb.io", "v1beta1", objects.L2AdvertisementSpec),
        ("communities.metallb.io", "v1beta1", objects.CommunitySpec),
        ("bfdprofiles.metallb.io", "v1beta1", objects.BFDProfileSpec),
        ("poolpolicies.metalbgp.io", "v1alpha1", objects.PoolPolicySpec),
        ("addressreservations.metalbgp.io", "v1alpha1", objects.AddressReservationSpec),
        ("speakerorders.metalbgp.io", "v1alpha1", OrderSpec),
    ],
)
def test_what_users_may_write_is_exactly_what_is_read(crd: str, version: str, kind: type[Struct]) -> None:
    read = {field.encode_name for field in fields(kind)}
    assert read == set(schema(crd, version, "spec")["properties"])


def test_an_older_peer_has_only_fields_of_the_newer_one() -> None:
    # Conversion is None: a field of another name would be lost on the way.
    old = set(schema("bgppeers.metallb.io", "v1beta1", "spec")["properties"])
    assert old < set(schema("bgppeers.metallb.io", "v1beta2", "spec")["properties"])


WRITTEN_BY_US = {
    "virtualips.metalbgp.io",
    "speakerconfigurations.metalbgp.io",
    "nodestates.metalbgp.io",
}


def test_what_users_write_has_a_status_subresource_and_what_we_write_goes_in_one_request() -> None:
    for name, crd in CRDS.items():
        for version in crd["spec"]["versions"]:
            # What became of an order stands in the NodeStates, one writer each.
            writes = name not in WRITTEN_BY_US and name != "speakerorders.metalbgp.io"
            assert ("subresources" in version) is writes, name


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_configuration_kind_can_say_what_is_wrong_with_it(kind: str) -> None:
    resource = KINDS[kind]
    versions = CRDS[f"{resource.plural}.{resource.group}"]["spec"]["versions"]
    for version in versions:
        status = version["schema"]["openAPIV3Schema"]["properties"]["status"]
        assert status["properties"]["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
        assert "required" not in status


def test_every_word_that_the_schema_of_a_policy_allows_is_read() -> None:
    spec = schema("poolpolicies.metalbgp.io", "v1alpha1", "spec")["properties"]
    for name, field in spec.items():
        for word in field.get("enum", ()):
            made = {"metadata": {"name": "p"}, "spec": {"ipAddressPools": ["a"], name: word}}
            raw = objects.from_mapping({"kind": "PoolPolicy", **made})
            result = compile_objects(objects.gather([raw]), Configuration(installation="x"))
            (policy,) = result.configuration.policies
            without = policy == PoolPolicy(name="p", pools=("a",))
            assert without is (word == field["default"]), (name, word)


# ------------------------------------------------------------------ the manifest


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [one for one in MANIFEST if one["kind"] == kind]


def test_no_crd_is_in_the_manifest_and_the_namespace_stands_first() -> None:
    assert not of_kind("CustomResourceDefinition")
    assert MANIFEST[0]["kind"] == "Namespace"
    assert "metalbgp-keeps-pools" in [
        one["metadata"]["name"] for one in of_kind("ValidatingAdmissionPolicyBinding")
    ]


def test_one_image_runs_everything() -> None:
    pods = [one["spec"]["template"]["spec"] for one in of_kind("Deployment") + of_kind("DaemonSet")]
    containers = [one for pod in pods for one in pod["containers"] + pod.get("initContainers", [])]
    assert len({one["image"] for one in containers}) == 1
    for one in containers:
        security = one["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
        assert security["capabilities"]["drop"] == ["ALL"]
        assert "limits" not in one["resources"]


def test_the_init_container_may_touch_exactly_our_crds() -> None:
    (role,) = [one for one in of_kind("ClusterRole") if one["metadata"]["name"] == "metalbgp-controller"]
    rules = [one for one in role["rules"] if one["apiGroups"] == ["apiextensions.k8s.io"]]
    assert {name for one in rules for name in one.get("resourceNames", [])} == set(CRDS)
    assert not any({"delete", "*"} & set(one["verbs"]) for one in rules)


def test_speakers_read_one_secret_and_of_pods_only_what_they_watch() -> None:
    roles = [one for one in of_kind("ClusterRole") + of_kind("Role") if "speaker" in one["metadata"]["name"]]
    rules = [rule for one in roles for rule in one["rules"]]
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert not resources & {"services", "endpointslices", "endpoints", "namespaces"}
    (pods,) = [rule for rule in rules if "pods" in rule["resources"]]
    assert set(pods["verbs"]) == {"list", "watch"}  # of their own node, by a field selector
    (secrets,) = [rule for rule in rules if rule["resources"] == ["secrets"]]
    assert secrets["resourceNames"] == ["metalbgp-speaker"]


def test_a_viewer_reads_no_password() -> None:
    (role,) = [one for one in of_kind("ClusterRole") if one["metadata"]["name"] == "metalbgp-viewer"]
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert not resources & {"secrets", "bgppeers", "*"}
    assert all(set(rule["verbs"]) == {"get", "list", "watch"} for rule in role["rules"])


def test_no_role_has_a_wildcard() -> None:
    for one in of_kind("ClusterRole") + of_kind("Role"):
        for rule in one["rules"]:
            assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"], one["metadata"]["name"]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "walkthrough").glob("*.yaml")), ids=lambda path: path.name
)
def test_the_files_of_the_walkthrough_compile(path: Path) -> None:
    documents = [one for one in yaml.safe_load_all(path.read_text()) if one]
    ours = [objects.from_mapping(one) for one in documents if one["apiVersion"].startswith("metallb.io/")]
    assert not compile_objects(objects.gather(ours), Configuration(installation="metallb-system")).invalid


def test_the_command_line_knows_every_crd() -> None:
    assert set(CRDS) == checks.KINDS
    assert {one.kind for one in removal.USERS} == {*KINDS, "SpeakerOrder"}
