"""ConfigurationState: whether everything that users configured is in force, as one component sees it.

In:  the words of what is not. Out: the component's object, written when they change (metallb.md 1.9).
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import AlreadyExists
from metalbgp.cluster.resources import CONFIGURATION_STATES


class ConfigurationState:
    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        *,
        condition: str,  # poolReconcilerValid, configReconcilerValid
        labels: Mapping[str, str],
        owners: Callable[[], list[dict[str, str]]] = list,  # ownerReferences: it goes with them
        now: Callable[[], str] = lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    ) -> None:
        self._client = client
        self._namespace, self._name = namespace, name
        self._condition, self._labels, self._owners = condition, dict(labels), owners
        self._now = now
        self._written: tuple[str, list[dict[str, str]]] | None = None

    async def write(self, mistakes: Iterable[str]) -> None:
        """Conditions and result as MetalLB names them."""
        summary = "\n".join(f"configuration error: {words}" for words in mistakes)
        owners = self._owners()  # a Node that was made anew took along what the one before it owned
        if (summary, owners) == self._written:
            return
        condition = {
            "type": self._condition,
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
        meta = {"metadata": {"name": self._name, "labels": self._labels, "ownerReferences": owners}}
        try:
            await self._client.create(CONFIGURATION_STATES, meta, self._namespace)
        except AlreadyExists:  # it is ours from an earlier run
            await self._client.patch(CONFIGURATION_STATES, self._name, meta, self._namespace)
        await self._client.patch(
            CONFIGURATION_STATES, self._name, {"status": status}, self._namespace, subresource="status"
        )
        self._written = summary, owners
