"""Shared fixtures: tiny models trained, built and archived once per session in a folder of their own."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Torch's threads sleep while they wait for each other. Spinning, they take the processor from whatever else runs: a
# tiny charlm was trained in 67 s instead of 11 s on two busy cores. To be set before torch is imported; results stay
# the same.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from handlers.bundle import Bundle

ROOT = Path(__file__).parent.parent
CPU_RUNTIMES = ("onnxruntime", "openvino")
SHARED = ROOT.parent / "shared" / "data"
MODELS = {"tiny", "tiny_text", "tiny_summary", "tiny_dialogue", "tiny_voice", "tiny_bert_summary"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is slow if it needs a model, wherever it names it: some seconds to a minute, and more on slow cores."""
    for item in items:
        if MODELS & needed(item):
            item.add_marker(pytest.mark.slow)


def needed(item: pytest.Item) -> set[str]:
    """The fixtures that a test needs: by the closure of its arguments, and those whose names are its parameters."""
    named = set(getattr(item, "fixturenames", ()))
    given = getattr(getattr(item, "callspec", None), "params", {}).values()
    return named | {value for value in given if isinstance(value, str)}


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """What collecting cannot see is refused: a model that a test asks for while it runs, without the marker."""
    item = request._pyfuncitem
    if fixturedef.argname in MODELS and item.get_closest_marker("slow") is None:
        pytest.fail(
            f"{item.nodeid} takes the fixture {fixturedef.argname}, which trains and builds, and is not marked slow: "
            "name the fixture as an argument or a parameter, or mark the test",
            pytrace=False,
        )


@pytest.fixture(scope="session", autouse=True)
def hangup() -> None:
    """SIGHUP as it is by default, also under `nohup`, which training respects and its tests are not about."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory: artifacts/ is relative to where a command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A tiny model: its own working directory with checkpoint, bundle and archive."""

    folder: Path
    bundle: Bundle
    archive: Path

    @property
    def version(self) -> str:
        """Of the archive, and of what the handlers of this checkout serve of the bundle."""
        from handlers.identity import Identity, handlers_digest

        return Identity(self.bundle.digest, handlers_digest()).version


def made(folder: Path, recipe: str, name: str, runtimes: tuple[str, ...], *options: str) -> Tiny:
    """Train, build and archive the tiny preset of a recipe below `folder`."""
    from benchmarks.tiny import tiny_model
    from export.archive import archive

    bundle = tiny_model(folder, recipe, name, runtimes, options)
    before = Path.cwd()
    os.chdir(folder)
    try:
        return Tiny(folder, bundle, archive(name).resolve())
    finally:
        os.chdir(before)


def _session_model(recipe: str, name: str, runtimes: tuple[str, ...] = ("onnxruntime",)) -> Any:
    """A fixture: the tiny preset of `recipe`, trained, built and archived once as `name`; tests change only copies."""

    @pytest.fixture(scope="session")
    def fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
        folder = tmp_path_factory.mktemp(name)
        yield made(folder, recipe, name, runtimes)
        shutil.rmtree(folder, ignore_errors=True)

    return fixture


tiny = _session_model("dcgan", "tiny", CPU_RUNTIMES)
tiny_text = _session_model("charlm", "text")  # writes bytes, not words
tiny_summary = _session_model("summarizer", "summary")  # writes tokens, not sentences
tiny_dialogue = _session_model("dialogue", "chat")
tiny_voice = _session_model("wavenet", "voice")  # samples, not words


@pytest.fixture(scope="session")
def tiny_bert_summary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    """A tiny summarizer called `bert` with a tiny BERT as its encoder, whose directory is gone."""
    from tests.support.tiny_bert import tiny_bert

    folder = tmp_path_factory.mktemp("bert")
    given = tiny_bert(folder / "given")
    options = ("--encoder", "bert", "--bert", str(given), "--max-source", "160")
    tiny = made(folder, "summarizer", "bert", ("onnxruntime",), *options)
    shutil.rmtree(given)
    yield tiny
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def tiny_copy(tiny: Tiny, workspace: Path) -> Path:
    """A working directory of one's own that holds a copy of the tiny model's artifacts."""
    shutil.copytree(tiny.folder, workspace, dirs_exist_ok=True)
    return workspace
