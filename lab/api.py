"""The few requests that the lab itself makes to the API server, with the administrator's certificate.

In:  the lab's kubeconfig.
Out: decoded JSON. The official client costs a second of CPU to import; tests may use it on the same
     kubeconfig.
"""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Api:
    """One cluster, as its administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._server = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as both:  # ssl takes a client's certificate from files only
            both.write(base64.b64decode(user["client-certificate-data"]))
            both.write(base64.b64decode(user["client-key-data"]))
            both.flush()
            self._tls.load_cert_chain(both.name)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None, timeout: float = 10) -> Any:
        """One request; HTTP errors raise urllib.error.HTTPError."""
        with self._open(method, path, body, timeout) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def watch(self, path: str, timeout: float = 30) -> Iterator[dict[str, Any]]:
        """The events of a path that says watch=1, until the server ends it."""
        with self._open("GET", path, None, timeout) as answer:
            for line in answer:
                yield json.loads(line)

    def _open(self, method: str, path: str, body: dict[str, Any] | None, timeout: float) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address is our own kubeconfig's
            self._server + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        return urllib.request.urlopen(request, timeout=timeout, context=self._tls)  # noqa: S310 - the same

    def get(self, path: str) -> Any:
        """GET."""
        return self.request("GET", path)

    def create(self, path: str, body: dict[str, Any]) -> None:
        """POST, content with an object that is there already."""
        try:
            self.request("POST", path, body)
        except urllib.error.HTTPError as refused:
            if refused.code != 409:
                raise

    def ready(self) -> bool:
        """Whether the API server says it is, and its first objects are there."""
        try:
            self.get("/readyz")
            self.get("/api/v1/namespaces/kube-system")
        except (OSError, ValueError):  # URLError and HTTPError are OSErrors
            return False
        return True

    def nodes_ready(self) -> set[str]:
        """Names of the nodes whose kubelet says Ready."""
        try:
            items = self.get("/api/v1/nodes")["items"]
        except (OSError, ValueError):
            return set()
        return {
            item["metadata"]["name"]
            for item in items
            for condition in item.get("status", {}).get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        }
