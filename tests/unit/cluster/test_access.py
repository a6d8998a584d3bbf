"""Where the server is and who we are: kubeconfigs, the pod's own files, and files that change."""

import base64
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from metalbgp.cluster.access import Access, WatchedFile, find, from_kubeconfig, in_cluster
from metalbgp.cluster.errors import AccessError


def certificate(name: str) -> tuple[bytes, bytes]:
    """A self-signed one: (certificate, key) as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts:
- {{name: here, context: {{cluster: c, user: u, namespace: metallb-system}}}}
clusters:
- name: c
  cluster: {{server: "https://192.0.2.1:6443/", {cluster}}}
users:
- name: u
  user: {{{user}}}
"""


def kubeconfig(folder: Path, *, cluster: str = "", user: str = "token: abc") -> Path:
    path = folder / "config"
    path.write_text(KUBECONFIG.format(cluster=cluster, user=user))
    return path


def test_a_kubeconfig_with_a_token(tmp_path: Path) -> None:
    access = from_kubeconfig(kubeconfig(tmp_path))
    assert access.server == "https://192.0.2.1:6443"
    assert access.namespace == "metallb-system"
    assert access.headers() == {"Authorization": "Bearer abc"}


def test_a_kubeconfig_with_data_inside(tmp_path: Path) -> None:
    ca, _ = certificate("ca")
    chain, key = (base64.b64encode(part).decode() for part in certificate("admin"))
    access = from_kubeconfig(
        kubeconfig(
            tmp_path,
            cluster=f"certificate-authority-data: {base64.b64encode(ca).decode()}",
            user=f"client-certificate-data: {chain}, client-key-data: {key}",
        )
    )
    assert access.headers() == {}
    context = access.tls()
    assert isinstance(context, ssl.SSLContext)
    assert len(context.get_ca_certs()) == 1
    assert access.tls() is context


def test_a_kubeconfig_names_files_relative_to_itself(tmp_path: Path) -> None:
    ca, _ = certificate("ca")
    chain, key = certificate("admin")
    (tmp_path / "ca.crt").write_bytes(ca)
    (tmp_path / "admin.crt").write_bytes(chain)
    (tmp_path / "admin.key").write_bytes(key)
    access = from_kubeconfig(
        kubeconfig(
            tmp_path,
            cluster="certificate-authority: ca.crt",
            user="client-certificate: admin.crt, client-key: admin.key",
        )
    )
    assert isinstance(access.tls(), ssl.SSLContext)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("exec: {command: aws}", "exec plugins are not read here"),
        ("client-certificate: missing.crt", "missing.crt"),
    ],
)
def test_what_cannot_be_used_says_so(tmp_path: Path, user: str, words: str) -> None:
    with pytest.raises(AccessError, match=words):
        from_kubeconfig(kubeconfig(tmp_path, user=user))


@pytest.mark.parametrize("text", ["", "[]", "{", "current-context: x", "contexts: [{name: x}]"])
def test_a_broken_kubeconfig_is_one_kind_of_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(AccessError, match="kubeconfig"):
        from_kubeconfig(path)


def test_a_flag_wins_over_the_environment_and_the_pod(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path)
    environ = {"KUBECONFIG": "/nowhere", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    assert find(str(path), environ).server == "https://192.0.2.1:6443"
    assert find("", environ | {"KUBECONFIG": str(path)}).server == "https://192.0.2.1:6443"
    assert find("", {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}).server == "https://10.96.0.1:443"
    with pytest.raises(AccessError, match="give --kubeconfig"):
        find("", {"HOME": str(tmp_path)})


def test_a_pod_reads_its_own_files_which_may_come_later(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    access = in_cluster(environ, tmp_path)
    assert access.server == "https://[fd00::1]:6443"
    with pytest.raises(AccessError, match="missing or empty"):
        access.headers()
    (tmp_path / "token").write_text("abc\n")
    assert access.headers() == {"Authorization": "Bearer abc"}


def test_a_changed_ca_file_gives_a_new_tls_context(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(certificate("old")[0])
    access = Access("https://192.0.2.1", ca_file=WatchedFile(file, look=0.0))
    first = access.tls()
    assert access.tls() is first
    (tmp_path / "next").write_bytes(certificate("new")[0])
    (tmp_path / "next").rename(file)
    second = access.tls()
    assert isinstance(second, ssl.SSLContext)
    assert second is not first
    assert second.get_ca_certs()[0]["subject"] == ((("commonName", "new"),),)


def test_a_ca_file_that_is_no_certificate_is_an_access_error(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("not a certificate")
    with pytest.raises(AccessError, match="unusable CA"):
        Access("https://192.0.2.1", ca_file=WatchedFile(file)).tls()


def test_a_burst_of_requests_looks_at_a_file_once_a_second(tmp_path: Path) -> None:
    now = [100.0]
    file = tmp_path / "token"
    file.write_text("first")
    watched = WatchedFile(file, lambda: now[0])
    assert watched.read() == b"first"
    file.write_text("the second")
    assert watched.read() == b"first"
    now[0] += 1.0
    assert watched.read() == b"the second"
    file.write_text("third")
    watched.distrust()  # a 401
    assert watched.read() == b"third"
