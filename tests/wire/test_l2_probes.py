"""The reflex asks a real segment: a neighbour's kernel answers for its addresses, nobody for the rest."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from l2_segment import NEIGHBOUR, PEER_MAC, Reflex, inside, segment

from tests.wire.doing import run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs network namespaces")

TAKEN, FREE = ("192.0.2.2", "2001:db8::2"), ("192.0.2.201", "2001:db8::201")


@pytest.fixture(scope="module")
def lab() -> Iterator[None]:
    with segment():
        # Linux answers on every interface for all its addresses, unless it is told otherwise.
        run(*inside(NEIGHBOUR, "sysctl", "-q", "net.ipv4.conf.all.arp_ignore=1"))
        yield


@pytest.fixture
def reflex(lab: None, tmp_path: Path) -> Iterator[Reflex]:
    process = Reflex(tmp_path)
    yield process
    process.stop()


def neighbour_hears() -> bool:
    """Its kernel looks at IPv6 only once its own link-local address is sure."""
    found = run(*inside(NEIGHBOUR, "ip", "-6", "address", "show", "dev", "p0", "scope", "link"))
    return "fe80" in found and "tentative" not in found


def asked(reflex: Reflex, *entries: list[Any]) -> dict[str, dict[str, Any]]:
    """Ask, and wait for the end of every probe."""
    reflex.duties()
    reflex.wait_for(lambda: {"eth0", "eth1"} <= {*reflex.state()["interfaces"]})
    reflex.wait_for(neighbour_hears)
    reflex.wait_for(lambda: '"ndp": ["eth0", "eth1"]' in reflex.log())
    reflex.say({"probes": list(entries)}, reflex.agent)
    reflex.wait_for(lambda: all(one["done"] for one in reflex.state()["probes"]))
    return {one["address"]: one for one in reflex.state()["probes"]}


def test_the_mac_of_whoever_has_the_address_is_told_and_silence_is_free(reflex: Reflex) -> None:
    found = asked(reflex, *([address, None, "t"] for address in (*TAKEN, *FREE)))
    for address in TAKEN:
        assert (found[address]["interface"], found[address]["mac"]) == ("eth0", PEER_MAC["p0"]), found
    for address in FREE:
        assert (found[address]["mac"], found[address]["failed"]) == ("", ""), found
    # Nobody learned anything from having been asked.
    for address in FREE:
        assert address not in run(*inside(NEIGHBOUR, "ip", "neigh"))
    assert reflex.state()["counters"] == {}


def test_where_the_advertisement_does_not_lead_nobody_is_asked(reflex: Reflex) -> None:
    found = asked(reflex, [TAKEN[0], ["eth1"], "t"], [FREE[0], ["eth7"], "t"])
    assert (found[TAKEN[0]]["mac"], found[TAKEN[0]]["failed"]) == ("", "")
    assert found[FREE[0]]["failed"] == "no fit interface"


def test_more_duties_than_the_kernels_filter_holds_hide_no_answer(reflex: Reflex) -> None:
    reflex.duties(*([f"198.51.{number // 250}.{number % 250 + 1}", None] for number in range(1100)))
    reflex.say({"probes": [[TAKEN[0], None, "t"], [TAKEN[1], None, "t"]]}, reflex.agent)
    reflex.wait_for(lambda: all(one["done"] for one in reflex.state()["probes"]))
    assert {one["mac"] for one in reflex.state()["probes"]} == {PEER_MAC["p0"]}
