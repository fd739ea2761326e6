"""`make clean` spares what was trained; `make distclean` says what it takes, and takes it only when told to."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SPARED = (
    "artifacts/archived/faces",
    "artifacts/bundles/faces/manifest.json",
    "artifacts/checkpoints/faces/checkpoint.json",
    "artifacts/runs/faces/log.jsonl",
    "artifacts/serving/lock",
    "model_store/faces-0123456789ab.mar",
    ".venv/lib/__pycache__/module.pyc",
)
REBUILT = (
    "artifacts/builds/faces/notes.json",
    "artifacts/cache/hearing-key.safetensors",
    "artifacts/engines/key/engine",
    "artifacts/reports/faces/report.html",
    "handlers/proxy/__pycache__/wire.pyc",
    "out/faces.png",
    ".mypy_cache/file",
    ".pytest_cache/file",
)
SOURCES = ("handlers/proxy/wire.py", "model_store/.gitkeep", "docs/api.md")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and one small file of every sort that the targets know."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (*SPARED, *REBUILT, *SOURCES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 5000)
    return tmp_path


def make(checkout: Path, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=checkout, stdin=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def left(checkout: Path, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if (checkout / name).exists()]


def answered(checkout: Path, line: bytes) -> subprocess.CompletedProcess[str]:
    """`make distclean` at a terminal where `line` is typed."""
    master, terminal = pty.openpty()
    try:
        os.write(master, line)
        return make(checkout, "distclean", stdin=terminal)
    finally:
        os.close(master)
        os.close(terminal)


def test_clean_spares_models_archives_and_sources(checkout: Path) -> None:
    result = make(checkout, "clean")
    assert result.returncode == 0, result.stderr
    assert left(checkout, REBUILT) == []
    assert left(checkout, (*SPARED, *SOURCES)) == [*SPARED, *SOURCES]


def test_distclean_lists_what_it_takes_and_takes_it(checkout: Path) -> None:
    result = make(checkout, "distclean", "YES=1")
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith("  ")]
    listed = {name: size for size, name in lines}
    assert {"artifacts/bundles/faces", "artifacts/checkpoints/faces", "artifacts/runs/faces", ".venv"} < set(listed)
    assert {"model_store/faces-0123456789ab.mar", "total"} < set(listed)
    assert all(size[-1] == "K" for size in listed.values())
    assert left(checkout, (*SPARED, *REBUILT)) == []
    assert left(checkout, SOURCES) == list(SOURCES)


def test_distclean_without_a_terminal_wants_to_be_told(checkout: Path) -> None:
    result = make(checkout, "distclean")
    assert result.returncode != 0
    assert "error: nothing was deleted; to delete it: make distclean YES=1" in result.stderr
    assert "artifacts/checkpoints/faces" in result.stdout
    assert left(checkout, (*SPARED, *REBUILT)) == [*SPARED, *REBUILT]


def test_distclean_asks_at_a_terminal(checkout: Path) -> None:
    refused = answered(checkout, b"\n")
    assert refused.returncode != 0
    assert "nothing was deleted" in refused.stderr
    assert left(checkout, (*SPARED, *REBUILT)) == [*SPARED, *REBUILT]
    assert answered(checkout, b"y\n").returncode == 0
    assert left(checkout, (*SPARED, *REBUILT)) == []


def test_distclean_leaves_a_running_server_alone(checkout: Path) -> None:
    with (checkout / "artifacts/serving/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = make(checkout, "distclean", "YES=1")
    assert result.returncode != 0
    assert "error: a server runs here; stop it first: .venv/bin/python -m serving down" in result.stderr
    assert left(checkout, (*SPARED, *REBUILT)) == [*SPARED, *REBUILT]
