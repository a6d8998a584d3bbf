"""The agent's lines: what is understood, what is refused, and that nothing raises."""

import base64
import json
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.l2.standing import Duty
from metalbgp.reflex.client import May
from metalbgp.reflex.messages import (
    Ask,
    Change,
    Exclude,
    Fence,
    Full,
    Identity,
    Problem,
    decode,
    encode,
)

VIP = socket.inet_aton("192.0.2.1")
VIP6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1")


def test_duties_are_addresses_with_interfaces_and_candidates() -> None:
    first = ["192.0.2.1", None, ["n1", "n2"]]
    second = ["2001:db8::1", ["eth0", "eth1"], ["n2"], {"revertive": False, "fenced": True}]
    assert decode(encode({"add": [first, second], "remove": ["192.0.2.9"]})) == Change(
        {
            VIP: Duty(None, ("n1", "n2")),
            VIP6: Duty(frozenset({"eth0", "eth1"}), ("n2",), revertive=False, fenced=True),
        },
        (socket.inet_aton("192.0.2.9"),),
    )
    may = May(None, ("n1",), declined=True)
    assert decode(encode({"add": [may.entry("192.0.2.1")]})) == Change(
        {VIP: Duty(None, ("n1",), declined=True)}, ()
    )
    assert decode(b'{"remove": []}') == Change({}, ())
    assert decode(b'{"full": true}') == Full()
    assert decode(b'{"ask": "state"}') == Ask()


def test_a_key_that_is_no_key_is_left_out_and_never_shown() -> None:
    good, bad = base64.b64encode(b"k" * 32).decode(), base64.b64encode(b"secret").decode()
    found = decode(encode({"identity": {"node": "n1", "keys": [bad, good, 7]}}))
    assert isinstance(found, Identity)
    assert (found.node, found.keys, len(found.refused)) == ("n1", (b"k" * 32,), 2)
    assert not any(bad in one for one in found.refused)


def test_fences_and_patterns_are_read_one_by_one() -> None:
    assert decode(b'{"fence": [["192.0.2.1", 7.5], ["x", 1], 3]}') == Fence(
        {VIP: 7.5}, ("not a unicast address: 'x'", "not a fence: 3")
    )
    found = decode(b'{"exclude": ["^veth", "(", 7]}')
    assert isinstance(found, Exclude)
    assert (found.patterns, len(found.refused)) == (("^veth",), 2)


@pytest.mark.parametrize(
    "wrong",
    [
        "224.0.0.1",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
        "::ffff:192.0.2.1",
        "x",
        7,
    ],
)
def test_only_unicast_addresses_are_taken_and_one_wrong_costs_nothing(wrong: object) -> None:
    message = decode(encode({"add": [[wrong, None, ["n1"]], ["192.0.2.1", None, ["n1"]]]}))
    assert isinstance(message, Change)
    assert message.add == {VIP: Duty(None, ("n1",))}
    assert len(message.refused) == 1


@pytest.mark.parametrize(
    "line", [b"", b"\xff", b"[]", b"7", b"{}", b'{"add": 7}', b'{"ask": "name"}', b"[" * 5000]
)
def test_what_is_no_message_is_a_problem(line: bytes) -> None:
    assert isinstance(decode(line), Problem)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["192.0.2.1", "a\0b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["identity", "add", "remove", "full", "probes", "fence", "exclude", "ask", "x"]),
        json_values,
    )
)
def test_no_object_raises(message: dict[str, object]) -> None:
    decode(json.dumps(message).encode())


@given(st.binary(max_size=60))
def test_no_line_raises(line: bytes) -> None:
    decode(line)


def test_the_reflex_imports_nothing_heavy() -> None:
    """Its memory is counted on every node."""
    program = "import sys, metalbgp.reflex.process; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        (sys.executable, "-c", program), check=True, capture_output=True, text=True
    ).stdout
    assert not set(loaded.split()) & {"asyncio", "msgspec", "structlog", "ssl", "dataclasses", "inspect"}
