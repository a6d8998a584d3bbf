"""The webhook's own CA and serving certificate: made, renewed, replaced without a gap. Pure but for keys.

    step(bundle, names, now, trusted) -> Bundle | None       # what to store next; None: leave it as it is

In:  what the Secret holds (None: nothing readable), the DNS names and addresses that callers use, the time,
     and the CA bundle that the API server is known to trust.
Out: the next Bundle. Each is good by itself: a process that dies between two of them leaves a working one.
Elsewhere: who stores it and tells the API server is serving.py; the names of its keys are MetalLB's.

A new CA comes in three steps, each after the one before is seen to be in force: it joins the bundle that the
API server trusts; then it signs the serving certificate; then the old CA leaves the bundle.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

CA_LIFE: Final = timedelta(days=3650)
CA_RENEW: Final = timedelta(days=365)  # before its end
LIFE: Final = timedelta(days=90)
RENEW: Final = timedelta(days=30)  # before its end
OVERLAP: Final = timedelta(days=1)  # an old CA stays so long after the last certificate that it signed
SKEW: Final = timedelta(hours=1)  # clocks of nodes differ; what begins now begins earlier
Key = ec.EllipticCurvePrivateKey


class Bundle(Struct, frozen=True):
    """PEM texts, by the Secret's keys. The first certificate of `ca` signs; others are still trusted."""

    ca: bytes  # ca.crt
    ca_key: bytes  # ca.key
    certificate: bytes  # tls.crt
    key: bytes  # tls.key

    def __repr__(self) -> str:
        """Without the keys: values end in logs and in the messages of failed tests."""
        return f"Bundle({len(authorities(self.ca))} CAs)"


def read(data: Mapping[str, bytes]) -> Bundle | None:
    """What a Secret holds; None when any part of it is missing or is not what it should be."""
    found = Bundle(*(data.get(name, b"") for name in ("ca.crt", "ca.key", "tls.crt", "tls.key")))
    try:
        signing = authorities(found.ca)
        certificate = x509.load_pem_x509_certificate(found.certificate)
        if not signing or not _belong(found.ca_key, signing[0]) or not _belong(found.key, certificate):
            return None
    except ValueError:
        return None
    return found


def written(bundle: Bundle) -> dict[str, bytes]:
    return {
        "ca.crt": bundle.ca,
        "ca.key": bundle.ca_key,
        "tls.crt": bundle.certificate,
        "tls.key": bundle.key,
    }


def authorities(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem) if pem.strip() else []


def step(
    bundle: Bundle | None, names: Sequence[str], now: datetime, trusted: Sequence[bytes] = ()
) -> Bundle | None:
    """`trusted`: the CA bundles of all entries of the webhook configuration; empty: nobody calls."""
    if bundle is None:
        return _fresh(names, now)
    signing, *old = authorities(bundle.ca)
    serving = x509.load_pem_x509_certificate(bundle.certificate)
    if signing.not_valid_after_utc - now < CA_RENEW:
        ca, key = _authority(now)
        kept = [one for one in (signing, *old) if one.not_valid_after_utc > now]
        return Bundle(_pem(ca, *kept), _secret(key), bundle.certificate, bundle.key)
    in_force = all(signing in _readable(pem) for pem in trusted)
    stale = serving.not_valid_after_utc - now < RENEW or not _covers(serving, names)
    expired = serving.not_valid_after_utc <= now
    if (not _signed(serving, signing) or stale) and (in_force or expired):
        return Bundle(bundle.ca, bundle.ca_key, *_issue(signing, bundle.ca_key, names, now))
    if old and _signed(serving, signing) and now - serving.not_valid_before_utc - SKEW >= OVERLAP:
        return Bundle(_pem(signing), bundle.ca_key, bundle.certificate, bundle.key)
    return None


def _readable(pem: bytes) -> list[x509.Certificate]:
    try:
        return authorities(pem)
    except ValueError:  # other hands wrote it; it is overwritten
        return []


def _fresh(names: Sequence[str], now: datetime) -> Bundle:
    ca, key = _authority(now)
    secret = _secret(key)
    return Bundle(_pem(ca), secret, *_issue(ca, secret, names, now))


def _authority(now: datetime) -> tuple[x509.Certificate, Key]:
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A name of its own: with two CAs of one name in a bundle, a verifier may try the wrong one only.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"metalbgp webhook CA {serial:x}"[:64])])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - SKEW)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return built, key


def _issue(ca: x509.Certificate, ca_key: bytes, names: Sequence[str], now: datetime) -> tuple[bytes, bytes]:
    signer = serialization.load_pem_private_key(ca_key, None)
    key = ec.generate_private_key(ec.SECP256R1())
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(min(now + LIFE, ca.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]  # RSA or EC: MetalLB's CA is RSA
    )
    return built.public_bytes(Encoding.PEM), _secret(key)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _covers(certificate: x509.Certificate, names: Sequence[str]) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return all(_name(one) in found for one in names)


def _signed(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _belong(key: bytes, certificate: x509.Certificate) -> bool:
    mine = serialization.load_pem_private_key(key, None).public_key()
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return mine.public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def _secret(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
