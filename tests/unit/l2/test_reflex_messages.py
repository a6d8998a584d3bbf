"""The agent's lines: what is understood, what is refused, and that nothing raises."""

import json
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.reflex.messages import Ask, Change, Duties, Problem, decode, encode

VIP = socket.inet_aton("192.0.2.1")
VIP6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1")


def test_duties_are_addresses_with_their_interfaces() -> None:
    line = encode({"duties": [["192.0.2.1", None], ["2001:db8::1", ["eth0", "eth1"]]]})
    assert decode(line) == Duties({VIP: None, VIP6: frozenset({"eth0", "eth1"})})


def test_a_change_adds_and_removes() -> None:
    assert decode(b'{"add": [["192.0.2.1", null]], "remove": ["2001:db8::1"]}') == Change(
        {VIP: None}, (VIP6,)
    )
    assert decode(b'{"remove": []}') == Change({}, ())
    assert decode(b'{"ask": "state"}') == Ask()


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
    message = decode(encode({"duties": [[wrong, None], ["192.0.2.1", None]]}))
    assert isinstance(message, Duties)
    assert message.duties == {VIP: None}
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


@given(st.dictionaries(st.sampled_from(["duties", "add", "remove", "ask", "x"]), json_values))
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
