"""A registry that only gives: the lab's mirror of docker.io, over plain http.

In:  GET and HEAD of /v2/, /v2/NAME/manifests/TAG-or-DIGEST, /v2/NAME/blobs/DIGEST; a Store's directory.
Out: manifests with their media type and digest (a static file server cannot say either, and containerd
     insists). What is not there is 404 at once, so a missing image is an error after milliseconds.
Elsewhere: the store's layout in store.py; who runs this in cluster.py.
Run: python -m lab.registry ADDRESS PORT STORE…
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from lab.store import OCI_MANIFEST, Store

_PATH: Final = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+)/(?P<kind>manifests|blobs)/(?P<reference>[\w.:+-]+)")


class Handler(BaseHTTPRequestHandler):
    """One request. The `?ns=docker.io` that containerd adds is dropped: all registries are one here."""

    protocol_version = "HTTP/1.1"
    stores: tuple[Store, ...] = ()

    def do_GET(self) -> None:
        """Send headers and body."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Send the headers alone."""
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.rstrip("/") == "/v2":
            self._send(200, "application/json", "", b"{}" if body else None, 2)
            return
        asked = _PATH.fullmatch(path)
        found = self._find(asked["name"], asked["kind"], asked["reference"]) if asked else None
        if asked is None or found is None:
            text = json.dumps(
                {"errors": [{"code": "MANIFEST_UNKNOWN", "message": f"no {path} here"}]}
            ).encode()
            self._send(404, "application/json", "", text if body else None, len(text))
            return
        digest, file = found
        media = "application/octet-stream"
        if asked["kind"] == "manifests":
            # Only an OCI manifest may leave its type out.
            media = json.loads(file.read_bytes()).get("mediaType", OCI_MANIFEST)
        self._send(200, media, digest, None, file.stat().st_size)
        if body:
            with file.open("rb") as source:
                shutil.copyfileobj(source, self.wfile, 1 << 20)

    def _find(self, name: str, kind: str, reference: str) -> tuple[str, Path] | None:
        digest: str | None = reference
        if not reference.startswith("sha256:"):
            names = (store.resolve(f"{name}:{reference}") for store in self.stores)
            digest = next((name for name in names if name), None) if kind == "manifests" else None
        for store in self.stores:
            if digest and store.blob(digest).is_file():
                return digest, store.blob(digest)
        return None

    def _send(self, status: int, media: str, digest: str, body: bytes | None, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(length))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if body:
            self.wfile.write(body)


def main() -> None:
    """Serve until killed."""
    address, port, *stores = sys.argv[1:]
    Handler.stores = tuple(Store(Path(path)) for path in stores)
    ThreadingHTTPServer.request_queue_size = 64
    ThreadingHTTPServer((address, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
