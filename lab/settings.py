"""Names, numbers and places of one lab: the only file that knows an address or a path.

In:  the lab's name, XDG_CACHE_HOME.
Out: `Settings`, frozen. Two labs differ in name only: all addresses may be the same in each, because every
     network of a lab lives in namespaces of its own.
Elsewhere: who makes the namespaces (network.py), who fills the directories (cluster.py, images.py,
     binaries.py).
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metalbgp-lab"
RUN: Final = Path("/run/metalbgp-lab")
MEMORY: Final = Path("/dev/shm/metalbgp-lab")

KUBERNETES: Final = "1.36.3"
BINARIES: Final = CACHE / f"bin-{KUBERNETES}"
GOBGP: Final = "3.37.0"
GOBGP_BINARIES: Final = CACHE / f"gobgp-{GOBGP}"
IMAGES: Final = CACHE / "images"

# What a lab needs on tmpfs: three unpacked copies of every image, and etcd. Below that it goes to the disk.
ROOM_IN_MEMORY: Final = 4 * 2**30

ROUTER_AS: Final = 64512
NODES_AS: Final = 64513
SERVICE_CIDRS: Final = ("10.96.0.0/16", "fd00:10:96::/112")
POD_CIDRS: Final = ("10.244.0.0/16", "fd00:10:244::/48")
API_SERVICE: Final = "10.96.0.1"
API_PORT: Final = 6443
REGISTRY_PORT: Final = 5000

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,11}")


@dataclass(frozen=True)
class Host:
    """One namespace with one address per family on one segment."""

    name: str
    address: str
    address6: str
    prefix: int = 24
    prefix6: int = 64

    @property
    def cidrs(self) -> tuple[str, str]:
        """Both addresses as `ip address add` takes them."""
        return f"{self.address}/{self.prefix}", f"{self.address6}/{self.prefix6}"


@dataclass(frozen=True)
class Node(Host):
    """A Kubernetes node and its share of the pod network."""

    pods: str = ""
    pods6: str = ""

    @property
    def pod_cidrs(self) -> list[str]:
        """Both ranges, IPv4 first, as spec.podCIDRs has them."""
        return [self.pods, self.pods6]


ROUTER: Final = Host("router", "10.252.252.1", "fd00:10:252::1")
CONTROL: Final = Host("cp", "10.252.252.10", "fd00:10:252::10")
# Outside the cluster, behind the router: its packets reach a BGP address by the router's routes, and an L2
# address because the router asks for it on the nodes' segment.
OUTSIDE: Final = Host("outside", "10.99.0.1", "fd00:10:99::1")
CLIENT: Final = Host("client", "10.99.0.2", "fd00:10:99::2")
NODES: Final = tuple(
    Node(
        f"n{i}",
        f"10.252.252.{10 + i}",
        f"fd00:10:252::{10 + i}",
        pods=f"10.244.{i}.0/24",
        pods6=f"fd00:10:244:{i}::/64",
    )
    for i in (1, 2, 3)
)
NODE_RANGES: Final = ("10.252.252.0/24", "fd00:10:252::/64")


@dataclass(frozen=True)
class Settings:
    """Where one lab keeps its things."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"lab name {self.name!r}: 1 to 12 of a-z, 0-9 and '-', a letter first")

    @property
    def run(self) -> Path:
        """Sockets, configurations, certificates, logs, and the record of processes."""
        return RUN / self.name

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.run / "logs"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.run / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, good in the host's own namespace."""
        return self.run / "kubeconfig"

    @property
    def data_places(self) -> tuple[Path, Path]:
        """Both places that `data` may be, so that clearing misses none."""
        return MEMORY / self.name, CACHE / "data" / self.name

    def data(self) -> Path:
        """Images, pods and etcd: in memory if there is room, where pulling is 2–3 times faster."""
        memory, disk = self.data_places
        if memory.exists():
            return memory
        if disk.exists():
            return disk
        shm = memory.parent.parent
        return memory if shm.is_dir() and shutil.disk_usage(shm).free >= ROOM_IN_MEMORY else disk

    def namespace(self, host: str) -> str:
        """The network namespace of that host."""
        return f"{self.name}-{host}"

    def cgroup(self, host: str) -> str:
        """The cgroup below which that host's containers live, in every controller."""
        return f"/{self.name}-{host}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every namespace of the lab, the segment's bridge first."""
        return ("net", ROUTER.name, CONTROL.name, *(node.name for node in NODES), CLIENT.name)
