"""Certificates that sign: every wrong one ends the start with what is wrong about it, and the one for trials signs."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from gateway.__main__ import main
from gateway.app import build
from gateway.provenance import trial
from gateway.provenance.certificates import CertificateError, credentials
from gateway.provenance.signing import Hand
from gateway.settings import Settings, SettingsError, SignatureSettings, load

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    trial.make(made)
    return made


def refusal(folder: Path, algorithm: str = "es256", now: datetime | None = None) -> str:
    with pytest.raises(CertificateError) as caught:
        credentials(folder / trial.CHAIN, folder / trial.KEY, algorithm, now)
    return str(caught.value)


def other_key(folder: Path, key: Any, secret: bytes | None = None) -> None:
    locked = serialization.NoEncryption() if secret is None else serialization.BestAvailableEncryption(secret)
    (folder / trial.KEY).write_bytes(key.private_bytes(PEM, PKCS8, locked))


def test_the_certificate_for_trials_signs_and_says_what_it_is(folder: Path) -> None:
    found = credentials(folder / trial.CHAIN, folder / trial.KEY, "es256")
    assert (found.self_made, found.subject) == (True, "Atelier, self-made for trials")
    assert (folder / trial.KEY).stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(found)
    Hand(found).check()


def test_the_command_says_what_to_write_into_the_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["provenance", "certificate", "--out", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    assert "self-made for trials" in said
    file = tmp_path / "gateway.toml"
    file.write_text(said[said.index("[signature]") :])
    assert load(file, {}).signature == SignatureSettings(
        certificate=tmp_path / "new" / trial.CHAIN, key=tmp_path / "new" / trial.KEY
    )
    assert main(["provenance", "certificate", "--out", str(tmp_path / "new")]) == 1
    assert "is there already; name another folder" in capsys.readouterr().err


def test_another_key_an_unfit_one_and_one_under_a_password_are_refused(folder: Path) -> None:
    assert "algorithm es384 wants a key on the curve P-384" in refusal(folder, "es384")
    other_key(folder, ec.generate_private_key(ec.SECP256R1()))
    assert "is not that of the first certificate" in refusal(folder)
    other_key(folder, ed25519.Ed25519PrivateKey.generate())
    assert "is not that of the first certificate" in refusal(folder)
    other_key(folder, ec.generate_private_key(ec.SECP256R1()), b"secret")
    assert "is under a password" in refusal(folder)
    (folder / trial.KEY).write_text("no key")
    assert "holds no private key in PEM" in refusal(folder)


def test_a_certificate_that_ended_or_has_not_begun_is_refused(folder: Path) -> None:
    assert "is valid from" in refusal(folder, now=datetime.now(UTC) + timedelta(days=trial.DAYS + 1))
    assert "is valid from" in refusal(folder, now=datetime.now(UTC) - timedelta(days=1))


def test_chains_in_another_order_of_another_authority_or_of_none_are_refused(folder: Path, tmp_path: Path) -> None:
    own, root = _parts((folder / trial.CHAIN).read_text())
    trial.make(tmp_path / "other")
    (folder / trial.CHAIN).write_text(own + (tmp_path / "other" / trial.AUTHORITY).read_text())
    assert "is not issued by Atelier authority" in refusal(folder)
    (folder / trial.CHAIN).write_text("no certificate")
    assert "holds no certificates in PEM" in refusal(folder)
    (folder / trial.CHAIN).write_text(root)
    assert "is not that of the first certificate" in refusal(folder)
    (folder / trial.CHAIN).unlink()
    assert "cannot be read: No such file" in refusal(folder)


def _parts(text: str) -> tuple[str, str]:
    own, _, root = text.partition("-----END CERTIFICATE-----\n")
    return own + "-----END CERTIFICATE-----\n", root


def test_a_start_ends_with_the_reason(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / trial.AUTHORITY, folder / trial.CHAIN)
    table = SignatureSettings(certificate=folder / trial.CHAIN, key=folder / trial.KEY)
    with pytest.raises(SettingsError, match=r"setting signature: the key in .* is not that of the first"):
        build(Settings(signature=table, spool=tmp_path / "spool", upstream="unix:/none", models=("m",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('profile = "us"', "setting profile is 'us', wanted: 'eu', 'cn' or 'none'"),
        ('profile = "cn"', 'set producer = "NAME OR CODE"'),
        ('profile = "none"\n[signature]\ncertificate = "a"\nkey = "b"', "profile is none and signature is set"),
        ('[signature]\ncertificate = "a"', "setting signature.key is missing"),
        (
            '[signature]\ncertificate = "a"\nkey = "b"\ntsa = "c"',
            "setting signature.tsa is unknown; known: cert",
        ),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    assert message in str(caught.value)
