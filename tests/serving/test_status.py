"""/ready says what the launcher knows, and nothing else is served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from serving import watch
from serving.client import request
from serving.commands import wait_ready
from serving.jvm import StartError
from serving.state import read_state
from serving.status import Status
from serving.status_server import StatusServer
from serving.torchserve import Worker


class Fixed:
    """Metrics that never change."""

    def text(self) -> bytes:
        return b"a_total 1.0\n"

    def tidy(self) -> None:
        """Nothing is left of anybody."""


def test_ready_follows_the_status() -> None:
    status = Status()
    server = StatusServer(status, Fixed(), 0)
    try:
        answer = request(server.address, "GET", "/ready")
        assert (answer.status, json.loads(answer.body)["reason"]) == (503, "starting")
        status.set(True, "every model answered", {"a": "ready"})
        answer = request(server.address, "GET", "/ready")
        assert answer.status == 200
        assert json.loads(answer.body) == {"ready": True, "reason": "every model answered", "models": {"a": "ready"}}
        status.set(False, "a worker restarts")
        answer = request(server.address, "GET", "/ready")
        assert (answer.status, json.loads(answer.body)["models"]) == (503, {"a": "ready"})
        answer = request(server.address, "GET", "/metrics")
        assert (answer.status, answer.body) == (200, b"a_total 1.0\n")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        answer = request(server.address, "GET", "/secret")
        assert (answer.status, json.loads(answer.body)["message"]) == (404, "known paths: /ready, /metrics")
    finally:
        server.close()
    with pytest.raises(OSError, match="refused"):
        request(server.address, "GET", "/ready")


def test_nothing_is_ready_while_an_archive_is_refused() -> None:
    status = Status()
    status.set(False, "loading", {"a": "loading"}, {"b-1.mar": "it is no whole archive"})
    status.set(True, "every model answered", {"a": "ready"})
    ready, document = status.get()
    assert not ready
    assert (
        document["reason"] == "b-1.mar is refused: it is no whole archive (the others are served: every model answered)"
    )
    assert document["refused"] == {"b-1.mar": "it is no whole archive"}
    status.set(True, "every model answered", refused={})
    assert status.get()[0]


def test_a_warning_is_told_beside_a_readiness_that_it_does_not_change() -> None:
    status = Status()
    status.set(True, "every model answered", {"a": "ready"})
    assert "warnings" not in status.get()[1]
    status.warnings = ["others reach a port"]
    ready, document = status.get()
    assert ready
    assert document["warnings"] == ["others reach a port"]


def test_waiting_for_nothing_ends() -> None:
    with pytest.raises(StartError, match="not ready after 0 s: no server has started here"):
        wait_ready(Path("/nonexistent"), 0.2)


def test_waiting_for_a_process_that_is_gone_ends_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(StartError, match=f"process {process.pid} is gone before it was ready"):
        wait_ready(Path("/nonexistent"), 60, process.pid)


def test_another_launcher_does_not_count_as_ready(tmp_path: Path) -> None:
    status = Status()
    status.set(True, "ready")
    server = StatusServer(status, Fixed(), 0)
    try:
        own = psutil.Process()
        state = {"pid": own.pid, "pid_created": own.create_time(), "status": server.address}
        (tmp_path / "state.json").write_text(json.dumps(state))
        assert wait_ready(tmp_path, 5)["pid"] == own.pid
        with pytest.raises(StartError, match="not ready after 0 s: no server has started here"):
            wait_ready(tmp_path, 0.3, os.getppid())
    finally:
        server.close()


def test_a_state_of_a_dead_launcher_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"pid": 1, "pid_created": 0}')
    assert read_state(tmp_path) is None
    (tmp_path / "state.json").write_text("{")
    assert read_state(tmp_path) is None


class _Busy:
    """A TorchServe whose front end is alive: what it tells of its workers is up to the test."""

    pid = 1

    def __init__(self) -> None:
        self.told: dict[str, list[Worker]] | OSError = {}

    def workers(self) -> dict[str, list[Worker]]:
        if isinstance(self.told, OSError):
            raise self.told
        return self.told


def test_a_front_end_that_is_busy_gets_longer_than_a_worker_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOST_SECONDS", 0.0)
    busy = _Busy()
    looks = watch.Watch(cast(Any, busy), [])
    busy.told = OSError("timed out")
    assert looks.look() == watch.Look("the front end does not tell of its workers (timed out)")
    monkeypatch.setattr(watch, "SILENT_SECONDS", 0.0)
    assert (looks.look().lost or "").startswith("the front end does not tell of its workers")
