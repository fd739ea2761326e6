"""The JVM process: workers that ended are told at once, with the log of this start, and it can be started again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handlers.proxy import doors
from serving import config, seal, torchserve, usage, watch
from serving.client import Response
from serving.clock import AwakeClock
from serving.config import PortTaken
from serving.jvm import FrontEndLost, StartError
from serving.torchserve import TorchServe, Worker

SAYS = "import sys, time; print(sys.argv[1], flush=True); time.sleep(600)"


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TorchServe]:
    """A TorchServe whose JVM writes the text of the file `says` to the log, and answers nothing."""
    says = tmp_path / "says"
    monkeypatch.setattr(torchserve, "java_command", lambda *_: [sys.executable, "-c", SAYS, says.read_text()])
    monkeypatch.setattr("tempfile.tempdir", "/tmp")  # unix sockets have short paths
    running = TorchServe(tmp_path, tmp_path / "log", tmp_path / "spool")
    yield running
    running.stop()


def begin(started: TorchServe, folder: Path, says: str) -> None:
    """Start it, and return when its line is in the log."""
    (folder / "says").write_text(says)
    started.start([])
    while says not in (folder / "log").read_text():
        assert started.pid is not None


def test_a_worker_that_ended_is_told_with_the_log_of_this_start(
    started: TorchServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(started, tmp_path, "the first complaint")
    started.kill()
    begin(started, tmp_path, "the second complaint")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    workers = {"a": [Worker(started.pid or 0, "UNLOADING")], "b": [Worker(ended.pid, "UNLOADING")]}
    monkeypatch.setattr(started, "workers", lambda: workers)
    with pytest.raises(StartError) as told:
        started.wait_loaded({"a", "b"}, 60)
    log = tmp_path / "log"
    assert str(told.value) == (f"b cannot be loaded, the worker ended:\n  the second complaint\n(whole log: {log})")
    assert log.read_text() == "the first complaint\nthe second complaint\n"


def test_a_worker_that_loads_is_waited_for(
    started: TorchServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three complaints in the log of earlier starts once made each later one give up at its first look."""
    begin(started, tmp_path, "Load model failed\n" * 3)
    started.kill()
    begin(started, tmp_path, "it takes its time")
    looks = iter(["UNLOADING", "UNLOADING", "READY"])
    monkeypatch.setattr(started, "workers", lambda: {"a": [Worker(started.pid or 0, next(looks))]})
    started.wait_loaded({"a"}, 60)
    assert not list(looks)


@pytest.mark.parametrize("stopped", [0.0, 3600.0])
def test_the_time_to_load_is_counted_while_the_launcher_is_awake(
    started: TorchServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: float
) -> None:
    begin(started, tmp_path, "it takes its time")
    now, looks = 0.0, 0

    def slow() -> dict[str, list[Worker]]:
        nonlocal now, looks
        looks += 1
        now += stopped if stopped and looks % 2 else 3 * torchserve.ASK_SECONDS  # each answer just in time
        raise OSError("no answer yet")

    monkeypatch.setattr(started, "workers", slow)
    monkeypatch.setattr(torchserve, "AwakeClock", lambda max_step: AwakeClock(max_step, lambda: now))
    with pytest.raises(StartError, match="not every model was ready after 75 s"):
        started.wait_loaded({"a", "b"}, 75)
    assert looks == (10 if stopped else 5)


def test_a_worker_that_is_not_started_yet_is_waited_for(
    started: TorchServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(started, tmp_path, "it takes its time")
    monkeypatch.setattr(started, "workers", lambda: {"a": [Worker(-1, "UNLOADING")]})
    with pytest.raises(StartError, match="not every model was ready after 0 s"):
        started.wait_loaded({"a"}, 0.3)


def test_workers_are_told_the_nonce_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    monkeypatch.setenv(doors.NONCE, "of the shell that started it")
    runs = [TorchServe(tmp_path, tmp_path / "log", tmp_path / "spool") for _ in range(2)]
    told = [run._environment() for run in runs]
    for run in runs:
        run.stop()
    assert [environment[doors.NONCE] for environment in told] == [run.nonce for run in runs]
    assert len({run.nonce for run in runs}) == 2
    assert all(len(run.nonce) >= 32 for run in runs)


def test_torchserve_hands_on_what_the_launcher_tells_workers() -> None:
    """It keeps back whatever looks like a secret."""
    assert re.fullmatch(config.properties()["blacklist_env_vars"], doors.NONCE) is None


def test_a_control_word_carries_the_nonce_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def answer(*arguments: Any) -> Response:
        sent.append(arguments)
        return Response(200, {}, b'{"engine": "ready"}')

    monkeypatch.setattr(watch, "request", answer)
    run: Any = SimpleNamespace(front="unix:/nowhere", nonce="n")
    assert watch.control(run, "faces", "health") == {"engine": "ready"}
    assert (sent[0][4]["X-Atelier"], sent[0][4]["X-Atelier-Nonce"]) == ("health", "n")


def test_a_port_of_which_nothing_can_be_learned_is_told(
    started: TorchServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/proc/1/fd")

    assert started.seal() is None  # not started
    begin(started, tmp_path, "it runs")
    monkeypatch.setattr(seal, "listening", hidden)
    wanted = "(nothing can be learned of its ports: [Errno 13] Permission denied: '/proc/1/fd')"
    assert started.seal() == f"other users of this machine can reach TorchServe's gRPC {wanted}"
    started.kill()
    assert started.seal() is None  # it has gone: `wait_loaded` tells why


@pytest.mark.parametrize(("user", "count"), [(0, 1), (1000, 0)])
def test_running_as_root_is_told(user: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    told = usage.root_warnings()
    assert len(told) == count
    assert all("this runs as root" in line and "give it a user of its own" in line for line in told)


def test_a_jvm_that_was_killed_while_it_started_may_come_up_another_time(started: TorchServe, tmp_path: Path) -> None:
    begin(started, tmp_path, "it takes its time")
    os.kill(started.pid or 0, signal.SIGKILL)
    with pytest.raises(FrontEndLost, match=r"TorchServe was killed \(SIGKILL\) while it started:\n  it takes its time"):
        started.wait_loaded({"a"}, 60)


def test_a_jvm_that_ends_by_itself_says_why(
    started: TorchServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = [sys.executable, "-c", "import sys; sys.exit('no such option')"]
    monkeypatch.setattr(torchserve, "java_command", lambda *_: code)
    started.start([])
    with pytest.raises(StartError, match="TorchServe exited while it started:\n  no such option") as told:
        started.wait_loaded({"a"}, 60)
    assert not isinstance(told.value, FrontEndLost)


def test_an_answer_that_is_none_is_a_failed_look(started: TorchServe, monkeypatch: pytest.MonkeyPatch) -> None:
    for body in (b"<html>", b"{}", b"[]", b'{"models": [1]}'):
        monkeypatch.setattr(started, "_manage", lambda _, body=body: body)
        with pytest.raises(OSError, match="management API: an answer that is none"):
            started.workers()


def test_another_start_has_the_same_sockets_and_other_ports(started: TorchServe, tmp_path: Path) -> None:
    begin(started, tmp_path, "the first time")
    before = started.addresses
    begin(started, tmp_path, "and again")
    assert (started.addresses.inference, started.addresses.management) == (before.inference, before.management)
    assert started.addresses.grpc_management_port != before.grpc_management_port  # which nobody has to know


def test_a_cleaned_folder_is_made_again_for_the_next_start(started: TorchServe, tmp_path: Path) -> None:
    begin(started, tmp_path, "the first")
    shutil.rmtree(started.folder)
    started.kill()
    begin(started, tmp_path, "the second")
    assert (started.folder / "config.properties").is_file()
    assert started.folder.stat().st_mode & 0o777 == 0o700


def test_a_jvm_that_is_still_there_is_ended_before_another_start(started: TorchServe, tmp_path: Path) -> None:
    begin(started, tmp_path, "the first")
    first = started.pid
    begin(started, tmp_path, "the second")
    assert first is not None
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_no_port_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise PortTaken("no port is free")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("serving.config.free_ports", none)
    with pytest.raises(PortTaken):
        TorchServe(tmp_path, tmp_path / "log", tmp_path / "spool")
    assert not list(tmp_path.iterdir())
