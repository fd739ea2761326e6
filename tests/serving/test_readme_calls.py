"""The three ways to call a model that the README shows, each as it stands there, against a real server.

Addresses and names alone are replaced: the README's are those of a server that a reader has started.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.serving.conftest import Server

pytestmark = pytest.mark.server

README = (ROOT / "README.md").read_text().replace("\\\n", " ")
CALLS = README.split("## Three ways to call it")[1].split("\n## ")[0]
NAMES = {"faces": "tiny", "poems": "text"}  # in the README, in the store of the tests


@pytest.fixture
def address(server: Server) -> Iterator[str]:
    """The server's unix socket on a port of loopback HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=relay, args=(listening, server.inference.removeprefix("unix:")))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def relay(listening: socket.socket, path: str) -> None:
    """Join each connection in turn with one to the unix socket `path`, until `listening` is shut down."""
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        with client, socket.socket(socket.AF_UNIX) as front_end:
            front_end.connect(path)
            back = threading.Thread(target=pump, args=(front_end, client))
            back.start()
            pump(client, front_end)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until `source` ends; then neither takes or gives any more."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    finally:
        for end in (source, target):
            with contextlib.suppress(OSError):  # it has ended already
                end.shutdown(socket.SHUT_RDWR)


def adapted(text: str, address: str) -> str:
    """The README's words for this server."""
    for shown, served in NAMES.items():
        text = re.sub(rf"\b{shown}\b(?!\.png)", served, text)
    return text.replace("http://127.0.0.1:8080", address)


def run(command: list[str], folder: Path) -> str:
    """The output of a command that must succeed."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout


def test_curl(address: str, tmp_path: Path) -> None:
    image, stream = re.findall(r"^curl .*$", CALLS, re.MULTILINE)
    run(shlex.split(adapted(image, address)), tmp_path)
    with Image.open(tmp_path / "face.png") as picture:
        assert picture.format == "PNG"
    assert run(shlex.split(adapted(stream, address)), tmp_path).endswith("data: [DONE]\n\n")


def test_the_official_client_library(address: str, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", CALLS, re.DOTALL)
    assert run([sys.executable, "-c", adapted(program, address)], tmp_path).strip("\n")


def test_the_launchers_own_command(server: Server, tmp_path: Path) -> None:
    commands = re.findall(r"^\.venv/bin/python (-m serving try .*)$", CALLS, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        arguments = shlex.split(adapted(command, ""), comments=True)
        run([sys.executable, *arguments, "--run-dir", str(server.run_dir), "--out", str(tmp_path)], ROOT)
    with Image.open(tmp_path / "tiny.png") as sheet:
        assert sheet.width > 16
    assert (tmp_path / "text.json").stat().st_size > 0
