"""Proxies with their real engine processes, and engines that misbehave on demand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Tiny
from tests.support.frontend import FrontEnd, front_end
from tests.support.helpers import rewritten
from tests.support.sabotage import sabotaged


@pytest.fixture(scope="session")
def faulty_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Handlers whose generators misbehave at certain seeds (benchmarks/sabotage.py)."""
    folder = tmp_path_factory.mktemp("faulty")
    yield sabotaged(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def image(tiny: Tiny) -> Iterator[FrontEnd]:
    with front_end(tiny.bundle) as front:
        yield front


@pytest.fixture(scope="module")
def text(tiny_text: Tiny) -> Iterator[FrontEnd]:
    with front_end(tiny_text.bundle) as front:
        yield front


@pytest.fixture(scope="module")
def small(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    """One slot and one place to wait; answers of at most 3,000 bytes."""
    bundle = rewritten(tiny.bundle, tmp_path_factory.mktemp("small"), max_slots=1, max_queue=1, max_response_bytes=3000)
    with front_end(bundle) as front:
        yield front
