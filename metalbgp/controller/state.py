"""The controller's ConfigurationState: whether everything that users configured is in force.

In:  the Invalid reasons of a compile. Out: the object `controller`, written when its words change.
"""

import contextlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import AlreadyExists
from metalbgp.cluster.resources import CONFIGURATION_STATES
from metalbgp.model.reasons import Invalid

NAME = "controller"


class ConfigurationState:
    def __init__(
        self,
        client: Client,
        namespace: str,
        now: Callable[[], str] = lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._now = now
        self._written: str | None = None

    async def write(self, invalid: Iterable[Invalid]) -> None:
        """Conditions and result as MetalLB names them (metallb.md 1.9)."""
        summary = "\n".join(f"configuration error: {one.explain()}" for one in invalid)
        if summary == self._written:
            return
        condition = {
            "type": "poolReconcilerValid",
            "status": "False" if summary else "True",
            "reason": "ConfigurationError" if summary else "Reconciled",
            "message": summary,
            "lastTransitionTime": self._now(),
        }
        status: dict[str, Any] = {
            "result": "Invalid" if summary else "Valid",
            "errorSummary": summary,
            "conditions": [condition],
        }
        labels = {"metallb.io/component-type": "controller"}
        meta = {"metadata": {"name": NAME, "labels": labels}}
        with contextlib.suppress(AlreadyExists):  # it is ours from an earlier run
            await self._client.create(CONFIGURATION_STATES, meta, self._namespace)
        await self._client.patch(
            CONFIGURATION_STATES, NAME, {"status": status}, self._namespace, subresource="status"
        )
        self._written = summary
