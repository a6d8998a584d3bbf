"""One lab: a Kubernetes cluster of three nodes, a router and a client, as commands and tests hold it.

In:  a name.
Out: `Lab`: up, down, and everything a test does to a cluster in between.
Elsewhere: each part is started with what its own file says (controlplane.py, nodes.py, router.py,
     containerd.py); this file knows the order. Processes are named etcd, registry, apiserver, controller-
     manager, scheduler, forwarder, router-containerd, nX-containerd, nX-kubelet, nX-kube-proxy.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab import certificates, cgroups, containerd, controlplane, network, nodes, router, teardown
from lab.api import Api
from lab.binaries import ensure_binaries
from lab.images import PRODUCT, STORE, build_images, build_product
from lab.processes import Processes
from lab.settings import API_PORT, CLIENT, CONTROL, IMAGES, NODES, REGISTRY_PORT, ROUTER, Node, Settings
from lab.shell import LabError, inside, run, step, wait_until
from lab.store import Store
from lab.versions import Version

_ON_NODE: Final = ("containerd", "kubelet", "kube-proxy")


@dataclass(frozen=True)
class Lab:
    """A lab that is up, or is being brought up."""

    settings: Settings

    @classmethod
    def up(cls, name: str = "lab", *, product: bool = False) -> Lab:
        """Build what is missing, clear what an earlier run left, start everything, and wait until it answers.

        With `product`, the image of the checkout as it is now is built and can be pulled as well.
        """
        lab = cls(Settings(name))
        binaries = ensure_binaries()
        build_images()
        if product:
            build_product()
        lab.down()
        try:
            lab._start(binaries)
        except BaseException:
            # What runs stays for the reader of the logs; the next `lab up` or `lab down` removes it.
            print(f"  the logs are in {lab.settings.logs}", flush=True)
            raise
        return lab

    @classmethod
    def attach(cls, name: str = "lab") -> Lab:
        """A lab that is up already."""
        lab = cls(Settings(name))
        if not lab.kubeconfig.exists():
            raise LabError(f"lab {name} is not up; start it with: lab up")
        return lab

    def down(self) -> None:
        """Remove everything of this lab from the machine."""
        teardown.down(self.settings)

    # What a test asks for

    @property
    def kubeconfig(self) -> Path:
        """Good in the host's own namespace."""
        return self.settings.kubeconfig

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The three nodes with their addresses."""
        return NODES

    @property
    def api(self) -> Api:
        """A small client for a few requests."""
        return Api(self.kubeconfig)

    @property
    def kubectl_path(self) -> Path:
        """The binary, beside the ones that run."""
        return Path(self.processes.get("apiserver").argv[0]).with_name("kubectl")

    @property
    def processes(self) -> Processes:
        """Every process of the lab by name."""
        return Processes(self.settings)

    def kubectl(self, *words: str, input: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Run kubectl as the administrator; returns what it printed."""
        argv = (str(self.kubectl_path), f"--kubeconfig={self.kubeconfig}", *words)
        return run(*argv, input=input, check=check, timeout=timeout).stdout

    def apply(self, what: Path | str) -> str:
        """`kubectl apply` of a file or of YAML itself."""
        if isinstance(what, Path):
            return self.kubectl("apply", "-f", str(what))
        return self.kubectl("apply", "-f", "-", input=what)

    def delete(self, what: Path | str) -> str:
        """`kubectl delete` of the same, content if it is gone already."""
        if isinstance(what, Path):
            return self.kubectl("delete", "--ignore-not-found", "-f", str(what))
        return self.kubectl("delete", "--ignore-not-found", "-f", "-", input=what)

    def exec(
        self, host: str, argv: Sequence[str], *, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the namespace of `cp`, `n1`…`n3`, `router`, `client` or `net`."""
        return run(*inside(self.settings.namespace(host), list(argv)), check=check, timeout=timeout)

    def node_exec(
        self, node: str, argv: Sequence[str], *, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """The same, on a node."""
        return self.exec(node, argv, check=check, timeout=timeout)

    def client_exec(
        self, argv: Sequence[str], *, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """The same, outside the cluster, behind the router."""
        return self.exec(CLIENT.name, argv, check=check, timeout=timeout)

    def router_exec(
        self, argv: Sequence[str], *, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """The same, in the router's namespace (its kernel routes and neighbours; FRR itself: vtysh)."""
        return self.exec(ROUTER.name, argv, check=check, timeout=timeout)

    def vtysh(self, *commands: str, check: bool = True) -> str:
        """Ask or configure FRR in its container."""
        return router.vtysh(self.settings, *commands, check=check)

    # What a test does to it

    def stop(self, name: str, number: int = signal.SIGKILL) -> None:
        """Kill one process, e.g. `apiserver` or `n2-kubelet`."""
        self.processes.stop(name, number)

    def start(self, name: str) -> None:
        """Start it again, as it was; kube-proxy with the ConfigMap as it is now."""
        if name.endswith("-kube-proxy"):
            self._start_kube_proxy(next(node for node in NODES if name.startswith(f"{node.name}-")))
        else:
            self.processes.restart(name)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """A stretch of time in which that process does not run."""
        self.stop(name)
        try:
            yield
        finally:
            self.start(name)
            if name in ("apiserver", "etcd"):
                self.wait_for_api()

    def link_down(self, host: str) -> None:
        """Cut a host's wire: it loses carrier."""
        network.link(self.settings, host, up=False)

    def link_up(self, host: str) -> None:
        """Mend it."""
        network.link(self.settings, host, up=True)

    def crash_router(self) -> None:
        """Kill FRR and its container; the namespace and its kernel routes stay."""
        router.stop(self.settings)

    def start_router(self) -> None:
        """Start FRR again with the configuration it had at first."""
        router.start(self.settings)
        wait_until(lambda: router.answers(self.settings), "FRR answers", 30)

    def push_image(self, image: str = PRODUCT, digest: str | None = None) -> None:
        """Serve an image under that name and make the nodes take it; the product is built first."""
        if digest is None:
            digest = build_product() if image == PRODUCT else STORE.resolve(image)
        if digest is None:
            raise LabError(f"no image {image} was built here")
        self._own_store.set_tag(image, digest)
        with ThreadPoolExecutor(len(NODES)) as pool:
            for done in [
                pool.submit(containerd.pull, self.settings, n.name, f"docker.io/{image}") for n in NODES
            ]:
                done.result()

    def push_version(self, version: Version) -> None:
        """The same with the product as it was at a tag; its manifest names the image that is pulled here."""
        self.push_image(version.image, build_product(version.image, version.root))

    def wait_for_api(self, timeout: float = 60) -> None:
        """Until the API server answers."""
        wait_until(self.api.ready, f"API server answers\n{self.processes.log_tail('apiserver')}", timeout)

    # How it comes up

    @property
    def _own_store(self) -> Store:
        """The names this lab gives to images: another lab's build changes nothing here."""
        return Store(self.settings.run / "images")

    def _start(self, binaries: Path) -> None:
        settings, start = self.settings, self.processes.start
        settings.run.mkdir(parents=True)
        settings.data().mkdir(parents=True)
        with step("network"):
            network.create(settings)
        with step("API server"):
            start("etcd", controlplane.etcd(settings, binaries), CONTROL.name)
            certificates.create(settings.pki)
            start("apiserver", controlplane.apiserver(settings, binaries), CONTROL.name)
            self._start_registry_and_door()
            self._prepare_hosts()
            self._write_kubeconfigs()
            with ThreadPoolExecutor(1) as pool:
                routed = pool.submit(self._start_router)
                self.wait_for_api()
                routed.result()
        with step("nodes"):
            for node in NODES:
                self.api.create("/api/v1/nodes", nodes.node_object(node))
            self.api.create("/api/v1/namespaces/kube-system/configmaps", nodes.kube_proxy_config_map())
            start("controller-manager", controlplane.controller_manager(settings, binaries), CONTROL.name)
            start("scheduler", controlplane.scheduler(settings, binaries), CONTROL.name)
            for node in NODES:
                start(f"{node.name}-kubelet", nodes.kubelet(settings, node, binaries), node.name)
            for node in NODES:
                self._start_kube_proxy(node)
            self._wait_for_nodes()
        with step("router"):
            wait_until(lambda: router.answers(settings), "FRR answers", 30)

    def _start_registry_and_door(self) -> None:
        """The registry before any node: policy Always fails without it even if the image is there."""
        if (digest := STORE.resolve(PRODUCT)) is not None:
            self._own_store.set_tag(PRODUCT, digest)
        python, address, run_directory = sys.executable, CONTROL.address, self.settings.run
        stores = (self._own_store.path, IMAGES)
        self.processes.start(
            "registry", [python, "-m", "lab.registry", address, str(REGISTRY_PORT), *stores], CONTROL.name
        )
        space, door = self.settings.namespace(CONTROL.name), run_directory / "port"
        self.processes.start(
            "forwarder", [python, "-m", "lab.forwarder", space, address, str(API_PORT), door]
        )

    def _prepare_hosts(self) -> None:
        containerd.write_registries(self.settings)
        for host in (ROUTER, *NODES):
            cgroups.create(self.settings.cgroup(host.name))
            command = containerd.prepare(self.settings, host.name, kubernetes=host is not ROUTER)
            if isinstance(host, Node):
                nodes.prepare(self.settings, host)
            self.processes.start(f"{host.name}-containerd", command, host.name)

    def _write_kubeconfigs(self) -> None:
        pki, own = self.settings.pki, self.settings.run
        server = f"https://{CONTROL.address}:{API_PORT}"
        for user in ("kube-controller-manager", "kube-scheduler"):
            certificates.kubeconfig(pki, user, server, own / "cp" / f"{user}.kubeconfig")
        for node in NODES:
            certificates.kubeconfig(
                pki, f"kubelet-{node.name}", server, own / node.name / "kubelet.kubeconfig"
            )
            certificates.kubeconfig(pki, "kube-proxy", server, own / node.name / "kube-proxy.kubeconfig")
        door = own / "port"
        port = wait_until(lambda: door.exists() and door.read_text(), "the door to the API server", 20)
        certificates.kubeconfig(pki, "admin", f"https://127.0.0.1:{port}", self.kubeconfig)

    def _start_router(self) -> None:
        socket = containerd.socket(self.settings, ROUTER.name)
        wait_until(
            socket.exists, f"the router's containerd\n{self.processes.log_tail('router-containerd')}", 30
        )
        registry = self.processes.get("registry")
        wait_until(lambda: registry.listens(REGISTRY_PORT), "the registry listens", 30)
        router.start(self.settings)

    def _start_kube_proxy(self, node: Node) -> None:
        """With the configuration that the cluster holds at this moment, as kubeadm's DaemonSet does."""
        path = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"
        config = self.api.get(path)["data"]["config.conf"]
        binaries = Path(self.processes.get("apiserver").argv[0]).parent
        name = f"{node.name}-kube-proxy"
        if any(process.name == name and process.alive for process in self.processes.all()):
            self.processes.stop(name)
        self.processes.start(name, nodes.kube_proxy(self.settings, node, binaries, config), node.name)

    def _wait_for_nodes(self) -> None:
        wanted = {node.name for node in NODES}
        try:
            wait_until(lambda: self.api.nodes_ready() == wanted, "nodes are Ready", 60, pause=0.2)
        except LabError as late:
            missing = sorted(wanted - self.api.nodes_ready())
            tails = "\n".join(self.processes.log_tail(f"{name}-kubelet") for name in missing)
            raise LabError(f"{late}; missing: {', '.join(missing)}\n{tails}") from late
