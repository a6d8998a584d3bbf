"""Where the API server is, and what lets us in. Files are read again when they change.

In:  in a pod: KUBERNETES_SERVICE_HOST/PORT and the ServiceAccount's files; else a kubeconfig.
Out: Access: `server`, `headers()` and `tls()`, asked anew for every request, so a rotated token or CA counts
     within a second. Files are small and local: reading them blocks for microseconds.
Elsewhere: exec plugins and OIDC are the CLI's business (the official client reads those).
"""

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from metalbgp.cluster.errors import AccessError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LOOK = 1.0  # seconds between two stat() of one file: bursts of requests do not pay for it each
REREAD = 60.0  # seconds; a change that stat() cannot show (same size, coarse mtime) is seen by then


class WatchedFile:
    """The content of a file that others replace. A missing or empty one leaves the last good content."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, *, look: float = LOOK
    ) -> None:
        self.path = path
        self._clock = clock
        self._look = look
        self._looked_at = float("-inf")
        self._mark: tuple[int, int, int] | None = None
        self._read_at = float("-inf")
        self._content = b""

    def read(self) -> bytes:
        now = self._clock()
        if self._mark is not None and now - self._looked_at < self._look:
            return self._content
        self._looked_at = now
        try:
            stat = self.path.stat()
            mark = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if mark != self._mark or now - self._read_at >= REREAD:
                content = self.path.read_bytes()
                if content.strip():  # kubelet truncates before it fills: emptiness is never news
                    self._content, self._mark, self._read_at = content, mark, now
        except OSError:
            self._mark = None
        return self._content

    def distrust(self) -> None:
        """Read again at the next request, whatever stat() says (after a 401)."""
        self._mark = None


class Access:
    """One API server and one identity. Exactly one of `token`, `token_file` and `certificate` is usual."""

    def __init__(
        self,
        server: str,
        *,
        ca_file: WatchedFile | None = None,
        ca_data: bytes = b"",
        token: str = "",
        token_file: WatchedFile | None = None,
        certificate: tuple[bytes, bytes] | None = None,  # PEM: certificate chain, key
        verify: bool = True,
        namespace: str = "default",
    ) -> None:
        self.server = server.rstrip("/")
        self.namespace = namespace
        self._ca_file = ca_file
        self._ca = ca_data
        self._token = token
        self._token_file = token_file
        self._certificate = certificate
        self._verify = verify
        self._tls: ssl.SSLContext | None = None

    def headers(self) -> dict[str, str]:
        """The Authorization header. Raises AccessError while the token file has never been readable."""
        token = self._token
        if self._token_file is not None:
            token = self._token_file.read().decode("ascii", "replace").strip()
            if not token:
                raise AccessError(
                    f"token file {self._token_file.path}", "missing or empty; kubelet fills it, tried again"
                )
        return {"Authorization": f"Bearer {token}"} if token else {}

    def distrust(self) -> None:
        """A 401 came: read the token again before the next request."""
        if self._token_file is not None:
            self._token_file.distrust()

    def tls(self) -> ssl.SSLContext | bool:
        """The TLS context; a new one (so new connections) after the CA file changed."""
        if not self.server.startswith("https"):
            return False
        if self._ca_file is not None and (content := self._ca_file.read()) != self._ca:
            self._ca, self._tls = content, None
        if self._tls is None:
            self._tls = self._context()
        return self._tls

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cadata=self._ca.decode("ascii") if self._ca else None)
            if not self._verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self._certificate is not None:
                with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # OpenSSL reads chains from files
                    file.write(self._certificate[0] + b"\n" + self._certificate[1])
                    file.flush()
                    context.load_cert_chain(file.name)
        except (ssl.SSLError, ValueError) as error:
            raise AccessError(
                f"TLS to {self.server}", f"unusable CA or client certificate: {error}"
            ) from error
        return context


def find(kubeconfig: str = "", environ: Mapping[str, str] = os.environ) -> Access:
    """--kubeconfig, else KUBECONFIG, else the pod's own, else ~/.kube/config."""
    path = kubeconfig or environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    if path:
        return from_kubeconfig(Path(path))
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environ)
    home = Path(environ.get("HOME", "/")) / ".kube" / "config"
    if home.exists():
        return from_kubeconfig(home)
    raise AccessError("no cluster", "not in a pod, and no kubeconfig: give --kubeconfig or set KUBECONFIG")


def in_cluster(environ: Mapping[str, str] = os.environ, root: Path = SERVICE_ACCOUNT) -> Access:
    """The ServiceAccount of this pod. The files may be filled later: requests fail until then."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise AccessError("in-cluster configuration", "KUBERNETES_SERVICE_HOST is not set")
    if ":" in host:
        host = f"[{host}]"
    namespace = WatchedFile(root / "namespace").read().decode().strip() or "default"
    return Access(
        f"https://{host}:{port}",
        ca_file=WatchedFile(root / "ca.crt"),
        token_file=WatchedFile(root / "token"),
        namespace=namespace,
    )


def from_kubeconfig(path: Path, context: str = "") -> Access:
    """A plain kubeconfig: server, CA, and a client certificate or token. Raises AccessError."""
    import yaml  # here only: a pod never needs it

    try:
        document = yaml.safe_load(path.read_text())
        chosen = _named(document, "contexts", context or document.get("current-context", ""))["context"]
        cluster = _named(document, "clusters", chosen["cluster"])["cluster"]
        user = _named(document, "users", chosen["user"])["user"] or {}
        if "exec" in user or "auth-provider" in user:
            raise AccessError(
                f"kubeconfig {path}", "exec plugins are not read here; use a token or certificate"
            )
        certificate = _material(path, user, "client-certificate")
        key = _material(path, user, "client-key")
        token_file = user.get("tokenFile")
        return Access(
            cluster["server"],
            ca_data=_material(path, cluster, "certificate-authority"),
            token=user.get("token", ""),
            token_file=WatchedFile(path.parent / token_file) if token_file else None,
            certificate=(certificate, key) if certificate and key else None,
            verify=not cluster.get("insecure-skip-tls-verify", False),
            namespace=chosen.get("namespace") or "default",
        )
    except OSError as error:
        raise AccessError(f"kubeconfig {path}", f"cannot be read: {error}") from error
    except (yaml.YAMLError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise AccessError(f"kubeconfig {path}", f"cannot be used: {error!r}") from error


def _named(document: Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    for entry in document.get(section) or ():
        if entry.get("name") == name:
            found: Mapping[str, Any] = entry
            return found
    raise LookupError(f'{section} has no "{name}"')


def _material(path: Path, section: Mapping[str, Any], field: str) -> bytes:
    """`field-data` (base64) or the file that `field` names, relative to the kubeconfig."""
    if data := section.get(f"{field}-data"):
        return base64.b64decode(str(data))
    if name := section.get(field):
        return (path.parent / str(name)).read_bytes()
    return b""
