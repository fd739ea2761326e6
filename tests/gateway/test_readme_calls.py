"""The three ways to call a model that the README shows, each as it stands there, against a real gateway.

Addresses and names alone are replaced: the README's are those of a server that a reader has started.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.support.gateway_server import Front

pytestmark = pytest.mark.server

README = (ROOT / "README.md").read_text().replace("\\\n", " ")
CALLS = README.split("## Three ways to call it")[1].split("\n## ")[0]
NAMES = {"faces": "tiny", "poems": "text"}  # in the README, in the store of the tests


def at(front: Front) -> str:
    """Where it is called."""
    assert front.server.gateway is not None
    return front.server.gateway


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


def test_curl(front: Front, tmp_path: Path) -> None:
    address = at(front)
    image, stream = re.findall(r"^curl .*$", CALLS, re.MULTILINE)
    run(shlex.split(adapted(image, address)), tmp_path)
    with Image.open(tmp_path / "face.png") as picture:
        assert picture.format == "PNG"
    assert run(shlex.split(adapted(stream, address)), tmp_path).endswith("data: [DONE]\n\n")


def test_the_official_client_library(front: Front, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", CALLS, re.DOTALL)
    assert run([sys.executable, "-c", adapted(program, at(front))], tmp_path).strip("\n")


def test_the_launchers_own_command(front: Front, tmp_path: Path) -> None:
    commands = re.findall(r"^\.venv/bin/python (-m serving try .*)$", CALLS, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        arguments = shlex.split(adapted(command, ""), comments=True)
        run([sys.executable, *arguments, "--run-dir", str(front.server.run_dir), "--out", str(tmp_path)], ROOT)
    with Image.open(tmp_path / "tiny.png") as sheet:
        assert sheet.width > 16
    assert (tmp_path / "text.json").stat().st_size > 0
