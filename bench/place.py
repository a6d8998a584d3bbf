"""What is needed of a cluster to measure it: its API, its router, and where its pods' cgroups are.

In:  a lab's name. Out: Place; nothing else here knows how a lab is built.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.settings import NODES, NODES_AS, ROUTER, ROUTER_AS, Settings

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Place:
    """One cluster with one router."""

    kubeconfig: Path
    router: str  # network namespace
    router_address: str
    router_as: int
    nodes_as: int
    nodes: dict[str, str]  # address -> name
    cgroups: tuple[Path, ...]  # below which the pods of each node live

    def in_router(self, *argv: str) -> list[str]:
        """The command line that runs this in the router's network namespace."""
        return ["nsenter", f"--net=/run/netns/{self.router}", "--", *argv]


def of_lab(name: str) -> Place:
    """The lab of that name, which is up."""
    settings = Settings(name)
    controllers = ("cpuacct", "pids", "")  # cgroup v1 has one tree a controller, v2 has one
    cgroups = [
        CGROUPS / controller / settings.cgroup(node.name).lstrip("/")
        for node in NODES
        for controller in controllers
    ]
    return Place(
        kubeconfig=settings.kubeconfig,
        router=settings.namespace(ROUTER.name),
        router_address=ROUTER.address,
        router_as=ROUTER_AS,
        nodes_as=NODES_AS,
        nodes={node.address: node.name for node in NODES},
        cgroups=tuple(path for path in cgroups if path.is_dir()),
    )


def interface_to(place: Place, address: str) -> str:
    """The router's interface towards that address."""
    argv = place.in_router("ip", "-j", "route", "get", address)
    answer = subprocess.run(argv, capture_output=True, check=True, text=True)
    return str(json.loads(answer.stdout)[0]["dev"])
