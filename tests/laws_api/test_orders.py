"""SpeakerOrders on a real API server: exactly the fields that the action needs; who may write, who may read.

In:  objects as the command line writes them and as people might. Out: the laws in the tests' names.
Elsewhere: what they do to a speaker is tests/unit/speaker/test_orders.py, on real routers tests/lab.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from metalbgp.config import orders
from metalbgp.model.orders import Order
from tests.apiserver import ApiServer

SYSTEM = "metallb-system"


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> Iterator[ApiServer]:
    apiserver.install()
    yield apiserver
    apiserver.kubectl("delete", "speakerorders.metalbgp.io", "-n", SYSTEM, "--all")


def create(server: ApiServer, name: str, **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": SYSTEM}
    body = {"apiVersion": orders.API_VERSION, "kind": orders.KIND, "metadata": meta, "spec": spec}
    text = server.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(body))
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize(
    "order",
    [
        Order(name="a", action="Hold", address="10.0.0.1", reason="why", author="eve"),
        Order(name="b", action="Hold", address="2001:db8::1", node="n1", expires="2026-01-01T12:00:00Z"),
        Order(name="c", action="Shut", peer="tor-a"),
        Order(name="d", action="Shut", peer="tor-a", node="n1"),
        Order(name="e", action="Drain", node="n1"),
    ],
    ids=lambda order: order.name,
)
def test_what_we_write_is_taken_and_read_back_as_it_was(server: ApiServer, order: Order) -> None:
    found = create(server, order.name, **orders.spec_of(order))
    again = orders.decode(json.dumps(found).encode())
    assert orders.spec_of(again) == orders.spec_of(order) and again.created


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"action": "Hold"}, "a Hold needs address"),
        ({"action": "Hold", "address": "10.0.0.1", "peer": "tor"}, "a Hold needs address"),
        ({"action": "Shut", "address": "10.0.0.1"}, "a Shut needs peer"),
        ({"action": "Drain", "node": "n1", "peer": "tor"}, "a Drain needs node"),
        ({"action": "Drain"}, "a Drain needs node"),
        ({"action": "Release", "node": "n1"}, "a Release needs peer"),
        ({"action": "Announce", "address": "10.0.0.1"}, "Unsupported value"),
        ({"action": "Hold", "address": "web/shop"}, "spec.address"),
        ({"action": "Drain", "node": "n1", "expires": "tomorrow"}, "spec.expires"),
        ({}, "spec.action"),
    ],
)
def test_a_field_too_many_or_too_few_is_refused_with_its_name(
    server: ApiServer, spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(AssertionError) as raised:
        create(server, "wrong", **spec)
    assert words in str(raised.value)


def test_a_speaker_reads_orders_and_writes_none_and_an_operator_writes_them(server: ApiServer) -> None:
    def may(verb: str, who: str) -> bool:
        words = ("auth", "can-i", verb, "speakerorders.metalbgp.io", "-n", SYSTEM, "--as", who)
        try:
            return server.kubectl(*words).strip() == "yes"
        except AssertionError:  # kubectl exits with 1 for "no"
            return False

    speaker = f"system:serviceaccount:{SYSTEM}:speaker"
    assert all(may(verb, speaker) for verb in ("get", "list", "watch"))
    assert not any(may(verb, speaker) for verb in ("create", "patch", "delete"))
    bind = ("create", "rolebinding", "these-operators", "-n", SYSTEM, "--clusterrole=metalbgp-operator")
    server.kubectl(*bind, "--user=eve")
    try:
        assert all(may(verb, "eve") for verb in ("list", "create", "patch", "delete"))
        assert not may("create", "mallory")
    finally:
        server.kubectl("delete", "rolebinding", "these-operators", "-n", SYSTEM)
