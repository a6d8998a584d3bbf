"""A few verbs of the Kubernetes API, one kept connection a thread.

In:  a kubeconfig with certificates or a token. Out: decoded JSON, or ApiError with what the server said.
The harness shares the machine with what it measures, so it is http.client and msgspec.
"""

import base64
import http.client
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import yaml

from bench.place import Door, entered


class ApiError(Exception):
    """The server refused; `status` is its HTTP code."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


class Api:
    """One cluster; safe to use from many threads."""

    def __init__(self, kubeconfig: Path, door: Door) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        user = config["users"][0]["user"]
        self._door = door
        self.headers = {"Accept": "application/json"}
        if "token" in user:
            self.headers["Authorization"] = f"Bearer {user['token']}"
        self._tls = _tls(kubeconfig.parent, config["clusters"][0]["cluster"], user)
        self._local = threading.local()

    def connect(self, timeout: float = 60) -> http.client.HTTPSConnection:
        door = self._door
        connection = http.client.HTTPSConnection(door.host, door.port, context=self._tls, timeout=timeout)
        with entered(door.namespace) if door.namespace else nullcontext():
            connection.connect()
        connection.auto_open = 0  # a new connection is made here, in the right namespace, or not at all
        return connection

    def call(
        self, verb: str, path: str, body: Any = None, kind: str = "application/json", retry: bool = True
    ) -> Any:
        """One request; a kept connection that the server has closed is opened again once."""
        connection = getattr(self._local, "connection", None) or self.connect()
        self._local.connection = connection
        headers = {**self.headers, "Content-Type": kind}
        payload = msgspec.json.encode(body) if body is not None else None
        try:
            connection.request(verb, path, payload, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._local.connection = None
            if not retry:
                raise
            return self.call(verb, path, body, kind, retry=False)
        if answer.status >= 300:
            raise ApiError(answer.status, text.decode(errors="replace"))
        return msgspec.json.decode(text) if text else None

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def create(self, path: str, body: Any) -> Any:
        return self.call("POST", path, body)

    def apply(self, path: str, body: Any) -> Any:
        """Server-side apply; the path ends with the object's name."""
        patch = f"{path}?fieldManager=bench&force=true"
        return self.call("PATCH", patch, body, "application/apply-patch+yaml")

    def delete(self, path: str) -> None:
        """Gone already is fine."""
        try:
            self.call("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise

    def watch(self, path: str, version: str) -> tuple[http.client.HTTPSConnection, Iterator[bytes]]:
        """Lines of a watch from that version on, until the server ends it or the connection is shut down."""
        connection = self.connect(timeout=3600)
        connection.request("GET", f"{path}?watch=true&resourceVersion={version}", headers=self.headers)
        answer = connection.getresponse()
        if answer.status >= 300:
            raise ApiError(answer.status, answer.read().decode(errors="replace"))
        return connection, _lines(answer)


def _lines(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    rest = b""
    while chunk := answer.read1(1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def _tls(base: Path, cluster: dict[str, str], user: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_pem(base, cluster, "certificate-authority"))
    certificate = _pem(base, user, "client-certificate")
    if certificate:
        # ssl reads key pairs from files only
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(certificate + "\n" + _pem(base, user, "client-key"))
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _pem(base: Path, entry: dict[str, str], key: str) -> str:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"]).decode()
    return (base / entry[key]).read_text() if key in entry else ""
