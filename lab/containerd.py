"""One containerd for each machine of the lab that runs containers: the three nodes and the router.

In:  Settings, a host's name.
Out: its configuration (images only from the lab's registry; sandboxes' namespaces below its own state
     directory, so that they are never mixed with another job's), its arguments, and `ctr` for it.
Elsewhere: kubelet in nodes.py, FRR's container in router.py.
"""

from __future__ import annotations

from pathlib import Path

from lab.images import PAUSE
from lab.settings import CONTROL, REGISTRY_PORT, Settings
from lab.shell import inside, run

_CONFIG = """\
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing"{without}]

[grpc]
  address = "{socket}"

[debug]
  level = "warn"

[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/{pause}"
  # This machine may lack CAP_SYS_RESOURCE: runc would die of a score that it may not lower.
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  stream_server_address = "127.0.0.1"
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    discard_unpacked_layers = true
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{state_of_host}/runc"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state_of_host}/cni"

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries}"
"""

_HOSTS = """\
server = "http://{address}"
[host."http://{address}"]
  capabilities = ["pull", "resolve"]
"""


def socket(settings: Settings, host: str) -> Path:
    """Its gRPC socket."""
    return settings.run / host / "containerd.sock"


def registries(settings: Settings) -> Path:
    """Where containerd and ctr look up which registry serves which name."""
    return settings.run / "registries"


def write_registries(settings: Settings) -> None:
    """Every name is served by the lab's own registry; what it lacks fails at once."""
    for name in ("docker.io", "_default"):
        directory = registries(settings) / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts.toml").write_text(_HOSTS.format(address=f"{CONTROL.address}:{REGISTRY_PORT}"))


def prepare(settings: Settings, host: str, *, kubernetes: bool) -> list[str | Path]:
    """Write the configuration; returns the command."""
    own = settings.run / host
    (own / "cni").mkdir(parents=True, exist_ok=True)
    config = own / "containerd.toml"
    config.write_text(
        _CONFIG.format(
            root=settings.data() / host / "containerd",
            state=own / "containerd",
            socket=socket(settings, host),
            pause=PAUSE,
            registries=registries(settings),
            state_of_host=own,
            without="" if kubernetes else ', "io.containerd.grpc.v1.cri"',
        )
    )
    return ["containerd", "--config", config]


def ctr(settings: Settings, host: str, *words: str, namespace: str = "k8s.io", check: bool = True) -> str:
    """Run ctr against that host's containerd, in its network namespace: ctr dials the registry itself."""
    argv = ["ctr", "--address", str(socket(settings, host)), "-n", namespace, *words]
    return run(*inside(settings.namespace(host), argv), check=check).stdout


def pull(settings: Settings, host: str, image: str, namespace: str = "k8s.io") -> None:
    """Pull by its full name."""
    ctr(
        settings, host, "images", "pull", "--hosts-dir", str(registries(settings)), image, namespace=namespace
    )
