"""When each Service has its first address, seen by a watch as any client would.

In:  the API and a namespace. Out: `addresses`, name -> (time, address); `wait` for some of them.
"""

import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from types import TracebackType

import msgspec

from bench.api import Api


class _Meta(msgspec.Struct):
    name: str


class _Ingress(msgspec.Struct):
    ip: str = ""


class _Balancer(msgspec.Struct):
    ingress: list[_Ingress] = []


class _Status(msgspec.Struct):
    loadBalancer: _Balancer = msgspec.field(default_factory=_Balancer)


class _Object(msgspec.Struct):
    metadata: _Meta
    status: _Status = msgspec.field(default_factory=_Status)


class _Event(msgspec.Struct):
    type: str
    object: _Object


class Addresses:
    """Watches until it is left; times are time.time(), taken when the event is read."""

    def __init__(self, api: Api, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/services"
        version = api.get(f"{path}?limit=1")["metadata"]["resourceVersion"]
        self._connection, self._events = api.watch(path, version)
        self._socket = self._connection.sock  # http.client lets go of it after the headers
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.addresses: dict[str, tuple[float, str]] = {}

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(_Event)
        with suppress(OSError, HTTPException, ValueError):
            for line in self._events:
                now = time.time()
                event = decoder.decode(line)
                name, ingress = event.object.metadata.name, event.object.status.loadBalancer.ingress
                if event.type != "DELETED" and ingress and ingress[0].ip and name not in self.addresses:
                    with self._changed:
                        self.addresses[name] = (now, ingress[0].ip)
                        self._changed.notify_all()

    def wait(self, names: set[str], seconds: float) -> bool:
        """Whether all of them have an address within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: names <= self.addresses.keys(), seconds)

    def __enter__(self) -> "Addresses":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
