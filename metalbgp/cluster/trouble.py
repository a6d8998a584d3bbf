"""What a view reports beside changes: an object that cannot be read, a list that lacks too much.

In:  the events of a Reflector that are neither Changed nor Removed. Out: one log line each, and a count.
"""

from typing import Any

from prometheus_client import Counter

from metalbgp import logs
from metalbgp.cluster.reflector import Broken, HeldBack


def tell_trouble(event: Any, errors: Counter) -> None:
    """Synced is no trouble, and says nothing."""
    match event:
        case Broken(key=key, error=error):
            errors.inc()
            logs.error("unreadable-object", key=key, error=error)
        case HeldBack(missing=missing, known=known, delay=delay):
            logs.error("list-held-back", missing=missing, known=known, again_in=delay)
        case _:
            pass
