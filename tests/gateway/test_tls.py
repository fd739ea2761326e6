"""TLS by configuration."""

from __future__ import annotations

import contextlib
import functools
import http.client
import shutil
import signal
import ssl
import subprocess
import warnings
from pathlib import Path

import pytest

from gateway.server import serve
from gateway.settings import SettingsError
from tests.gateway.conftest import eventually, running, settings_for
from tests.gateway.plain_process import process
from tests.gateway.raw import connected, ended
from tests.support.fake_upstream import FakeUpstream


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    certify(made, key)
    return made, key


def certify(made: Path, key: Path) -> None:
    """Write a certificate and its key."""
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


def test_older_versions_of_tls_are_refused(fake: FakeUpstream, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    made, key = certificate
    with running(settings_for(fake, tmp_path, tls_certificate=made, tls_key=key)) as gateway:
        older = ssl.create_default_context(cafile=str(made))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            older.minimum_version = older.maximum_version = ssl.TLSVersion.TLSv1_1
        older.set_ciphers("ALL:@SECLEVEL=0")
        with connected(gateway.port) as plain, pytest.raises(ssl.SSLError, match=r"(?i)version|protocol"):
            older.wrap_socket(plain, server_hostname="localhost")
        newer = ssl.create_default_context(cafile=str(made))
        newer.maximum_version = ssl.TLSVersion.TLSv1_2
        with connected(gateway.port) as plain, newer.wrap_socket(plain, server_hostname="localhost") as found:
            assert found.version() == "TLSv1.2"


@pytest.mark.parametrize("tls", [True, False])
def test_browsers_are_told_to_come_by_tls_where_they_did_by_a_public_name(
    fake: FakeUpstream, tmp_path: Path, certificate: tuple[Path, Path], tls: bool
) -> None:
    made, key = certificate
    files = {"tls_certificate": made, "tls_key": key} if tls else {}
    with running(settings_for(fake, tmp_path, keys="required", **files)) as gateway:
        trust = ssl.create_default_context(cafile=str(made))
        for host, wanted in (("atelier.example", "max-age=31536000" if tls else None), ("localhost", None)):
            sort = functools.partial(http.client.HTTPSConnection, context=trust) if tls else http.client.HTTPConnection
            connection = sort("localhost", gateway.port, timeout=30)
            with contextlib.closing(connection):
                connection.request("GET", "/healthz", headers={"Host": host})
                assert connection.getresponse().headers["strict-transport-security"] == wanted


def shown(port: int) -> bytes:
    """The certificate that a server shows to whoever comes now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connected(port) as plain, context.wrap_socket(plain) as found:
        return found.getpeercert(binary_form=True) or b""


def test_a_certificate_is_read_again_on_sighup_and_a_wrong_one_is_not(
    fake: FakeUpstream, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    made, key = (Path(shutil.copy(file, folder)) for file in certificate)
    upstream = {"port": 0, "upstream": fake.address, "models": list(fake.models)}
    with process(tmp_path, **upstream, tls_certificate=str(made), tls_key=str(key)) as gateway:
        before = shown(gateway.port)
        held = ssl.create_default_context(cafile=str(certificate[0]))
        with connected(gateway.port) as plain, held.wrap_socket(plain, server_hostname="localhost") as connection:
            made.write_text("no certificate")
            gateway.process.send_signal(signal.SIGHUP)
            told = "the certificate cannot be read again; the one before is shown"
            eventually(lambda: told in [line["event"] for line in gateway.log], 30, "nothing was said")
            assert shown(gateway.port) == before
            certify(made, key)
            gateway.process.send_signal(signal.SIGHUP)
            eventually(lambda: shown(gateway.port) != before, 30, "the old one is still shown")
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")  # it goes on
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


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
