"""Another controller that writes the same statuses: noticed, and not fought with a storm of writes. Pure.

In:  every status of ours that was found replaced, with the time (seconds, monotonic).
Out: how long to wait before it is written again, and whether people are to be told now.
Elsewhere: who the other one is, `writers()` reads from an object's managedFields; the event is tell.py.

Somebody who wipes a status by hand gets it back at once. Only who comes back again and again is another
controller, and the two would write for ever, each waking every kube-proxy.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

OURS: Final = "metalbgp-controller"  # the manager of our writes: our User-Agent
TIMES: Final = 5  # rewrites within WINDOW that are nobody's business
WINDOW: Final = 60.0  # seconds
FIRST_WAIT: Final = 5.0  # seconds, doubled with each further rewrite
LONGEST_WAIT: Final = 300.0


class Wait(Struct, frozen=True):
    seconds: float
    tell: bool  # the first time of this contest


class Contest:
    def __init__(self) -> None:
        self._replaced: dict[str, list[float]] = {}  # Service → when, the latest TIMES
        self._wait: dict[str, float] = {}  # Services that are contested → the wait of now
        self._counted: dict[str, str] = {}  # the resourceVersion that was found last

    def replaced(self, key: str, version: str, now: float) -> Wait | None:
        """Our status of the Service was replaced by something else. None: write it again at once.

        `version`: its resourceVersion. A write that failed and is tried again finds the same one, and that is
        no further replacement.
        """
        if self._counted.get(key) == version:
            return None
        self._counted[key] = version
        before = self._wait.get(key, 0.0)
        times = [when for when in self._replaced.get(key, ()) if when > now - WINDOW - before]
        self._replaced[key] = [*times[1 - TIMES :], now]
        if not times or (not before and len(times) < TIMES):
            self._wait.pop(key, None)  # the other one is gone, or it was a person
            return None
        self._wait[key] = min(before * 2, LONGEST_WAIT) if before else FIRST_WAIT
        return Wait(seconds=self._wait[key], tell=not before)

    def forget(self, key: str) -> None:
        self._counted.pop(key, None)
        self._replaced.pop(key, None)
        self._wait.pop(key, None)


def writers(managed_fields: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Who else wrote status.loadBalancer, the latest first (metadata.managedFields, subresource status)."""
    found = [
        (str(one.get("time", "")), str(one.get("manager", "")))
        for one in managed_fields
        if one.get("subresource") == "status"
        and "f:loadBalancer" in one.get("fieldsV1", {}).get("f:status", {})
        and one.get("manager") != OURS
    ]
    return tuple(dict.fromkeys(name for _, name in sorted(found, reverse=True) if name))
