"""Engines that misbehave on demand."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.sabotage import sabotage
from handlers import engine_process
from tests.conftest import Tiny


@pytest.fixture(scope="session")
def faulty_home(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The handlers/ of an unpacked archive whose generators misbehave at certain seeds (benchmarks/sabotage.py)."""
    folder = tmp_path_factory.mktemp("faulty")
    copy = Path(shutil.copy(tiny.archive, folder / "faulty.mar"))
    with zipfile.ZipFile(sabotage(copy)) as file:
        file.extractall(folder)
    yield folder / "handlers"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def faulty_engine(faulty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engine processes that start in this test misbehave at certain seeds."""
    monkeypatch.setattr(engine_process, "__file__", str(faulty_home / "engine_process.py"))
