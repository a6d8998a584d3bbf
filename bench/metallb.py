"""MetalLB on a lab, for a comparison in the same run: its module is fetched and built, nothing is copied.

In:  the Go module proxy (by the ordinary go client), a lab that is up and its image store.
Out: images metallb/controller and metallb/speaker in the lab's registry; its native manifest.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from lab.images import STORE, building
from lab.settings import CACHE
from lab.shell import run, step

MODULE: Final = "go.universe.tf/metallb"
VERSION: Final = "v0.16.1"
_COMPONENTS: Final = ("controller", "speaker")
_BINARIES: Final = CACHE / f"metallb-{VERSION}"
_GO: Final = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}


def images() -> None:
    """Build both programs and pack each as an image of one file; done once per machine (2 minutes)."""
    with building():
        if not all((_BINARIES / name).exists() for name in _COMPONENTS):
            with step(f"MetalLB {VERSION} with go install"):
                packages = [f"{MODULE}/{name}@{VERSION}" for name in _COMPONENTS]
                env = {**_GO, "GOBIN": str(_BINARIES)}
                run("go", "install", "-trimpath", "-ldflags", "-s -w", *packages, env=env, timeout=1800)
        for name in _COMPONENTS:
            if STORE.resolve(_image(name)) is None:
                _pack(name)


def manifest() -> str:
    """Its native manifest, with the names under which the lab's registry has the images."""
    with tempfile.TemporaryDirectory() as away:  # outside any module, so that the checkout's own is not asked
        done = run("go", "mod", "download", "-json", f"{MODULE}@{VERSION}", env=_GO, cwd=Path(away))
    source = Path(json.loads(done.stdout)["Dir"])
    text = (source / "config" / "manifests" / "metallb-native.yaml").read_text()
    for name in _COMPONENTS:
        text = text.replace(f"quay.io/metallb/{name}:{VERSION}", f"docker.io/{_image(name)}")
    return text


def _image(name: str) -> str:
    return f"metallb/{name}:{VERSION}"


def _pack(name: str) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        root = Path(scratch) / "root"
        (root / "tmp").mkdir(parents=True)
        root.chmod(0o755)
        (root / "tmp").chmod(0o1777)
        target = root / name
        try:
            os.link(_BINARIES / name, target)
        except OSError:
            shutil.copy2(_BINARIES / name, target)
        STORE.add_directory(_image(name), root, {"Entrypoint": [f"/{name}"]})
