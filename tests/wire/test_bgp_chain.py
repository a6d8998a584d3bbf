"""From an object that a user edits to the UPDATE at two routers, through every process of the product.

A real API server, controller, speaker and FRR, without kubelets (bench/chain.py). Counts are exact; a time is
judged at five times its aim, so that only a fault exceeds it.
"""

import os

import pytest

from bench.aims import Line
from bench.chain import chain
from bench.changes import attribute, many, peers
from tests.wire.bgp_lab import BGPD

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not BGPD.exists(), reason="needs root and FRR")

SERVICES = 100


def value(lines: list[Line], words: str) -> float:
    return next(line.value for line in lines if words in line.what)


def test_an_edited_attribute_is_one_write_and_a_peer_that_comes_and_goes_touches_no_other_session() -> None:
    with chain(routers=3) as it:
        many(it, SERVICES)
        edited = attribute(it, SERVICES)
        assert value(edited, "writes of the configuration") == 1
        assert value(edited, "writes of VirtualIPs and Services") == 0
        assert value(edited, "withdrawals on the wire") == 0
        assert value(edited, "all replaced at two routers") < 5 * 2.0
        assert value(peers(it, rounds=1), "other sessions that ended") == 0
