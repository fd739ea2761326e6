"""What is compared with: no process is left behind, and what is not installed is said so."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import types
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.peers import process as peer_process
from benchmarks.peers import run as peers
from benchmarks.peers.process import Peer, PeerError, process, wait
from tests.conftest import ROOT

# Starts a child of its own and ignores SIGTERM, as does the child: the worst that a server can do.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(300)"])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(300)
"""


def gone(pid: int, seconds: float = 5.0) -> bool:
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
    deadline = time.monotonic() + 10
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
        _, said = benchmark.communicate(timeout=10)
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
    for other in (peers.fastapi, peers.litserve):
        with other(nothing) as peer:
            assert peer is None
    assert capsys.readouterr().out.count("make bench-extras") == 2


@dataclasses.dataclass
class Counted:
    """A process that has used 2.5 s more whenever it is asked, or is gone."""

    used: float = 0.0
    is_gone: bool = False

    def cpu_times(self) -> Any:
        if self.is_gone:
            raise psutil.NoSuchProcess(1)
        self.used += 2.5
        return types.SimpleNamespace(user=self.used - 0.5, system=0.5)


def test_idle_cores_are_processor_time_by_elapsed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    fake = types.SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda s: clock.append(clock.pop() + s + 1.0))
    monkeypatch.setattr(peer_process, "time", fake)  # a second more passes than was slept
    peer = Peer("x", "", "")
    monkeypatch.setattr(peer, "processes", lambda: [])
    assert peer.idle_cores(4.0) == 0
    counted = [Counted(), Counted(10.0), Counted(is_gone=True)]
    monkeypatch.setattr(peer, "processes", lambda: counted)
    assert peer.idle_cores(4.0) == pytest.approx(2 * 2.5 / 5.0)
    counted[1].is_gone = True  # what a process that ended had used is no negative use
    monkeypatch.setattr(peer, "processes", iter([counted[:2], counted[1:]]).__next__)
    assert peer.idle_cores(4.0) == 0


def test_all_processes_of_a_peer_are_counted(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryFile() as log,
        process([sys.executable, "-c", STUBBORN, str(tmp_path / "note")], {}, tmp_path, log) as running,
    ):
        child = child_of(tmp_path / "note")
        assert {p.pid for p in Peer("x", "", "", pid=running.pid).processes()} == {running.pid, child}
    assert Peer("x", "", "").processes() == []
