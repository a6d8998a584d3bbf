"""CPU seconds and memory of an implementation's pods, by component, from the kernel's own books.

In:  the API, a namespace, where the cgroups are.
Out: CPU of each pod's cgroup (cumulative, ended children included); RSS and PSS of each process
     (smaps_rollup; PSS counts shared pages once).
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.api import Api
from bench.place import Place
from bench.processes import seconds

_LABELS = ("component", "app.kubernetes.io/component", "app.kubernetes.io/name", "app", "k8s-app")


class Memory(Struct, frozen=True):
    """MiB of one process, or of several added up."""

    rss: float
    pss: float

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.rss + other.rss, self.pss + other.pss)


class Pod(Struct, frozen=True):
    name: str
    component: str
    node: str
    cgroups: tuple[Path, ...]

    def cpu(self) -> float:
        """Seconds since the pod began."""
        for cgroup in self.cgroups:
            if (file := cgroup / "cpuacct.usage").exists():
                return int(file.read_text()) / 1e9
            if (file := cgroup / "cpu.stat").exists() and "usage_usec" in (text := file.read_text()):
                return int(text.split()[1]) / 1e6
        return 0.0

    def pids(self) -> set[int]:
        """Its processes, those that only hold the pod's namespaces left out."""
        found = {
            int(pid)
            for cgroup in self.cgroups
            for file in [cgroup / "cgroup.procs", *cgroup.rglob("cgroup.procs")]
            if file.exists()
            for pid in file.read_text().split()
        }
        return {pid for pid in found if process_name(pid) not in ("pause", "sleep", "")}

    def processes(self) -> dict[str, Memory]:
        """By what the process is; several of one name are added up."""
        total: dict[str, Memory] = {}
        for pid in self.pids():
            with suppress(OSError, ValueError, KeyError):  # gone meanwhile
                memory = _memory(pid)
                total[process_name(pid)] = total.get(process_name(pid), Memory(0, 0)) + memory
        return total


def pods(api: Api, place: Place, namespace: str) -> list[Pod]:
    """The namespace's running pods."""
    items = api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    return [_pod(item, place) for item in items if item["status"].get("phase") == "Running"]


def _pod(item: dict[str, Any], place: Place) -> Pod:
    metadata = item["metadata"]
    labels = metadata.get("labels", {})
    component = next((labels[key] for key in _LABELS if key in labels), metadata["name"])
    uid = metadata["uid"]
    found = {path for root in place.cgroups for path in root.rglob(f"*pod{uid}*") if path.is_dir()}
    return Pod(metadata["name"], component, item["spec"].get("nodeName", ""), tuple(sorted(found)))


def cpu_by_component(all_pods: list[Pod]) -> dict[str, float]:
    total: dict[str, float] = {}
    for pod in all_pods:
        total[pod.component] = total.get(pod.component, 0.0) + pod.cpu()
    return total


def cpu_by_process(all_pods: list[Pod]) -> dict[str, float]:
    """`component.process` -> seconds since it began, over all nodes: where the time of a component goes."""
    total: dict[str, float] = {}
    for pod in all_pods:
        for pid in pod.pids():
            with suppress(OSError, ValueError, IndexError):  # gone meanwhile
                name = f"{pod.component}.{process_name(pid)}"
                total[name] = total.get(name, 0.0) + seconds(pid)
    return total


def memory_by_component(all_pods: list[Pod]) -> dict[str, dict[str, Memory]]:
    """component -> process -> memory, of the pod of each component that has most."""
    largest: dict[str, dict[str, Memory]] = {}
    for pod in all_pods:
        mine = pod.processes()
        if sum_of(mine).pss > sum_of(largest.get(pod.component, {})).pss:
            largest[pod.component] = mine
    return largest


def sum_of(processes: dict[str, Memory]) -> Memory:
    return sum(processes.values(), Memory(0, 0))


def process_name(pid: int) -> str:
    """What a person would call it: the module of python -m, an interpreter's script, else the program."""
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""  # gone meanwhile
    if "python" in Path(words[0]).name:
        if "-m" in words:
            return words[words.index("-m") + 1]
        script = next((word for word in words[1:] if word and not word.startswith("-")), "python")
        return Path(script).name
    return Path(words[0]).name.split(" ")[0]


def _memory(pid: int) -> Memory:
    fields = {}
    for line in (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        key, value, *_ = line.split()
        fields[key] = int(value) / 1024
    return Memory(fields["Rss:"], fields["Pss:"])
