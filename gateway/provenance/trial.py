"""A certificate for trials, and the authority that issues it: whoever reads its signature is told that both are."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.provenance.certificates import TRIAL, CertificateError

DAYS = 90
CHAIN, KEY, AUTHORITY = "certificate.pem", "key.pem", "authority.pem"
_USES = [
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
]


def make(folder: Path, now: datetime | None = None) -> None:
    """Write a chain, its key (mode 600) and its authority into a folder. The authority's key is forgotten.

    Raises `CertificateError` where there is one, which is not replaced.
    """
    if (folder / KEY).exists():
        raise CertificateError(f"{folder / KEY} is there already; name another folder, or remove it")
    at = now or datetime.now(UTC)
    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    above, below = _name(f"Atelier authority, {TRIAL}"), _name(f"Atelier, {TRIAL}")
    authority = (
        _begun(above, above, root.public_key(), root, at)
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), True)
        .sign(root, hashes.SHA256())
    )
    certificate = (
        _begun(below, above, own.public_key(), root, at)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(_usage("digital_signature"), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .sign(root, hashes.SHA256())
    )
    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = [one.public_bytes(serialization.Encoding.PEM) for one in (certificate, authority)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / AUTHORITY, pem[1], 0o644)
        _write(folder / CHAIN, b"".join(pem), 0o644)
        _write(folder / KEY, key, 0o600)
    except OSError as error:
        raise CertificateError(f"{folder} cannot be written to: {error.strerror}") from None


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    root: ec.EllipticCurvePrivateKey,
    at: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(minutes=5))  # clocks differ
        .not_valid_after(at + timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False)
    )


def _usage(*named: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in named for use in _USES})


def _name(common: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, TRIAL)
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _write(path: Path, data: bytes, mode: int) -> None:
    """By a temporary name, so that nothing half-written is ever there."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    half.replace(path)
