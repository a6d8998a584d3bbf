"""Leave the machine as it was, also after a crash at any moment.

In:  a lab's name; nothing else is trusted to exist.
Out: no process, container, mount, namespace, cgroup or file of that lab, and nothing of anybody else touched.
     Containers outlive containerd and its shims, in namespaces of their own: they are found by the lab's
     cgroups. The order matters: kubelets first (they would start pods again), containers, mounts,
     namespaces, cgroups, files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Final

from lab import cgroups, network
from lab.nodes import cni_network
from lab.processes import Processes, gone, kill
from lab.settings import NODES, ROUTER, RUN, Settings
from lab.shell import NETNS, LabError, run, wait_until

_SHIM_SOCKETS: Final = Path("/run/containerd/s")
_CNI_RECORDS: Final = Path("/var/lib/cni/results")
_LOG_LINKS: Final = Path("/var/log/containers")
_PLUGIN_SOCKET: Final = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
# Directories that the lab's programs insist on; removed with the last lab.
_SHARED: Final = (
    _SHIM_SOCKETS,
    _SHIM_SOCKETS.parent / "fifo",
    _SHIM_SOCKETS.parent,
    _LOG_LINKS,
    _PLUGIN_SOCKET.parent,
    _PLUGIN_SOCKET.parent.parent,
    _CNI_RECORDS,
    _CNI_RECORDS.parent,
)
_CONTAINER_HOSTS: Final = (*(node.name for node in NODES), ROUTER.name)


def down(settings: Settings) -> None:
    """Remove everything of that lab."""
    sockets = _shim_sockets(settings)
    _kill_processes(settings)
    orphans = _kill_containers(settings)
    _remove_pod_namespaces(settings, orphans)
    _unmount(settings)
    network.remove(settings)
    for host in _CONTAINER_HOSTS:
        group = settings.cgroup(host)
        with contextlib.suppress(LabError):  # leftovers() tells
            wait_until(partial(_group_gone, group), f"removal of {group}", 3)
    for path in (*sockets, *_cni_records(settings), *_log_links(settings)):
        path.unlink(missing_ok=True)
    _remove_files(settings)


def _group_gone(group: str) -> bool:
    """A killed task leaves its cgroup a moment after it left /proc."""
    cgroups.remove(group)
    return not cgroups.left(group)


def _await_end(pids: set[int], what: str) -> None:
    wait_until(lambda: gone(pids), what, 15)


def leftovers(settings: Settings) -> list[str]:
    """What is still there; empty after a good `down`."""
    found = [f"process {pid}" for pid in _pids(settings)]
    found += [f"mount {path}" for path in _mounts(settings)]
    found += [f"namespace {ns}" for ns in map(settings.namespace, settings.hosts) if (NETNS / ns).exists()]
    found += [f"cgroup {path}" for host in _CONTAINER_HOSTS for path in cgroups.left(settings.cgroup(host))]
    found += [f"file {path}" for path in (*_cni_records(settings), *_log_links(settings))]
    found += [f"directory {path}" for path in (settings.run, *settings.data_places) if path.exists()]
    return found


def _kill_processes(settings: Settings) -> None:
    """kubelets at once, then all others that we started or that run in the lab's namespaces."""
    processes = Processes(settings)
    first = [
        each.pid for each in processes.all() if each.alive and each.name.endswith(("kubelet", "kube-proxy"))
    ]
    kill(first)
    for _ in range(5):  # whatever was being started meanwhile
        pids = _pids(settings)
        if not pids:
            return
        kill(pids)
        _await_end(pids, f"end of {sorted(pids)}")


def _pids(settings: Settings) -> set[int]:
    """Ours by record, by mark, or by being in one of the lab's namespaces; never this process."""
    processes = Processes(settings)
    found = {process.pid for process in processes.all() if process.alive} | processes.marked()
    inodes = {
        path.stat().st_ino
        for name in map(settings.namespace, settings.hosts)
        if (path := NETNS / name).is_file()
    }
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "ns" / "net").stat().st_ino in inodes:
                found.add(int(entry.name))
    return {pid for pid in found if not gone([pid])} - {os.getpid()}


def _kill_containers(settings: Settings) -> set[int]:
    """Kill what lives in the lab's cgroups; returns the network namespaces those processes were in."""
    namespaces: set[int] = set()
    for _ in range(5):
        pids = set().union(*(cgroups.pids(settings.cgroup(host)) for host in _CONTAINER_HOSTS))
        pids = {pid for pid in pids if not gone([pid])}
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(OSError):
                namespaces.add(Path(f"/proc/{pid}/ns/net").stat().st_ino)
        kill(pids)
        _await_end(pids, f"end of the containers' {sorted(pids)}")
    return namespaces - {Path("/proc/self/ns/net").stat().st_ino}


def _remove_pod_namespaces(settings: Settings, inodes: set[int]) -> None:
    """Only those that the killed containers lived in or that this lab's CNI records name."""
    named = set()
    for record in _cni_records(settings):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            interfaces = json.loads(record.read_text()).get("result", {}).get("interfaces", [])
            named |= {Path(each["sandbox"]).name for each in interfaces if each.get("sandbox")}
    for path in NETNS.glob("cni-*"):
        with contextlib.suppress(OSError):
            if path.name in named or path.stat().st_ino in inodes:
                run("ip", "netns", "del", path.name, check=False)


def _mounts(settings: Settings) -> list[Path]:
    """Mounts below the lab's directories, the deepest first."""
    tops = (settings.run, *settings.data_places)
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    paths = (Path(point.encode().decode("unicode_escape")) for point in points)
    own = [path for path in paths if any(path.is_relative_to(top) for top in tops)]
    return sorted(own, key=lambda path: len(path.parts), reverse=True)


def _unmount(settings: Settings) -> None:
    for _ in range(3):  # one over another at the same place
        mounts = _mounts(settings)
        if not mounts:
            return
        for start in range(0, len(mounts), 50):
            run("umount", *mounts[start : start + 50], check=False)
        for path in _mounts(settings):
            run("umount", "-l", path, check=False)


def _shim_sockets(settings: Settings) -> list[Path]:
    """Shims keep their sockets outside of containerd's state directory, but note the address in it."""
    found = []
    for host in _CONTAINER_HOSTS:
        state = settings.run / host / "containerd" / "io.containerd.runtime.v2.task"
        for note in state.glob("*/*/address"):
            with contextlib.suppress(OSError):
                path = Path(note.read_text().removeprefix("unix://"))
                if path.is_relative_to(_SHIM_SOCKETS):
                    found.append(path)
    return found


def _cni_records(settings: Settings) -> list[Path]:
    """CNI's records of this lab's networks, and those of the loopback of the same containers."""
    found = []
    for node in NODES:
        network_name = cni_network(settings, node.name)
        for path in _CNI_RECORDS.glob(f"{network_name}-*"):
            container = path.name.removeprefix(f"{network_name}-").rpartition("-")[0]
            found += [path, *_CNI_RECORDS.glob(f"cni-loopback-{container}-*")]
    return found


def _log_links(settings: Settings) -> list[Path]:
    """kubelet links every container's log to one place for the whole machine."""
    if not _LOG_LINKS.is_dir():
        return []
    tops = tuple(f"{place}/" for place in settings.data_places)
    return [
        link for link in _LOG_LINKS.iterdir() if link.is_symlink() and str(link.readlink()).startswith(tops)
    ]


def _remove_files(settings: Settings) -> None:
    mounts = _mounts(settings)
    if mounts:
        raise LabError(f"still mounted, so no file was removed: {', '.join(map(str, mounts))}")
    for path in (settings.run, *settings.data_places):
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # of the last lab
    if RUN.exists():
        return  # other labs are up and may be about to use the shared directories
    _remove_dead_kubelet_socket()
    for shared in _SHARED:
        with contextlib.suppress(OSError):
            shared.rmdir()  # only if empty, so never another one's


def _remove_dead_kubelet_socket() -> None:
    """Every kubelet binds this one path, whatever its root directory; a living one is another's."""
    if str(_PLUGIN_SOCKET) not in Path("/proc/net/unix").read_text():
        for path in (_PLUGIN_SOCKET, _PLUGIN_SOCKET.with_name("kubelet_internal_checkpoint")):
            path.unlink(missing_ok=True)
