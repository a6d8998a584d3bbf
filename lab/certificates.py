"""Certificates and kubeconfigs of one cluster, as kubeadm would make them.

In:  a directory, the API server's addresses.
Out: <pki>/{ca,front-proxy-ca,NAME}.{crt,key}, sa.{pub,key}; kubeconfig files with everything inline.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.settings import API_SERVICE, CONTROL, NODES

_LIFE: Final = datetime.timedelta(days=365)
_API_NAMES: Final = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "127.0.0.1",
    "::1",
    CONTROL.address,
    CONTROL.address6,
    API_SERVICE,
    "fd00:10:96::1",
)


@dataclass(frozen=True)
class Authority:
    """A CA that signs for one cluster."""

    directory: Path
    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, directory: Path, name: str) -> Authority:
        """Make one and write its files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(True, False, True, False, False, True, False, False, False)
        certificate = (
            _builder(subject, subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(directory, name, key, certificate)
        return cls(directory, name, key, certificate)

    def issue(self, file: str, common: str, group: str | None = None, names: tuple[str, ...] = ()) -> None:
        """One certificate for both ends of TLS; `group` is what Kubernetes reads as the user's group."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
        if group:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if names else [])
        builder = _builder(x509.Name(attributes), self.certificate.subject, key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_name(name) for name in names]), False
            )
        _write(self.directory, file, key, builder.sign(self.key, hashes.SHA256()))


def create(directory: Path) -> None:
    """Everything that one cluster needs."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    authority = Authority.create(directory, "ca")
    authority.issue("apiserver", "kube-apiserver", names=_API_NAMES)
    authority.issue("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
    authority.issue("admin", "kubernetes-admin", "system:masters")
    authority.issue("kube-controller-manager", "system:kube-controller-manager")
    authority.issue("kube-scheduler", "system:kube-scheduler")
    authority.issue("kube-proxy", "system:kube-proxy")
    for node in NODES:
        names = (node.name, node.address, node.address6)
        authority.issue(f"kubelet-{node.name}", f"system:node:{node.name}", "system:nodes", names)
    Authority.create(directory, "front-proxy-ca").issue("front-proxy-client", "front-proxy-client")
    account = ec.generate_private_key(ec.SECP256R1())
    (directory / "sa.key").write_bytes(_private(account))
    (directory / "sa.pub").write_bytes(
        account.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def kubeconfig(directory: Path, user: str, server: str, path: Path) -> None:
    """A kubeconfig with everything inline, so that it may be copied anywhere. JSON is YAML."""

    def inline(name: str) -> str:
        return base64.b64encode((directory / name).read_bytes()).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "lab", "cluster": {"server": server, "certificate-authority-data": inline("ca.crt")}}
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": inline(f"{user}.crt"),
                    "client-key-data": inline(f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        "current-context": "lab",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    path.write_text(json.dumps(document, indent=1))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFE)
    )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _write(
    directory: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> None:
    (directory / f"{name}.key").write_bytes(_private(key))
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
