"""Servers to compare with: no process is left behind, one that cannot be compared is said so, idle time is counted."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmarks.peers import launch, stock
from benchmarks.peers.files import files
from benchmarks.peers.process import Peer, PeerError, process, wait
from benchmarks.server import eventually
from handlers.engine.choice import open_model
from handlers.generator import Request
from serving.client import request
from tests.conftest import ROOT, Tiny

# Starts a child of its own and ignores SIGTERM, as does the child: the worst that a server can do.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(300)"])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(300)
"""


def gone(pid: int, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def child_of(note: Path) -> int:
    deadline = time.monotonic() + 60
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < deadline, "the process did not start"
        time.sleep(0.02)
    return int(note.read_text())


def test_a_process_goes_with_everything_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.process.STOP_SECONDS", 0.2)
    note = tmp_path / "child"
    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        tempfile.TemporaryFile() as log,
        process([sys.executable, "-c", STUBBORN, str(note)], {}, tmp_path, log) as running,
    ):
        child = child_of(note)
        raise KeyboardInterrupt
    assert gone(running.pid)
    assert gone(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_benchmark_that_is_stopped_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    note = tmp_path / "child"
    script = f"""
        import signal, sys, tempfile, time
        from pathlib import Path
        from types import SimpleNamespace
        import benchmarks.__main__ as command
        from benchmarks.peers import process

        process.STOP_SECONDS = 0.2
        # As in a terminal: what a shell runs in the background is born with it ignored, these tests too.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def run(quick):
            with tempfile.TemporaryFile() as log:
                stubborn = [sys.executable, "-c", {STUBBORN!r}, {str(note)!r}]
                with process.process(stubborn, {{}}, Path({str(tmp_path)!r}), log):
                    time.sleep(300)

        sys.modules["benchmarks.faults"] = SimpleNamespace(run=run)
        sys.exit(command.main(["faults"]))
    """
    benchmark = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        child = child_of(note)
        os.kill(benchmark.pid, number)
        _, said = benchmark.communicate(timeout=60)
    finally:
        benchmark.kill()
        benchmark.wait()
    assert benchmark.returncode == 130
    assert b"everything that was started is stopped" in said
    assert gone(child)


def test_a_process_that_ends_while_it_starts_is_reported_with_its_words(tmp_path: Path) -> None:
    peer = Peer("other", "http://127.0.0.1:1", "/x")
    with (
        pytest.raises(PeerError, match="other ended while it started:\nno such thing") as caught,
        tempfile.TemporaryFile() as log,
        process([sys.executable, "-c", "print('no such thing')"], {}, tmp_path, log) as running,
    ):
        wait(peer, running, log)
    assert caught.value.peer == "other"


def test_what_is_not_installed_is_null_and_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    nothing: Any = dataclasses.make_dataclass("Nothing", [])()
    for other in (launch.fastapi, launch.litserve):
        with other(nothing) as peer:
            assert peer is None
    assert capsys.readouterr().out.count("make bench-extras") == 2


def test_peers_answer_with_the_files_that_we_answer_with(tiny: Tiny) -> None:
    generator = open_model(tiny.bundle).generator
    bodies: list[dict[str, Any]] = [{"seed": 1}, {"seed": 2, "format": "jpeg"}]
    first, second = files(generator, [generator.parse(Request(body)) for body in bodies])
    assert first == (generator.generate([generator.parse(Request(bodies[0]))])[0].body, "image/png")
    assert second[0].startswith(b"\xff\xd8")
    assert second[1] == "image/jpeg"


def test_a_process_that_computes_is_not_idle_and_one_that_is_stopped_is(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryFile() as log,
        process([sys.executable, "-c", "while True: pass"], {}, tmp_path, log) as running,
    ):
        busy = Peer("x", "", "", pid=running.pid)
        eventually(lambda: busy.idle_cores(0.1) > 0, 60, "a loop takes no processor time")
        os.kill(running.pid, signal.SIGSTOP)  # it takes none from then on, however busy the machine is
        stopped = psutil.Process(running.pid)
        eventually(lambda: stopped.status() == psutil.STATUS_STOPPED, 60, "the process does not stop")
        assert busy.idle_cores(0.1) == 0.0
        os.kill(running.pid, signal.SIGCONT)


def test_idle_cores_are_those_of_all_processes_a_second() -> None:
    class Scripted(Peer):
        """Two processes that have used 1 s each, and 1.25 s each after two seconds."""

        def processes(self) -> list[Any]:
            used = next(looks)
            return [SimpleNamespace(cpu_times=lambda: SimpleNamespace(user=used - 0.5, system=0.5))] * 2

    looks, clock = iter([1.0, 1.25]), iter([10.0, 12.0])
    assert Scripted("x", "", "").idle_cores(0.0, lambda: next(clock)) == 0.25


def test_a_priority_that_is_not_allowed_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(which: int, who: int, priority: int) -> None:
        raise PermissionError("a priority may be lowered only")

    assert launch.may_set(os.getpriority(os.PRIO_PROCESS, 0) + 1)  # lower than one's own is always allowed
    monkeypatch.setattr(os, "setpriority", refuse)
    with launch.prioritized(tmp_path / "x-1.mar", -15) as peer:
        assert peer is None
    assert "an engine at nice -15 is not compared: this user may not raise a priority" in capsys.readouterr().out


@pytest.mark.parametrize(("nice", "option"), [(None, []), (-15, ["--engine-nice", "-15"])])
def test_ours_is_started_with_the_engine_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nice: int | None, option: list[str]
) -> None:
    given: list[str] = []
    engine = SimpleNamespace(nice=lambda: -15)

    @contextlib.contextmanager
    def running(store: Path, folder: Path, *options: str) -> Iterator[Any]:
        given.extend(options)
        assert [path.name for path in store.iterdir()] == ["faces-1.mar"]
        yield SimpleNamespace(engines=lambda: [engine], inference="http://127.0.0.1:1")

    monkeypatch.setattr(launch, "running", running)
    archive = tmp_path / "faces-1.mar"
    archive.touch()
    with launch.ours(archive, nice) as peer:
        assert peer.path == "/predictions/faces"
        assert ("nice -15" in peer.name) == (nice is not None)
    assert given == option
    engine.nice = lambda: 0
    if nice is not None:  # whoever is not allowed to must not be measured under that name
        with pytest.raises(PeerError, match="runs its engine at nice 0, wanted -15"), launch.ours(archive, nice):
            pass


@pytest.mark.server
def test_the_stock_server_answers_with_a_picture(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its archive holds the network's own file, which imports from the project."""
    monkeypatch.chdir(tiny.folder)
    monkeypatch.setattr(stock, "send", lambda load: None)  # the JVM stays cold
    with stock.stock("tiny", 2) as peer:
        answer = request(peer.address, "POST", peer.path, b'{"seed": 5}', {"Content-Type": "application/json"}, 60)
    assert answer.status == 200
    assert answer.body.startswith(b"\x89PNG")
