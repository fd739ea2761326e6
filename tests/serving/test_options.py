"""Options of `serving up` on a real server, and a model that refuses to load."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from export.archive import archive
from handlers.identity import HOME
from serving.state import read_state
from tests.conftest import ROOT, Tiny
from tests.serving.conftest import Server, running

pytestmark = pytest.mark.server


def lowest_niceness() -> int:
    """-5 for who may raise a priority (root), else 5: either shows whether the option reaches an engine."""
    code = "import os; os.setpriority(os.PRIO_PROCESS, 0, -5)"
    return -5 if subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0 else 5


def test_engines_take_the_priority_that_is_asked_for(tiny: Tiny, tmp_path: Path) -> None:
    nice = lowest_niceness()
    with running(tiny.archive.parent, tmp_path, "--engine-nice", str(nice), "--drain-seconds", "40") as server:
        assert [engine.nice() for engine in server.engines()] == [nice]
        assert {process.nice() for process in (server.jvm(), *server.workers())} == {os.nice(0)}  # the engine alone
        state = read_state(server.run_dir)
        assert state is not None
        assert state["stop_seconds"] > 40  # `down` waits for the whole of the drain
        assert server.post({"seed": 1}).status == 200


def test_engines_have_the_launchers_own_priority_by_default(server: Server) -> None:
    engines = server.engines()
    assert len(engines) == 3
    assert {engine.nice() for engine in engines} == {os.nice(0)}


@pytest.mark.parametrize("error", ["RuntimeError", "ValueError"])  # which TorchServe's worker treats differently
def test_a_model_that_refuses_to_load_is_told_with_the_log(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    home = tmp_path / "handlers"
    shutil.copytree(HOME, home, ignore=shutil.ignore_patterns("__pycache__"))
    with (home / "proxy/worker.py").open("a") as worker:
        worker.write(f"\n\ndef load(context):\n    raise {error}('this model refuses')\n")
    monkeypatch.chdir(tiny.folder)
    archive("tiny", tmp_path / "store", home)
    command = [sys.executable, "-m", "serving", "up", "--model-store", str(tmp_path / "store"), "--run-dir"]
    answer = subprocess.run(
        [*command, str(tmp_path / "run"), "--handlers", str(home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 1
    told, _, log = answer.stderr.partition("\n")
    assert told == "error: tiny cannot be loaded, the worker ended:"
    assert f"{error}: this model refuses" in log
