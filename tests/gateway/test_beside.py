"""The gateway beside TorchServe: killed, it comes back and nothing else ends; stopped, nothing under way is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from benchmarks.gateway_load import Stop
from benchmarks.server import STOP_SECONDS, eventually, launcher
from serving.__main__ import main
from serving.processes import alive
from serving.state import read_state
from tests.conftest import ROOT, Tiny
from tests.support.gateway_server import Front, behind_a_gateway
from tests.support.sabotage import renamed

pytestmark = pytest.mark.server


def test_the_launcher_tells_of_its_gateway(front: Front) -> None:
    ready, document = front.server.ready()
    assert (ready, document["gateway"]) == (200, front.server.gateway)
    state = read_state(front.server.run_dir)
    assert state is not None
    assert state["gateway"] == front.server.gateway
    log = front.server.run_dir / "gateway.log"
    assert log.stat().st_mode & 0o777 == 0o600
    said = (front.server.run_dir / "launcher.log").read_text()
    assert f"serving at {front.server.gateway} " in said
    assert f"{front.server.gateway}/api/generate/tiny -o answer" in said


def answers(front: Front) -> float:
    """How many requests the gateway's own route of generation has answered."""
    lines = front.caller.ask("/metrics", method="GET").body.decode().splitlines()
    mine = 'atelier_gateway_answers_total{route="/api/generate/{name}"'
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(mine))


def test_try_goes_through_it(front: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = answers(front)
    arguments = ["--run-dir", str(front.server.run_dir), "--out", str(tmp_path)]
    assert main(["try", "tiny", "--seed", "5", *arguments]) == 0
    assert "'seed': 5" in capsys.readouterr().out  # of the receipt
    assert (tmp_path / "tiny.png").read_bytes() == front.server.post({"seed": 5}).body
    assert main(["try", "tiny", "--params", '{"x": 1}', *arguments]) == 1
    assert "tiny answered 400: " in capsys.readouterr().err
    assert answers(front) == asked + 2


def test_a_killed_gateway_comes_back_and_engines_go_on(front: Front) -> None:
    before = front.processes
    restarts = front.server.metrics()["atelier_gateway_restarts_total"]
    os.kill(before["gateway"], signal.SIGKILL)
    assert front.server.post({"seed": 1}).status == 200  # TorchServe does not care
    eventually(lambda: front.server.metrics()["atelier_gateway_restarts_total"] > restarts, 60, "nobody missed it")
    eventually(lambda: front.server.ready()[0] == 200, 60, f"not ready again: {front.server.ready()[1]}")
    eventually(lambda: front.caller.ask("/readyz", method="GET").status == "200", 60, "the gateway found no models")
    assert front.caller.ask("/api/generate/tiny", {"seed": 1}).status == "200"
    after = front.processes
    assert after.pop("gateway") != before.pop("gateway")
    assert after == before


@pytest.mark.slow
def test_a_stop_under_load_loses_nothing(tiny: Tiny, tiny_text: Tiny, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(tiny.archive, store)
    renamed(tiny_text.bundle, "texts", store)
    with behind_a_gateway(store, tmp_path) as front:
        processes = front.processes
        stop = Stop(front.server, {}, "tiny")
        assert front.server.process.wait(STOP_SECONDS) == 0
    assert stop.lost == 0, stop.outcomes
    assert stop.outcomes["200"] > 0
    assert set(stop.outcomes) <= {"200", "503", "refused"}, stop.outcomes
    assert not [what for what, pid in processes.items() if alive(pid)]


@pytest.mark.slow
def test_a_gateway_with_a_wrong_setting_ends_the_start(tiny: Tiny, tmp_path: Path) -> None:
    settings = tmp_path / "gateway.toml"
    settings.write_text("prot = 8080\n")
    command = [*launcher(tiny.archive.parent, tmp_path / "run"), "--gateway", "--gateway-settings", str(settings)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert "error: the gateway did not come up: it ended with exit code 1" in ended.stderr
    assert "setting prot is unknown; known: host, port" in ended.stderr
