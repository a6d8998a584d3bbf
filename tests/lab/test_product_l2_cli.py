"""On a real segment: `l2` tells the owner, `l2 probe` hears a second answerer, `doctor` says whose it is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.shell import inside, run
from tests.lab.product import METALLB, Product, until

FIRST, SECOND = "10.252.252.100", "fd00:10:252::100"
NODES = ["n1", "n2", "n3"]


@pytest.fixture
def owner(product: Product) -> str:
    """One dual-stack Service in L2, and the node that owns both of its addresses."""
    product.pool("pool", f"{FIRST}-10.252.252.101", f"{SECOND}-fd00:10:252::101")
    product.put(f"{METALLB}/l2advertisements", "L2Advertisement", "segment", {})
    product.service("web", dual=True)
    until(
        "both are given", lambda: product.every_ingress("web"), lambda found: sorted(found) == [FIRST, SECOND]
    )
    rows = until("every node agrees", lambda: l2(product), settled)
    return str(rows[FIRST]["owner"])


def l2(product: Product, *words: str) -> dict[str, dict[str, Any]]:
    (item,) = product.cli("l2", *words)["items"]
    return {row["address"]: row for row in item["addresses"]}


def settled(rows: dict[str, dict[str, Any]]) -> bool:
    return rows.keys() == {FIRST, SECOND} and all(
        row["owners"] and not row["problems"] and len(row["candidates"]) == len(NODES)
        for row in rows.values()
    )


def probe(product: Product, address: str, *words: str) -> dict[str, Any]:
    (item,) = product.cli("l2", "probe", address, *words)["items"]
    found: dict[str, Any] = item
    return found


def doctor(product: Product) -> list[str]:
    return [f"{one['verdict']} {one['check']} {one['text']}" for one in product.cli("doctor")["items"]]


@contextmanager
def second_answerer(namespace: str, device: str) -> Iterator[str]:
    """A kernel that has both addresses as well; its MAC on the segment."""
    (link,) = json.loads(run(*inside(namespace, ["ip", "-j", "link", "show", "eth0"])).stdout)
    for address, words in ((FIRST, []), (SECOND, ["nodad"])):
        run(*inside(namespace, ["ip", "address", "add", address, "dev", device, *words]))
    try:
        yield str(link["address"])
    finally:
        for address in (FIRST, SECOND):
            run(*inside(namespace, ["ip", "address", "del", address, "dev", device]), check=False)


def test_the_owner_is_told_by_every_node_and_by_the_wire(product: Product, owner: str) -> None:
    rows = l2(product)
    assert {row["owner"] for row in rows.values()} == {owner}  # both families follow the first address
    for row in rows.values():
        states = {one["node"]: one["state"] for one in row["candidates"]}
        assert states == {node: "answers" if node == owner else "stands-by" for node in NODES}
        assert row["interfaces"] == ["eth0"]
    found = product.cli("l2")
    assert found["problems"] == 0, found
    for address in (FIRST, SECOND):
        heard = probe(product, address)
        assert (heard["verdict"], heard["answeredBy"]) == ("answered", [owner]), heard
        assert {one["by"] for one in heard["rows"] if one["node"] != owner} == {owner}
        assert probe(product, address, "--node", owner)["verdict"] == "not-asked"
    assert [one for one in doctor(product) if one.startswith("bad")] == []


def test_a_stranger_that_answers_as_well_is_heard_and_named_by_its_mac(product: Product, owner: str) -> None:
    with second_answerer(product.lab.settings.namespace("cp"), "eth0") as mac:
        for address in (FIRST, SECOND):
            heard = until(
                "two answer", lambda a=address: probe(product, a), lambda f: f["verdict"] == "two-answer"
            )
            assert sorted(heard["answeredBy"]) == sorted([owner, mac])
            assert f"{mac}, no node of ours" in heard["message"]
        # The owner heard the stranger answer its own question, and says so until it is quiet for minutes.
        (problem,) = l2(product, FIRST)[FIRST]["problems"]
        assert problem.startswith(f"{mac}, which is no node of ours, says it has it")
        assert any(one.startswith(f"bad l2 {FIRST}: {mac}") for one in doctor(product))


def test_a_node_whose_kernel_answers_is_heard_and_the_doctor_says_why(product: Product, owner: str) -> None:
    other = next(node for node in NODES if node != owner)
    with second_answerer(product.lab.settings.namespace(other), "lo"):
        heard = until("two answer", lambda: probe(product, FIRST), lambda f: f["verdict"] == "two-answer")
        assert sorted(heard["answeredBy"]) == sorted([owner, other])
        # NDP answers for what stands on the interface that was asked: lo is harmless in IPv6.
        assert probe(product, SECOND)["verdict"] == "answered"
        told = [one for one in doctor(product) if " stands on lo, so the kernel answers" in one]
        assert told == [
            f"bad kernel {other}: {FIRST} stands on lo, so the kernel answers for it on eth0 as well"
        ]
    assert not any(" stands on " in one for one in doctor(product))
    until("one answers again", lambda: probe(product, FIRST), lambda f: f["verdict"] == "answered")
