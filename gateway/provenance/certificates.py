"""Certificates that sign files (X.509, RFC 5280; C2PA 2.2, 14.5): checked before anything is signed with them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRIAL = "self-made for trials"  # stands in the names of certificates that `provenance certificate` makes
# What a certificate that signs files is for: e-mail protection, documents, or C2PA's own.
PURPOSES = (
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36"),
    x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1"),
)
# By the name of an algorithm: whether a public key is one of its keys, and what is said of it.
ALGORITHMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "es256": (lambda key: _curve(key) == "secp256r1", "a key on the curve P-256"),
    "es384": (lambda key: _curve(key) == "secp384r1", "a key on the curve P-384"),
    "ps256": (lambda key: isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048, "an RSA key of 2048 bits"),
    "ed25519": (lambda key: isinstance(key, ed25519.Ed25519PublicKey), "an Ed25519 key"),
}
MAX_FILE = 1 << 20  # bytes of a file with certificates


class CertificateError(Exception):
    """Error: a certificate, or its key, cannot sign files."""


@dataclasses.dataclass(frozen=True)
class Credentials:
    """A chain that signs, its own certificate first, and the key of that; all in PEM."""

    chain: bytes
    key: bytes = dataclasses.field(repr=False)
    algorithm: str
    issuer: str
    subject: str
    expires: datetime
    self_made: bool


def credentials(certificate: Path, key: Path, algorithm: str, now: datetime | None = None) -> Credentials:
    """What the settings name, once it is fit to sign at `now`. Raises `CertificateError`."""
    at = now or datetime.now(UTC)
    chain = certificates(certificate)
    own = chain[0]
    public, private = own.public_key(), _private(key)
    fits, wanted = ALGORITHMS[algorithm]
    if _spki(private.public_key()) != _spki(public):
        raise CertificateError(f"the key in {key} is not that of the first certificate in {certificate}: name its own")
    if not fits(public):
        raise CertificateError(f"algorithm {algorithm} wants {wanted}, and {certificate} has another: name that")
    for number, found in enumerate(chain, 1):
        if not found.not_valid_before_utc <= at <= found.not_valid_after_utc:
            valid = f"{found.not_valid_before_utc:%Y-%m-%d} to {found.not_valid_after_utc:%Y-%m-%d}"
            raise CertificateError(f"certificate {number} in {certificate} is valid from {valid}; get a new one")
    _may_sign(own, certificate)
    for lower, upper in itertools.pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            message = f"{name_of(lower.subject)} is not issued by {name_of(upper.subject)}, which follows it"
            raise CertificateError(
                f"{certificate}: {message}; put each before its issuer, the signer's first"
            ) from None
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    plain = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ends = min(one.not_valid_after_utc for one in chain)
    made = any(TRIAL in name_of(name) for one in chain for name in (one.subject, one.issuer))
    return Credentials(pem, plain, algorithm, name_of(own.issuer), name_of(own.subject), ends, made)


def certificates(path: Path) -> list[x509.Certificate]:
    """Those of a PEM file, in its order. Raises `CertificateError`."""
    data = _read(path)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise CertificateError(f"{path} holds no certificates in PEM (-----BEGIN CERTIFICATE-----)") from None


def name_of(name: x509.Name) -> str:
    """The common name, else all of it."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def _may_sign(own: x509.Certificate, path: Path) -> None:
    if own.issuer == own.subject:
        raise CertificateError(
            f"the first certificate in {path} is issued by itself, which no reader of C2PA takes: have one issued, or "
            "make a pair for trials by `python -m gateway provenance certificate --out DIR`"
        )
    try:
        purposes = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        usage = own.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise CertificateError(f"the first certificate in {path} does not say what it is for (key usage)") from None
    if not usage.digital_signature or not any(purpose in purposes for purpose in PURPOSES):
        known = "e-mail protection, document signing or C2PA signing"
        raise CertificateError(f"the first certificate in {path} is not for digital signatures with {known}")


def _private(path: Path) -> Any:
    data = _read(path)
    try:
        return serialization.load_pem_private_key(data, None)
    except TypeError:
        raise CertificateError(f"the key in {path} is under a password; store it without, mode 600") from None
    except ValueError:
        raise CertificateError(f"{path} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise CertificateError(f"{path} has more than {MAX_FILE} bytes, wanted PEM")
    return data


def _spki(key: Any) -> bytes:
    found: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def _curve(key: Any) -> str:
    return key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else ""
