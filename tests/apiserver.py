"""A real API server for tests: etcd and kube-apiserver on loopback, nothing else of a cluster.

    from tests.apiserver import ApiServer, apiserver   # in a conftest.py: the fixture, one a session, ~5 s

    async with Client(apiserver.access()) as client: ...    # admin; access("controller") falls under RBAC
    apiserver.kubectl("apply", "-f", "k8s/crds.yaml")       # also: apiserver.kubeconfig, for programs
    apiserver.restart()                                     # as in an upgrade: watches end, versions stay

In:  the binaries: KUBEBUILDER_ASSETS, else the lab's cache (XDG_CACHE_HOME/metalbgp-lab/bin-1.36.3).
Out: a server with dual-stack Service addresses and RBAC. Services get cluster IPs; Nodes, Pods and
     EndpointSlices are whatever a test creates; nothing is garbage-collected. Both processes die with pytest.
Users (tokens): admin (system:masters), controller, speaker (ServiceAccounts of namespace metallb-system),
     nobody (authenticated only).
"""

import os
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from metalbgp.cluster.access import Access

MANIFEST = Path(__file__).resolve().parents[1] / "k8s" / "metalbgp.yaml"
VERSION = "1.36.3"
NAMESPACE = "metallb-system"
LIMIT = 60.0  # seconds for each of the two to answer; alone they take 1 and 4
USERS = {
    "admin": ("admin", "system:masters"),
    "controller": (
        f"system:serviceaccount:{NAMESPACE}:controller",
        f"system:serviceaccounts,system:serviceaccounts:{NAMESPACE}",
    ),
    "speaker": (
        f"system:serviceaccount:{NAMESPACE}:speaker",
        f"system:serviceaccounts,system:serviceaccounts:{NAMESPACE}",
    ),
    "nobody": ("nobody", ""),
}
KUBECONFIG = """apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
clusters: [{{name: test, cluster: {{server: "{server}", certificate-authority: "{ca}"}}}}]
users: [{{name: test, user: {{token: "{token}"}}}}]
"""


def binaries() -> Path:
    """The folder with etcd, kube-apiserver and kubectl. Fails with what to do."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    places = [cache / "metalbgp-lab" / f"bin-{VERSION}"]
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        places.insert(0, Path(assets))
    for place in places:
        if all((place / name).exists() for name in ("etcd", "kube-apiserver", "kubectl")):
            return place
    looked = " or ".join(str(place) for place in places)
    pytest.fail(
        f"no etcd, kube-apiserver and kubectl in {looked}: run `lab/lab binaries` once, "
        "or set KUBEBUILDER_ASSETS",
        pytrace=False,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ApiServer:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = f"https://127.0.0.1:{free_port()}"
        self.kubeconfig = root / "kubeconfig"
        self._bin = binaries()
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        self._peer_url = f"http://127.0.0.1:{free_port()}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []

    # ------------------------------------------------------------------ what tests use

    def access(self, user: str = "admin") -> Access:
        return Access(self.url, ca_data=self._ca.read_bytes(), token=_token(user), namespace=NAMESPACE)

    def kubeconfig_of(self, user: str) -> str:
        """For a process of its own."""
        return KUBECONFIG.format(server=self.url, ca=self._ca, token=_token(user))

    def kubectl(self, *args: str, stdin: str = "") -> str:
        done = subprocess.run(
            [str(self._bin / "kubectl"), f"--kubeconfig={self.kubeconfig}", *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)}: {done.stderr}")
        return done.stdout

    def apply_manifest(self) -> None:
        """k8s/metalbgp.yaml but for the webhook: no Service leads anywhere here, so each write would wait."""
        parts = MANIFEST.read_text().split("\n---\n")
        kept = [part for part in parts if "\nkind: ValidatingWebhookConfiguration\n" not in f"\n{part}"]
        assert len(kept) == len(parts) - 1
        self.kubectl("apply", "-f", "-", stdin="\n---\n".join(kept))

    def install(self) -> None:
        """The product's kinds, and then its manifest."""
        self.kubectl("apply", "-f", str(MANIFEST.with_name("crds.yaml")))
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        self.apply_manifest()

    def restart(self) -> None:
        """Kill the API server and start it again on the same port; etcd goes on."""
        self._stop("kube-apiserver")
        self._start_apiserver()

    def kill(self) -> None:
        """Only kill it; `restart` brings it back."""
        self._stop("kube-apiserver")

    def send(self, what: signal.Signals) -> None:
        """SIGSTOP: it keeps all connections and answers nothing; SIGCONT."""
        self._running["kube-apiserver"].send_signal(what)

    # ------------------------------------------------------------------ running

    def start(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (self.root / "sa.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        lines = [
            f'{_token(user)},{name},{name},"{groups}"' if groups else f"{_token(user)},{name},{name}"
            for user, (name, groups) in USERS.items()
        ]
        (self.root / "tokens.csv").write_text("\n".join(lines) + "\n")
        self.kubeconfig.write_text(self.kubeconfig_of("admin"))
        self._run(
            "etcd",
            f"--data-dir={self.root / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={self._peer_url}",
            f"--initial-advertise-peer-urls={self._peer_url}",
            f"--initial-cluster=default={self._peer_url}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._start_apiserver()
        self.kubectl("create", "namespace", NAMESPACE)

    def _start_apiserver(self) -> None:
        self._run(
            "kube-apiserver",
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.url.rpartition(':')[2]}",
            f"--cert-dir={self.root / 'certs'}",  # it signs itself; its certificate is the CA
            f"--token-auth-file={self.root / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.root / 'sa.key'}",
            f"--service-account-signing-key-file={self.root / 'sa.key'}",
            "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112",
            "--disable-admission-plugins=ServiceAccount",  # no controller makes them here
            "--endpoint-reconciler-type=none",
            "--allow-privileged",
            "--profiling=false",
        )
        self._ready()

    def _run(self, name: str, *args: str) -> None:
        log = (self.root / f"{name}.log").open("ab")
        self._logs.append(log)
        # pdeathsig: nothing stays behind when pytest itself is killed
        command = ["setpriv", "--pdeathsig", "KILL", "--", str(self._bin / name), *args]
        self._running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def _ready(self) -> None:
        """Wait for /readyz; a process that ends meanwhile shows its last words."""
        process = self._running["kube-apiserver"]
        for _ in range(int(LIMIT / 0.1)):
            if self._answers():
                return
            try:
                process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        words = (self.root / "kube-apiserver.log").read_text(errors="replace")[-2000:]
        raise AssertionError(f"kube-apiserver did not become ready:\n{words}")

    def _answers(self) -> bool:
        try:
            context = ssl.create_default_context(cafile=str(self._ca))
            request = urllib.request.Request(  # noqa: S310 - https, to ourselves
                self.url + "/readyz", headers={"Authorization": f"Bearer {_token('admin')}"}
            )
            with urllib.request.urlopen(request, context=context, timeout=2) as answer:  # noqa: S310 - the same
                return bool(answer.status == 200)
        except OSError:
            return False

    def _stop(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is not None:
            process.kill()  # by the pid that we started
            process.wait()

    def stop(self) -> None:
        for name in ("kube-apiserver", "etcd"):
            self._stop(name)
        for log in self._logs:
            log.close()

    @property
    def _ca(self) -> Path:
        return self.root / "certs" / "apiserver.crt"

    def __repr__(self) -> str:
        return f"ApiServer({self.url})"


def _token(user: str) -> str:
    return f"test-token-of-{user}"


@contextmanager
def running(folder: Path) -> Iterator[ApiServer]:
    """One of its own, for a test that stops it or makes many objects."""
    server = ApiServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: Any) -> Iterator[ApiServer]:
    with running(tmp_path_factory.mktemp("apiserver")) as server:
        yield server
