"""What a Reflector reads from.

In:  nothing. Out: Source.
Elsewhere: the one of controller and speakers is client.py; a person's kubeconfig goes by cli/following.py.
"""

from collections.abc import AsyncGenerator
from typing import Protocol

from metalbgp.cluster.client import STALL, Page, WatchEvent
from metalbgp.cluster.resources import Resource


class Source(Protocol):
    """Its errors are those of errors.py."""

    def list_pages(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> AsyncGenerator[Page, None]: ...

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str = "",
        initial: bool = False,
        label_selector: str = "",
        field_selector: str = "",
        stall: float = STALL,
        limit: float = 300.0,
    ) -> AsyncGenerator[WatchEvent, None]: ...
