"""The parent's list of BFD sessions: what is understood, what is refused by its key; nothing raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.bfd.values import SHAKY, STEADY, Wanted
from metalbgp.reflex.messages import decode, encode
from metalbgp.reflex.sessions import MOST, Sessions

PEER = {"key": "k", "peer": "192.0.2.1"}


def read(*entries: Any) -> Sessions:
    message = decode(encode({"bfd": list(entries)}))
    assert isinstance(message, Sessions)
    return message


def test_a_session_has_its_fields_and_defaults() -> None:
    assert read(PEER).wanted == (Wanted("k", "192.0.2.1"),)
    everything = {
        "key": "%eth0",
        "peer": "fe80:0::1",
        "local": "fe80::0002",
        "interface": "eth0",
        "multihop": False,
        "receive": 10,
        "transmit": 60000,
        "multiplier": 255,
        "passive": True,
        "minimum_ttl": 1,
    }
    assert read(everything).wanted == (
        Wanted("%eth0", "fe80::1", "fe80::2", "eth0", False, 10, 60000, 255, True, 1),
    )


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"peer": "router"}, "k: peer is 'router', not an address"),
        ({"peer": ""}, "k: peer is empty"),
        ({"peer": None}, "k: peer is empty"),
        ({"peer": 7}, "k: peer is 7, not an address"),
        ({"local": "2001:db8::1"}, "k: peer 192.0.2.1 and local 2001:db8::1 are of different families"),
        ({"peer": "fe80::1"}, "k: fe80::1 is link-local: it needs an interface, and no multihop"),
        (
            {"peer": "fe80::1", "interface": "eth0", "multihop": True},
            "k: fe80::1 is link-local: it needs an interface, and no multihop",
        ),
        ({"receive": 9}, "k: receive is 9, not a number from 10 to 60000"),
        ({"transmit": 60001}, "k: transmit is 60001, not a number from 10 to 60000"),
        ({"transmit": True}, "k: transmit is True, not a number from 10 to 60000"),
        ({"multiplier": 0}, "k: multiplier is 0, not a number from 1 to 255"),
        ({"minimum_ttl": 256}, "k: minimum_ttl is 256, not a number from 1 to 255"),
        ({"passive": 1}, "k: passive is 1, not true or false"),
        ({"interface": 3}, "k: interface is 3, not a text"),
        ({"interface": "a-name-of-16-let"}, "k: 'a-name-of-16-let' is no name of an interface"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key_with_the_reason(changed: dict[str, Any], why: str) -> None:
    read_ = read(PEER | changed, PEER | {"key": "good", "peer": "192.0.2.2"})
    assert read_.refused == {"k": why}
    assert [one.key for one in read_.wanted] == ["good"]


def test_two_sessions_at_one_place_are_one() -> None:
    found = read(PEER, PEER | {"key": "second"}, PEER | {"key": "third", "interface": "eth1"}, PEER)
    assert [one.key for one in found.wanted] == ["k", "third"]
    assert found.refused == {
        "second": "second: k already is the BFD session with 192.0.2.1",
        "k": "k: named twice",
    }


def test_a_node_has_so_many_sessions_and_no_more() -> None:
    found = read(*({"key": str(n), "peer": f"10.0.{n // 250}.{n % 250 + 1}"} for n in range(MOST + 1)))
    assert len(found.wanted) == MOST
    assert found.refused == {str(MOST): f"{MOST}: more than {MOST} BFD sessions on a node"}


def test_an_entry_without_a_key_is_a_problem_of_the_list() -> None:
    assert len(read({"peer": "192.0.2.1"}, [], None, {"key": ""}).problems) == 4


def test_less_than_this_node_keeps_is_not_promised() -> None:
    asked = Wanted("k", "192.0.2.1", receive=10, transmit=100, multiplier=2)
    assert STEADY.offer(asked) == asked._replace(receive=50)
    assert SHAKY.offer(asked) == asked._replace(receive=300, transmit=300, multiplier=3)
    slow = Wanted("k", "192.0.2.1", receive=1000, transmit=1000, multiplier=5)
    assert STEADY.offer(slow) == SHAKY.offer(slow) == slow


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from([*Wanted._fields, "x"]), inner, max_size=6)
        ),
    )
)
def test_no_list_raises(said: Any) -> None:
    entries = said if isinstance(said, list) else [said]
    found = decode(json.dumps({"bfd": [*entries, PEER]}).encode())
    assert isinstance(found, Sessions) and "k" in {one.key for one in found.wanted} | found.refused.keys()
