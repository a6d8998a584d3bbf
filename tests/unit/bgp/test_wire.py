"""Lines to and from ExaBGP, and the file it runs with."""

import base64
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalbgp.bgp import wire
from metalbgp.bgp.config_file import render
from metalbgp.bgp.notifications import ended, notification, words
from metalbgp.bgp.values import (
    Answer,
    BadNeighbor,
    Down,
    Neighbor,
    Notified,
    Opened,
    Sent,
    SentEor,
    Text,
    Up,
    check,
)
from metalbgp.model.reasons import ConnectionClosed, SessionEnded
from metalbgp.model.routes import Attributes

ROOT = Path(__file__).resolve().parents[3]
CONF = ROOT / "exabgp-conf"
PEER = Neighbor(address="192.0.2.1", local_as=65001, peer_as=65101, router_id="192.0.2.10")
INSIDE = Neighbor(address="2001:db8::1", local_as=65001, peer_as=65001, router_id="192.0.2.10")
HEAD = '{ "exabgp": "5.0.0", "time": 1.5, "host" : "h", "pid" : 1, "ppid" : 1, "counter": 1, '
ENDS = '"neighbor": { "address": { "local": "192.0.2.10", "peer": "192.0.2.1" }, "router-id": "1.1.1.1" , '


def event(kind: str, content: str) -> bytes:
    return f'{HEAD}"type": "{kind}", {ENDS}{content} }} }}'.encode()


def test_an_announcement_is_numbers_and_addresses() -> None:
    attributes = Attributes(
        communities=((65001, 7), (65535, 0)), large_communities=((65001, 1, 2),), med=5, local_preference=150
    )
    assert wire.announce(PEER, attributes, ["198.51.100.1/32", "198.51.100.2/32"]) == (
        "neighbor 192.0.2.1 announce attributes next-hop self med 5 community [65001:7 65535:0] "
        "large-community [65001:1:2] nlri 198.51.100.1/32 198.51.100.2/32"
    )
    assert "local-preference 150" in wire.announce(INSIDE, attributes, ["2001:db8::9/128"])


def test_a_path_begins_with_our_own_number_towards_others_only() -> None:
    attributes = Attributes(as_path=(64512,))
    assert "as-path [65001 64512]" in wire.announce(PEER, attributes, ["198.51.100.1/32"])
    assert "as-path [64512]" in wire.announce(INSIDE, attributes, ["2001:db8::9/128"])


@given(
    communities=st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535)), max_size=4),
    large=st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 3), max_size=3),
    numbers=st.tuples(*[st.none() | st.integers(0, 2**32 - 1)] * 2),
    prefix=st.ip_addresses(),
)
def test_no_command_holds_a_word_that_exabgp_takes_for_another_command(
    communities: list[tuple[int, int]],
    large: list[tuple[int, int, int]],
    numbers: tuple[int | None, int | None],
    prefix: object,
) -> None:
    attributes = wire.check_attributes(
        Attributes("", tuple(communities), tuple(large), numbers[0], numbers[1], ())
    )
    for line in (wire.announce(INSIDE, attributes, [f"{prefix}/32"]), wire.withdraw(PEER, [f"{prefix}/32"])):
        assert line.isascii()
        for word in ("shutdown", "json", "reload", "restart", "text", "\n", ";", "show", "help"):
            assert word not in line


@pytest.mark.parametrize(
    "attributes",
    [
        Attributes(med=-1),
        Attributes(communities=((65536, 1),)),
        Attributes(next_hop="self; shutdown"),
        Attributes(as_path=("json",)),  # type: ignore[arg-type]  # that is the point
    ],
)
def test_attributes_out_of_range_never_reach_a_line(attributes: Attributes) -> None:
    with pytest.raises(wire.BadRoute):
        wire.check_attributes(attributes)


@pytest.mark.parametrize(
    "prefix",
    [
        *("192.0.2.41/24", "192.0.2.1", "192.0.2.1/33", "::/129", "a/1", "::ffff:1.2.3.4/128", "1.1.1.1/٣"),
        *("0.0.0.0/0", "::/0"),
    ],
)
def test_a_prefix_that_exabgp_would_refuse_is_refused_here(prefix: str) -> None:
    with pytest.raises(wire.BadRoute):
        wire.check_prefix(prefix)


def test_a_next_hop_of_the_other_family_must_be_given() -> None:
    with pytest.raises(wire.BadRoute):
        wire.check_next_hop(PEER, "2001:db8::9/128", Attributes(), extended=True)
    wire.check_next_hop(PEER, "2001:db8::9/128", Attributes(next_hop="2001:db8::10"), extended=False)


def test_a_sent_update_is_decoded_with_its_attributes() -> None:
    line = event(
        "update",
        '"direction": "send", "message": { "update": { "attribute": { "origin": "igp", "as-path": {"0": '
        '{"element": "as-sequence", "value": [65001]}}, "med": 5, "community": [ [ 65535, 0 ], '
        '[ 65001, 7 ] ], "large-community": [ [ 65001, 1 , 2 ] ] }, "announce": { "ipv4 unicast": '
        '{ "192.0.2.10": [ { "nlri": "198.51.100.1/32" } ] } }, '
        '"withdraw": { "ipv4 unicast": [ { "nlri": "198.51.100.9/32" } ] } } }',
    )
    sent = wire.decode(line)
    assert isinstance(sent, Sent)
    assert (sent.announced, sent.withdrawn) == (("198.51.100.1/32",), ("198.51.100.9/32",))
    attributes = Attributes(communities=((65001, 7), (65535, 0)), large_communities=((65001, 1, 2),), med=5)
    assert wire.carried(PEER, sent) == wire.expected(PEER, "192.0.2.10", attributes)


def test_events_and_answers_are_told_apart() -> None:
    assert wire.decode(b"done") == Answer(True)
    assert wire.decode(b"error") == Answer(False)
    assert wire.decode(b"reload in progress") == Text("reload in progress")
    assert wire.decode(event("state", '"state": "up"')) == Up("192.0.2.1", "192.0.2.10")
    down = wire.decode(event("state", '"state": "down", "reason": "notification received (6,2)"'))
    assert down == Down("192.0.2.1", notification(6, 2, ours=False))
    eor = event("update", '"direction": "send", "message": { "eor": { "afi" : "ipv6", "safi" : "unicast" } }')
    assert wire.decode(eor) == SentEor("192.0.2.1", "ipv6")
    opened = event("open", '"direction": "receive", "open": { "asn": 7, "capabilities": { "64": {} } }')
    assert wire.decode(opened) == Opened("192.0.2.1", True, 7)
    said = (
        '"direction": "receive", "notification": { "code": 6, "subcode": 4, "data": "0x", "message": "bye" }'
    )
    told = notification(6, 4, ours=False, text="bye")
    assert wire.decode(event("notification", said)) == Notified("192.0.2.1", told)
    assert told.explain() == "Cease / Administrative Reset: bye (from the router)"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_line_or_one_narrow_error(data: bytes) -> None:
    with suppress(wire.BadLine):
        wire.decode(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("state", "message", "negotiated", "open", "notification", "direction", "address", "reason")


@given(
    kind=st.sampled_from(("state", "update", "open", "negotiated", "notification")),
    content=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4),
)
def test_any_shape_of_event_is_a_line_or_one_narrow_error(kind: str, content: dict[str, object]) -> None:
    ends = {"address": {"local": "192.0.2.10", "peer": "192.0.2.1"}}
    for line in (
        json.dumps({"type": kind, "neighbor": {**ends, **content}}),
        json.dumps([{"fsm": "IDLE", **content}]),
    ):
        with suppress(wire.BadLine):
            wire.decode(line.encode())


def test_notification_numbers_become_the_words_of_the_rfc() -> None:
    assert words(4, 0) == "Hold Timer Expired"
    assert words(6, 99) == "Cease / subcode 99"
    assert ended("notification sent (2,2)").explain() == "OPEN Message Error / Bad Peer AS (from us)"
    assert ended("closing connection") == ConnectionClosed()
    assert ended("stop, message [removed]") == SessionEnded(why="stop, message [removed]")


@pytest.mark.parametrize(
    ("code", "subcode", "ours", "name", "remedy"),
    [
        (2, 2, True, "BadPeerAS", "correct spec.peerASN"),
        (2, 2, False, "BadPeerAS", "another AS of this node"),
        (2, 3, False, "BadRouterID", "leave spec.routerID out"),
        (2, 6, False, "UnacceptableHoldTime", "spec.holdTime"),
        (2, 7, False, "UnsupportedCapability", "compare its address families"),
        (6, 2, False, "ShutDownThere", "operator shut"),
        (4, 0, True, "HoldTimerExpired", ""),
        (6, 99, False, "Notification", ""),
    ],
)
def test_a_notification_that_a_person_can_do_something_about_says_what(
    code: int, subcode: int, ours: bool, name: str, remedy: str
) -> None:
    said = notification(code, subcode, ours=ours, text="x\ny")
    assert said.name == name and remedy in said.remedy()
    assert "\n" not in said.explain()  # what a router writes never makes a line of its own


def test_bytes_that_a_router_sends_back_are_not_shown_as_words() -> None:
    assert notification(2, 2, ours=False, text="\ufffd\ufffd").explain() == words_of(2, 2)
    assert notification(2, 2, ours=False, text="AB").explain() == words_of(2, 2)  # AS 16706
    assert notification(6, 2, ours=False, text="\ufffd").explain() == words_of(6, 2)


def test_an_end_that_exabgp_gives_no_reason_for_is_not_told_without_one() -> None:
    assert "exabgp-log" in ended("").explain()


def words_of(code: int, subcode: int) -> str:
    return f"{words(code, subcode)} (from the router)"


def validate(path: Path) -> int:
    env = {**os.environ, "exabgp.daemon.user": "root", "exabgp.log.destination": "stderr"}
    command = [sys.executable, str(CONF / "launch.py"), "validate", str(path)]
    return subprocess.run(command, env=env, capture_output=True, timeout=30, check=False).returncode


def test_exabgp_accepts_every_file_that_we_write(tmp_path: Path) -> None:
    everything = [
        PEER,
        INSIDE,
        Neighbor(
            address="192.0.2.2",
            local_as=4200000001,
            peer_as=4200000002,
            router_id="192.0.2.10",
            local_address="192.0.2.10",
            port=1790,
            hold_time=0,
            families=("ipv4", "ipv6"),
            password_base64=base64.b64encode(b'"; } \xff').decode(),
            graceful_restart=120,
            ttl_security=True,
            interface="eth0.100",
            listen=1799,
            passive=True,
        ),
    ]
    path = tmp_path / "exabgp.conf"
    path.write_text(render([check(n) for n in everything], f"{sys.executable} -V", 7))
    assert validate(path) == 0
    path.write_text(render((), f"{sys.executable} -V", 8))
    assert validate(path) == 0
    path.write_text(path.read_text() + "neighbor {")
    assert validate(path) != 0


def test_the_example_is_what_we_write() -> None:
    helper = "/usr/bin/python3 -I -S /opt/metalbgp/exabgp-conf/helper.py /run/metalbgp/exabgp.sock"
    one = Neighbor("192.0.2.1", 65001, 65101, "192.0.2.10", password_base64="czNjcmV0", graceful_restart=120)  # noqa: S106  # an example
    two = Neighbor("2001:db8::1", 65001, 65101, "192.0.2.10", families=("ipv6",), ttl_security=True)
    lines = (CONF / "example.conf").read_text().splitlines()
    written = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    assert written == [line for line in render([one, two], helper, 1).splitlines() if line.strip()]


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "192.0.2.1; }"},
        {"router_id": "2001:db8::1"},
        {"local_address": "2001:db8::1"},
        {"local_as": 0},
        {"peer_as": 2**32},
        {"hold_time": 2},
        {"families": ()},
        {"families": ("l2vpn",)},
        {"interface": 'eth0"'},
        {"interface": "a" * 16},
        {"password_base64": "not base64!"},
        {"password_base64": ""},
        {"passive": True},
        {"port": True},
    ],
)
def test_what_could_poison_the_file_is_refused_with_the_field_named(changes: dict[str, object]) -> None:
    fields = {name: getattr(PEER, name) for name in PEER.__struct_fields__}
    with pytest.raises(BadNeighbor, match=r"192\.0\.2\.1"):
        check(Neighbor(**{**fields, **changes}))


def test_a_journal_never_shows_a_password() -> None:
    fields = {name: getattr(PEER, name) for name in PEER.__struct_fields__}
    neighbor = Neighbor(**{**fields, "password_base64": "czNjcmV0"})
    assert "czNjcmV0" not in repr(neighbor.redacted())
    assert PEER.redacted() == PEER
