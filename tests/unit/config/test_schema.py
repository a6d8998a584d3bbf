"""What the API server's strict validation would refuse, with the field and the near miss."""

from typing import Any

import pytest

from metalbgp.cli.validate import schemas
from metalbgp.config.objects import READERS
from metalbgp.config.schema import Fault, faults

RULES = schemas()
FULL: dict[str, dict[str, Any]] = {
    "IPAddressPool": {"addresses": ["192.0.2.0/24"], "serviceAllocation": {"priority": 1}},
    "BGPPeer": {"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1", "nodeSelectors": [{"matchLabels": {}}]},
    "PoolPolicy": {"ipAddressPools": ["a"], "quotas": [{"limit": 1}]},
}


def judged(kind: str, version: str, spec: Any, **head: Any) -> list[Fault]:
    body = {"apiVersion": "x", "kind": kind, "metadata": {"name": "x"}, "spec": spec, **head}
    return list(faults(body, RULES[kind][version]))


def test_every_kind_that_users_write_has_its_schema() -> None:
    assert set(READERS) <= set(RULES)


@pytest.mark.parametrize(
    ("kind", "version", "empty"),
    [
        ("IPAddressPool", "v1beta1", "autoAssign"),
        ("BGPPeer", "v1beta2", "routerID"),
        ("PoolPolicy", "v1alpha1", "probe"),
    ],
)
def test_what_is_right_has_no_fault_and_null_is_nothing(kind: str, version: str, empty: str) -> None:
    assert judged(kind, version, FULL[kind]) == []
    assert judged(kind, version, {**FULL[kind], empty: None}) == []


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"addresses": ["a"], "autoasign": True}, {"spec.autoasign": "spec.autoAssign"}),
        ({"addresses": ["a"], "AUTOASSIGN": True}, {"spec.AUTOASSIGN": "spec.autoAssign"}),
        ({"addresses": ["a"], "zzz": True}, {"spec.zzz": ""}),
        ({"addresses": "a"}, {"spec.addresses": ""}),
        ({"addresses": [1]}, {"spec.addresses[0]": ""}),
        ({"addresses": [None]}, {"spec.addresses[0]": ""}),
        ({"addresses": ["a"], "autoAssign": "true"}, {"spec.autoAssign": ""}),
        ({}, {"spec.addresses": ""}),
        (
            {"addresses": ["a"], "serviceAllocation": {"serviceSelectors": [{"matchLabels": {"a": 1}}]}},
            {"spec.serviceAllocation.serviceSelectors[0].matchLabels.a": ""},
        ),
        ("text", {"spec": ""}),
        (None, {"spec": ""}),
    ],
)
def test_a_fault_names_its_field_and_the_one_that_was_meant(spec: Any, fields: dict[str, str]) -> None:
    found = judged("IPAddressPool", "v1beta1", spec)
    assert {one.field: one.meant for one in found} == fields
    assert all(one.hard for one in found)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("peerPort", 16385, "16385 is not from 1 to 16384"),
        ("peerPort", True, "true is not a whole number"),
        ("peerPort", "179", '"179" is not a whole number'),
        ("dynamicASN", "internl", 'is not one of internal, external (did you mean "internal"?)'),
        ("ebgpMultiHop", 1, "1 is not true or false"),
        ("nodeSelectors", {}, "an object is not a list"),
    ],
)
def test_a_value_that_the_schema_forbids_is_told_in_words(field: str, value: Any, words: str) -> None:
    (one,) = judged("BGPPeer", "v1beta2", {**FULL["BGPPeer"], field: value})
    assert (one.field, words in one.why) == (f"spec.{field}", True)


def test_a_password_of_the_wrong_type_is_not_repeated() -> None:
    (one,) = judged("BGPPeer", "v1beta2", {**FULL["BGPPeer"], "password": 4711})
    assert "4711" not in one.why + one.fix


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        (None, "metadata"),
        ({}, "metadata.name"),
        ({"name": "A_b"}, "metadata.name"),
        ({"name": "x", "lables": {}}, "metadata.lables"),
        ({"name": "x", "labels": {"a": True}}, "metadata.labels.a"),
    ],
)
def test_metadata_is_judged_as_well(metadata: Any, field: str) -> None:
    (one,) = judged("IPAddressPool", "v1beta1", FULL["IPAddressPool"], metadata=metadata)
    assert one.field == field


def test_a_misspelt_field_of_the_top_is_told_with_what_it_was_to_be() -> None:
    body = {"apiVersion": "x", "kind": "x", "metadata": {"name": "x"}, "sepc": FULL["IPAddressPool"]}
    found = {one.field: one.meant for one in faults(body, RULES["IPAddressPool"]["v1beta1"])}
    assert found["sepc"] == "spec"
