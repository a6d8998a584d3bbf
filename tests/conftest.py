"""Settings of all tests.

Hypothesis judges no example by its time: on a busy machine 200 ms are soon over, and the law holds.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from metalbgp import logs

settings.register_profile("metalbgp", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("metalbgp")


@pytest.fixture(autouse=True)
def lines_as_before() -> Iterator[None]:
    """A process sets its log level once; here it would count for all tests that follow."""
    yield
    logs.setup("")
