"""config: whatever stands in an object, it ends in a value or in a reason, never in an exception."""

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from metalbgp.config import durations, objects, ranges
from metalbgp.config.compile import compile as compile_objects
from metalbgp.config.mistakes import Mistake
from metalbgp.model.addresses import range_from_text
from metalbgp.model.configuration import Configuration

LONG = bool(os.environ.get("METALBGP_LONG"))
MANY = settings(max_examples=2000 if LONG else 100, deadline=None)

TEXT = st.text(max_size=12) | st.sampled_from(
    [
        "10.0.0.0/24",
        "10.0.0.1-10.0.0.9",
        "::/0",
        "90s",
        "-1h",
        "1:1",
        "large:1:2:3",
        "10.0.0.1",
        "internal",
        "\0",
    ]
)
SELECTOR = st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": st.dictionaries(TEXT, TEXT, max_size=2),
        "matchExpressions": st.lists(
            st.fixed_dictionaries(
                {"key": TEXT, "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]) | TEXT},
                optional={"values": st.lists(TEXT, max_size=2) | st.none()},
            ),
            max_size=2,
        ),
    },
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
VALUE = st.one_of(
    JSON, TEXT, st.integers(-1, 2**32), st.lists(TEXT, max_size=3), st.lists(SELECTOR, max_size=2)
)
SPECS: dict[str, Any] = {
    "IPAddressPool": objects.IPAddressPoolSpec,
    "BGPPeer": objects.BGPPeerSpec,
    "BGPAdvertisement": objects.BGPAdvertisementSpec,
    "L2Advertisement": objects.L2AdvertisementSpec,
    "Community": objects.CommunitySpec,
    "BFDProfile": objects.BFDProfileSpec,
    "PoolPolicy": objects.PoolPolicySpec,
    "AddressReservation": objects.AddressReservationSpec,
}


@st.composite
def documents(draw: Any, kind: str) -> dict[str, Any]:
    names = [field.encode_name for field in fields(SPECS[kind])]
    spec = draw(st.dictionaries(st.sampled_from(names), VALUE, max_size=4) | JSON)
    meta = {"name": draw(st.sampled_from("ab")), "uid": draw(st.sampled_from("uv"))}
    return {"kind": kind, "metadata": meta, "spec": spec}


@pytest.mark.parametrize("kind", SPECS)
@MANY
@given(data=st.data())
def test_no_object_of_a_kind_breaks_the_compiler(kind: str, data: Any) -> None:
    found = [objects.from_mapping(data.draw(documents(kind))) for _ in range(2)]
    before = compile_objects(objects.gather(found[:1]), Configuration(installation="m"))
    result = compile_objects(objects.gather(found), before.configuration)
    for reason in (*result.invalid, *result.not_in_force):
        assert reason.explain()


@MANY
@given(TEXT | st.text("0123456789./-: abcdef", max_size=24))
def test_a_text_is_a_range_or_a_mistake_with_words(text: str) -> None:
    try:
        found = ranges.read(text)
    except Mistake as mistake:
        assert mistake.why
    else:
        assert range_from_text(str(found)) == found


@MANY
@given(TEXT | st.text("0123456789.+-nuµmsh", max_size=16))
def test_a_text_is_a_duration_or_a_mistake_with_words(text: str) -> None:
    try:
        found = durations.nanoseconds(text)
    except Mistake as mistake:
        assert mistake.why and mistake.fix
    else:
        assert -(2**63) <= found < 2**63
