"""TLS by configuration."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from gateway.server import serve
from gateway.settings import SettingsError
from tests.gateway.conftest import eventually, running, settings_for
from tests.gateway.raw import connected, ended
from tests.support.fake_upstream import FakeUpstream


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *names, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


def test_callers_come_by_https(fake: FakeUpstream, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    made, key = certificate
    settings = settings_for(fake, tmp_path, tls_certificate=made, tls_key=key, header_seconds=1)
    with running(settings) as gateway:
        trust = ssl.create_default_context(cafile=str(made))
        connection = http.client.HTTPSConnection("localhost", gateway.port, context=trust, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        with connected(gateway.port) as silent:
            eventually(lambda: ended(silent), 30, "a handshake that does not come is waited for")


@pytest.mark.parametrize("wrong", ["missing", "text"])
def test_a_certificate_that_cannot_be_used_is_named(
    fake: FakeUpstream, tmp_path: Path, certificate: tuple[Path, Path], wrong: str
) -> None:
    file = tmp_path / "certificate.pem"
    if wrong == "text":
        file.write_text("no certificate")
    settings = settings_for(fake, tmp_path, tls_certificate=file, tls_key=certificate[1])
    with pytest.raises(SettingsError, match=f"tls_certificate {file} with tls_key {certificate[1]} cannot be used: "):
        serve(settings)
