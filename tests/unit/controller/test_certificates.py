"""The webhook's certificates over years, on a clock of their own: each step leaves one that is accepted."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from metalbgp.controller import certificates
from metalbgp.controller.certificates import Bundle, authorities, step

NAMES = ("metallb-webhook-service.metallb-system.svc", "127.0.0.1")
START = datetime(2026, 1, 1, tzinfo=UTC)


def fresh(now: datetime = START) -> Bundle:
    found = step(None, NAMES, now)
    assert found is not None
    return found


def accepted(bundle: Bundle, trusted: bytes, now: datetime, name: str = NAMES[0]) -> bool:
    """As an API server that trusts these CAs judges what we show."""
    serving = x509.load_pem_x509_certificate(bundle.certificate)
    if not serving.not_valid_before_utc <= now < serving.not_valid_after_utc:
        return False
    found = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if name not in found.get_values_for_type(x509.DNSName):
        return False
    for ca in authorities(trusted):
        try:
            serving.verify_directly_issued_by(ca)
        except ValueError:
            continue
        except Exception:  # noqa: S112  # InvalidSignature: two CAs, another one signed
            continue
        return ca.not_valid_before_utc <= now < ca.not_valid_after_utc
    return False


def test_the_first_is_accepted_at_once_and_stays() -> None:
    one = fresh()
    assert accepted(one, one.ca, START)
    assert step(one, NAMES, START, [one.ca]) is None
    assert step(one, NAMES, START + timedelta(days=59), [one.ca]) is None
    assert certificates.read(certificates.written(one)) == one


def test_whatever_is_missing_or_damaged_is_made_anew() -> None:
    whole = certificates.written(fresh())
    other = certificates.written(fresh())
    assert certificates.read({}) is None
    for key in whole:
        assert certificates.read({**whole, key: b""}) is None
        assert certificates.read({**whole, key: b"-----BEGIN CERTIFICATE-----\nAAAA\n"}) is None
    assert certificates.read({**whole, "tls.key": other["tls.key"]}) is None  # not of this certificate
    assert certificates.read({**whole, "ca.key": other["ca.key"]}) is None


def test_over_twelve_years_no_caller_ever_meets_a_certificate_that_it_does_not_accept() -> None:
    """The API server learns of a bundle one look later; a process may die after any single step."""
    bundle, trusted, now = fresh(), b"", START
    trusted = bundle.ca
    seen_cas, seen_certificates, most = {bundle.ca_key}, {bundle.certificate}, 1
    while now < START + timedelta(days=12 * 365):
        assert accepted(bundle, trusted, now), now
        following = step(bundle, NAMES, now, [trusted])
        if following is None:
            trusted = bundle.ca
            if step(bundle, NAMES, now, [trusted]) is None:
                now += timedelta(hours=24)
            continue
        bundle = following
        assert accepted(bundle, trusted, now), now  # the API server does not know of it yet
        most = max(most, len(authorities(bundle.ca)))
        seen_cas.add(bundle.ca_key)
        seen_certificates.add(bundle.certificate)
    assert (len(seen_cas), most, len(authorities(bundle.ca))) == (2, 2, 1)
    assert len(seen_certificates) > 12 * 4


def test_a_new_ca_signs_only_when_every_entry_trusts_it() -> None:
    old = fresh()
    later = START + certificates.CA_LIFE - certificates.CA_RENEW + timedelta(days=1)
    joined = step(old, NAMES, later - timedelta(days=20), [old.ca])
    assert joined is not None  # only the serving certificate: it was years old
    joined = step(joined, NAMES, later, [old.ca])
    assert joined is not None and len(authorities(joined.ca)) == 2 and joined.certificate != old.certificate
    assert step(joined, NAMES, later, [joined.ca, old.ca]) is None
    signed = step(joined, NAMES, later, [joined.ca, joined.ca])
    assert signed is not None and signed.certificate != joined.certificate
    assert accepted(signed, joined.ca, later)


def test_other_names_make_another_certificate() -> None:
    one = fresh()
    other = step(one, ("elsewhere.metallb-system.svc",), START, [one.ca])
    assert other is not None and other.ca == one.ca
    assert accepted(other, one.ca, START, "elsewhere.metallb-system.svc")


def test_what_metallb_left_is_taken_over_whatever_its_kind_of_key() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "metallb-ca")])
    ca = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, certificates.hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(
        pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    found = certificates.read(
        {"ca.crt": ca.public_bytes(pem), "ca.key": secret, "tls.crt": ca.public_bytes(pem), "tls.key": secret}
    )
    assert found is not None
    taken = step(found, NAMES, START + timedelta(days=1), [found.ca])
    assert taken is not None and taken.ca == found.ca
    assert accepted(taken, found.ca, START + timedelta(days=1))


@pytest.mark.parametrize("text", [repr, str])
def test_a_key_is_in_no_text(text: object) -> None:
    one = fresh()
    assert "PRIVATE" not in text(one) and len(text(one)) < 100  # type: ignore[operator]  # it is there by now
