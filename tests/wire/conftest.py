"""What most tests of BGP on the wire begin with: real routers, a real speaker, an agent that the test plays.

Elsewhere: the laboratory itself is bgp_lab.py. Tests of L2, and of BFD alone, have a `lab` of their own in
their files; it takes the place of this one.
"""

import os
from collections.abc import Iterator

import pytest

from tests.wire.bgp_lab import BGPD, Lab, laboratory


@pytest.fixture
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0 or not BGPD.exists():
        pytest.skip("needs root and FRR")
    with laboratory() as made:
        yield made
