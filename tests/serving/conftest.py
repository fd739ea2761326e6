"""Real servers: one for the session with every kind of model, and a way to start more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Tiny
from tests.support.sabotage import renamed, sabotaged
from tests.support.server import JSON, STOP_SECONDS, Server, eventually, launcher, running

HIDDEN = "hidden-value"
SECRETS = ("MY_API_KEY", "DB_PASSWORD", "NVIDIA_API_KEY", "SOMETHING_ELSE", "PYTHONPATH")


@pytest.fixture(scope="session")
def store(tiny: Tiny, tiny_text: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny` (images), `tight` (the same with a response limit of 3,000 bytes), `text`, and files that are none."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(tiny.archive, folder)
    renamed(tiny.bundle, "tight", folder, max_response_bytes=3000)
    renamed(tiny_text.bundle, "text", folder)
    (folder / "evil").mkdir()
    (folder / "evil" / "handler.py").write_text("raise SystemExit")
    (folder / "x.model").write_bytes(b"PK")
    return folder


@pytest.fixture(scope="session")
def faulty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sabotaged(tmp_path_factory.mktemp("faulty-home"))


@pytest.fixture(scope="session")
def faulty_store(tiny: Tiny, tiny_text: Tiny, faulty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`image` and `text` whose generators misbehave on demand (benchmarks/sabotage.py)."""
    folder = tmp_path_factory.mktemp("faulty")
    for name, model in (("image", tiny), ("text", tiny_text)):
        renamed(model.bundle, name, folder, home=faulty_home, max_compute_seconds=2)
    return folder


@pytest.fixture(scope="session")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests that leave it as it was, started where the environment holds secrets."""
    secrets = dict.fromkeys(SECRETS, HIDDEN)
    with running(store, tmp_path_factory.mktemp("run"), environment=secrets) as started:
        yield started
        assert started.process.poll() is None, "the server went away during the tests"


@pytest.fixture(scope="module")
def faulty(faulty_store: Path, faulty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(faulty_store, tmp_path_factory.mktemp("faulty-run"), "--handlers", str(faulty_home)) as started:
        yield started


__all__ = ["HIDDEN", "JSON", "STOP_SECONDS", "Server", "eventually", "launcher", "running"]
