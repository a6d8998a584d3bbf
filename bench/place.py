"""What is needed of a cluster to measure it: its API, its router, and where its pods' cgroups are.

In:  a lab's name. Out: Place; nothing else here knows how a lab is built.
"""

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.settings import API_PORT, CONTROL, NODES, NODES_AS, ROUTER, ROUTER_AS, Settings

CGROUPS: Final = Path("/sys/fs/cgroup")
NAMESPACES: Final = Path("/run/netns")
CLONE_NEWNET: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Door:
    """Where the API server listens: the lab's own way in is a program, whose milliseconds would count."""

    namespace: str  # empty: this one
    host: str
    port: int


@dataclass(frozen=True)
class Place:
    """One cluster with one router."""

    kubeconfig: Path
    api: Door
    router: str  # network namespace
    router_address: str
    router_as: int
    nodes_as: int
    nodes: dict[str, str]  # address -> name
    cgroups: tuple[Path, ...]  # below which the pods of each node live

    def in_router(self, *argv: str) -> list[str]:
        """The command line that runs this in the router's network namespace."""
        return ["nsenter", f"--net={NAMESPACES / self.router}", "--", *argv]


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
        api=Door(settings.namespace(CONTROL.name), CONTROL.address, API_PORT),
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


@contextmanager
def entered(namespace: str) -> Iterator[None]:
    """Sockets that this thread makes meanwhile belong to that network namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(NAMESPACES / namespace, os.O_RDONLY)
    try:
        _setns(there)
        yield
    finally:
        _setns(home)
        os.close(home)
        os.close(there)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
