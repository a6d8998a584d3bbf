"""A directory of image blobs by digest, and tags: what the registry serves.

In:  directories to pack, OCI layouts that buildah writes.
Out: manifests and blobs in `<store>/blobs/sha256`, tags in `<store>/tags`, each a file with a manifest's
     digest.
Elsewhere: the server in registry.py; what goes into the images in images.py.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG: Final = "application/vnd.docker.container.image.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"


def full_name(image: str) -> str:
    """`nginx` → `library/nginx:latest`: how docker.io is asked for it. Another host is left out."""
    name, _, tag = image.rpartition(":") if ":" in image.rsplit("/", 1)[-1] else (image, "", "latest")
    head, _, rest = name.partition("/")
    if rest and ("." in head or ":" in head or head == "localhost"):
        name = rest
    return f"{name if '/' in name else f'library/{name}'}:{tag}"


@dataclass(frozen=True)
class Store:
    """Blobs and tags below one directory. Writers hold the cache's lock; readers need none: files are
    renamed."""

    path: Path

    def blob(self, digest: str) -> Path:
        """The file of `sha256:…`."""
        return self.path / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def tag(self, image: str) -> Path:
        """The file that holds the digest of that image's manifest."""
        return self.path / "tags" / full_name(image).replace("/", "@")

    def resolve(self, image: str) -> str | None:
        """The manifest's digest, or None if there is no such image."""
        try:
            return self.tag(image).read_text().strip()
        except OSError:
            return None

    def size(self, image: str) -> int:
        """Bytes of all layers, uncompressed."""
        digest = self.resolve(image)
        if digest is None:
            return 0
        manifest = json.loads(self.blob(digest).read_bytes())
        return sum(int(layer["size"]) for layer in manifest["layers"])

    def set_tag(self, image: str, digest: str) -> None:
        """Point the name to that manifest."""
        self._write(self.tag(image), digest.encode())

    def add_directory(self, image: str, root: Path, config: dict[str, Any]) -> str:
        """Pack a directory as an image of one layer, owned by root, and tag it."""
        layer = self._layer(root)
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created_by": "lab"}],
        }
        body = json.dumps(document).encode()
        described = self.add_bytes(body)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": len(body), "digest": described},
            "layers": [{"mediaType": LAYER, "size": self.blob(layer).stat().st_size, "digest": layer}],
        }
        digest = self.add_bytes(json.dumps(manifest).encode())
        self.set_tag(image, digest)
        return digest

    def adopt(self, image: str, reference: str) -> str:
        """Tag the image that `buildah push oci:<store>:<reference>` has just written here.

        The store is an OCI layout itself, so layers that are here already are not packed again. buildah
        packs them with gzip whatever it is told; they are served plain, or each of three nodes would unpack
        them for itself.
        """
        index = json.loads((self.path / "index.json").read_bytes())
        found = [
            str(each["digest"])
            for each in index["manifests"]
            if each.get("annotations", {}).get("org.opencontainers.image.ref.name") == reference
        ]
        manifest = json.loads(self.blob(found[-1]).read_bytes())
        plain = json.loads(self.blob(manifest["config"]["digest"]).read_bytes())["rootfs"]["diff_ids"]
        for layer, digest in zip(manifest["layers"], plain, strict=True):
            self._unzip(layer["digest"], digest)
            layer |= {"mediaType": OCI_LAYER, "digest": digest, "size": self.blob(digest).stat().st_size}
        served = self.add_bytes(json.dumps({"mediaType": OCI_MANIFEST, **manifest}).encode())
        self.set_tag(image, served)
        return served

    def add_bytes(self, data: bytes) -> str:
        """Keep a small blob."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._write(self.blob(digest), data)
        return digest

    def _unzip(self, packed: str, plain: str) -> None:
        target = self.blob(plain)
        if target.exists():
            return
        part = target.with_name(f".{target.name}.{os.getpid()}")
        with gzip.open(self.blob(packed)) as source, part.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        part.replace(target)

    def _layer(self, root: Path) -> str:
        part = self.path / f"layer.{os.getpid()}"
        self.path.mkdir(parents=True, exist_ok=True)
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(root, arcname=".", filter=_as_root)
        with part.open("rb") as packed:
            digest = f"sha256:{hashlib.file_digest(packed, 'sha256').hexdigest()}"
        self.blob(digest).parent.mkdir(parents=True, exist_ok=True)
        part.replace(self.blob(digest))
        return digest

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        with io.FileIO(part, "w") as file:
            file.write(data)
        part.replace(path)


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = 0  # the same files give the same digest, so nothing is pulled again for a newer clock
    return member
