"""Random changes, deaths and pauses from a seed: after each quiet point all is as the pure functions say.

METALBGP_SOAK_SEED and METALBGP_SOAK_STEPS repeat a run, or make a long one (tox -e soak).
"""

import os
import sys

import pytest

from tests.soak.world import soak
from tests.wire.bgp_lab import BGPD

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not BGPD.exists(), reason="needs root and FRR")

SEED = int(os.environ.get("METALBGP_SOAK_SEED", "1"))
STEPS = int(os.environ.get("METALBGP_SOAK_STEPS", "150"))
EVERY = 15


@pytest.mark.timeout(0 if STEPS > 150 else 600)
def test_whatever_happens_in_whatever_order_everything_becomes_true_again() -> None:
    took = soak(SEED, STEPS, EVERY)
    assert len(took) == -(-STEPS // EVERY)
    sys.stdout.write(
        f"\nseed {SEED}, {STEPS} steps: {len(took)} quiet points, the slowest {max(took):.1f} s\n"
    )
