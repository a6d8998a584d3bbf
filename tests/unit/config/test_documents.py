"""YAML is read as kubectl reads it, and every field knows its line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.config.documents import NotYaml, documents

VECTORS = json.loads((Path(__file__).parent / "vectors" / "yaml.json").read_text())


def read(text: str) -> Any:
    found = documents(text)
    return found[0].body if found else None


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: repr(row["text"])[:40])
def test_a_text_is_read_as_by_the_library_of_kubectl(row: dict[str, Any]) -> None:
    wanted = row.get("json")
    if row.get("error") or not isinstance(wanted, dict | None):
        with pytest.raises(NotYaml):
            documents(row["text"])
    else:
        assert as_double(read(row["text"])) == as_double(wanted)


def as_double(value: Any) -> Any:
    """Numbers beyond 64 bits are doubles for both; only their digits are written differently."""
    if isinstance(value, dict):
        return {key: as_double(inner) for key, inner in value.items()}
    return float(value) if isinstance(value, int) and abs(value) >= 2**64 else value


POOL = """\
# a comment
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: a
spec:
  addresses:
  - 192.0.2.0/30
  - "192.0.2.8/30"
---
---
apiVersion: v1
kind: List
items:
- apiVersion: metallb.io/v1beta1
  kind: Community
  metadata: {name: b}
  spec:
    communities: [{name: x, value: 64512:30}]
"""


def test_every_field_knows_its_line() -> None:
    pool, community = documents(POOL, "f.yaml")
    assert (pool.kind, pool.group, pool.name, pool.line("spec.addresses[1]")) == (
        "IPAddressPool",
        "metallb.io",
        "a",
        9,
    )
    assert pool.line("spec.addresses[7].x") == 7, "the nearest that is there"
    assert pool.line("nothing") == 2
    assert (community.kind, community.first, community.line("spec.communities[0].value")) == (
        "Community",
        15,
        19,
    )
    assert community.body["spec"]["communities"][0]["value"] == "64512:30"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [", 3),
        ("a: 1\n\tb: 2", 2),
        ("a: 1\nb: 1\na: 2", 3),
        ("a: 1\n---\n- 1", 3),
        ("a: 1\nb: \x07", 2),
    ],
)
def test_what_cannot_be_read_names_the_line(text: str, line: int) -> None:
    with pytest.raises(NotYaml) as told:
        documents(text)
    assert abs(told.value.line - line) <= 1
    assert told.value.why


def test_an_alias_that_contains_itself_or_explodes_ends() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{now}: &{now} [{','.join([f'*{before}'] * 9)}]\n"
        for before, now in zip("abcdefg", "bcdefgh", strict=True)
    )
    for text in ("a: &a\n  b: *a\n", bomb):
        with pytest.raises(NotYaml):
            documents(text)


@pytest.mark.parametrize(
    "text",
    [
        'v: "\\UFFFFFFFF"',
        'v: "\\ud800"',
        f"%YAML {'9' * 5000}.1\n---\na: 1",
        f"v: {'[' * 3000}",
        "v: !!binary ä",
        "v: .nan",
        "? [a]\n: b",
        "~: b",
        "<<: 1",
        "- 1",
        "v\x00: 1",
    ],
)
def test_what_json_cannot_hold_is_refused_as_not_yaml(text: str) -> None:
    with pytest.raises(NotYaml):
        documents(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("&a y", True), ("&a 0o17", 15), ("!!str 1", "1"), ("!mine 1", "1"), ("9" * 500, "9" * 500)],
)
def test_an_anchor_changes_no_value_and_a_tag_of_others_makes_nothing(text: str, value: Any) -> None:
    assert read(f"v: {text}") == {"v": value}


def test_lines_are_those_of_an_editor() -> None:
    (one,) = documents("\ufeffa: 1\r\nb: 'x\u2028y'\r\nc: 2\r\n")
    assert one.line("c") == 3


LETTERS = "ab:-?[]{},&*!|>'\"%@#\n\t 01._~<é\x00\\uU\r\u2028"


@given(st.one_of(st.text(st.sampled_from(LETTERS), max_size=60), st.text(max_size=60)))
def test_arbitrary_text_is_read_or_refused_with_a_line_of_it(text: str) -> None:
    last = text.count("\n") + 1
    try:
        found = documents(text)
    except NotYaml as told:
        assert 1 <= told.line <= last
    else:
        for one in found:
            assert all(1 <= line <= last for line in (one.first, *one.lines.values()))
            json.dumps(one.body).encode()
