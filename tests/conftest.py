"""Settings of all tests.

Hypothesis judges no example by its time: on a busy machine 200 ms are soon over, and the law holds.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("metalbgp", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("metalbgp")
