"""The product as it was at a tag or commit of this clone: its tree, and a manifest that names its image.

In:  names that git may know; the first that it knows is taken.
Out: Version; its tree is kept in the cache, by commit.
Elsewhere: the image is built by images.py from that tree, and pulled by `Lab.push_version`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.images import PRODUCT, building
from lab.settings import CACHE, REPOSITORY
from lab.shell import LabError

_TREES: Final = CACHE / "versions"


class UnknownVersion(LabError):
    """This clone has none of the names: it was made without tags, or without its history."""


@dataclass(frozen=True)
class Version:
    """One commit."""

    name: str
    commit: str

    @property
    def root(self) -> Path:
        """Its tree, with nothing in it that the commit does not have, but for `manifest`."""
        return _TREES / self.commit

    @property
    def image(self) -> str:
        """As an operator gives each release a name of its own."""
        return PRODUCT.replace(":dev", f":{self.name}")

    @property
    def crds(self) -> Path:
        return self.root / "k8s" / "crds.yaml"

    @property
    def manifest(self) -> Path:
        """Its k8s/metalbgp.yaml with that name of the image in it."""
        return self.root / "k8s" / "metalbgp-here.yaml"


def find(*names: str) -> Version:
    """The first of the names that this clone has."""
    for name in names:
        commit = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
        if commit:
            version = Version(names[0], commit)
            with building():
                if not version.root.exists():
                    _unpack(version)
            return version
    raise UnknownVersion(f"this clone has no {' and no '.join(names)}: git fetch --tags --unshallow")


def _unpack(version: Version) -> None:
    _TREES.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=_TREES))
    try:
        archive = _git("archive", version.commit)
        subprocess.run(["tar", "-x", "-C", scratch], input=archive, check=True)
        text = (scratch / "k8s" / "metalbgp.yaml").read_text().replace(PRODUCT, version.image)
        (scratch / version.manifest.relative_to(version.root)).write_text(text)
        scratch.rename(version.root)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _git(*words: str) -> bytes:
    """What it prints; nothing where it fails, git itself missing included."""
    try:
        return subprocess.run(["git", "-C", REPOSITORY, *words], capture_output=True, check=False).stdout
    except FileNotFoundError:
        return b""
