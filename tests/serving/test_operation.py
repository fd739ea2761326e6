"""One server through everything that makes a launcher give up or fools it, until it answers at the end."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import faults, faults_launcher
from benchmarks.traffic import request_outcome
from serving.commands import wait_ready
from serving.state import read_state
from tests.conftest import ROOT
from tests.serving.conftest import STOP_SECONDS, Server, eventually, launcher, running

pytestmark = pytest.mark.server
BACK_SECONDS = faults_launcher.BACK_SECONDS


@contextmanager
def talking_to_nobody(store: Path, folder: Path) -> Iterator[Server]:
    """A server whose output is closed after its first line, as `serving up | head -1` does."""
    place = Path(tempfile.mkdtemp(prefix="at-", dir="/tmp"))
    process = subprocess.Popen(
        [*launcher(store, folder), "--stop-at-eof"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(place)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        try:
            assert process.stdout.readline().startswith("starting TorchServe with ")
            process.stdout.close()
            state = wait_ready(folder, 240, process.pid)
            yield Server(process, folder, place, *(str(state[key]) for key in ("inference", "management", "status")))
        finally:
            process.kill()
            shutil.rmtree(place, ignore_errors=True)


def answers(server: Server) -> None:
    eventually(lambda: request_outcome(server, "tiny", 10, seed=1) == "200", BACK_SECONDS, "it never answered again")
    eventually(lambda: server.ready()[0] == 200, BACK_SECONDS, f"not ready again: {server.ready()[1]}")


def set_the_clock(server: Server) -> None:
    """As the state looks to whoever compares a creation time after the clock was set."""
    path = server.run_dir / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid_created": 1.0}))
    state = read_state(server.run_dir)
    assert state is not None
    assert state["pid"] == server.process.pid


def remove_the_run_directory(server: Server, store: Path) -> None:
    aside = server.run_dir.with_name("removed")
    server.run_dir.rename(aside)  # at once: the launcher puts back what it misses
    shutil.rmtree(aside)
    second = subprocess.run(launcher(store, server.run_dir), cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"already running as process {server.process.pid}; stop it with" in second.stderr
    eventually(lambda: read_state(server.run_dir) is not None, 60, "the state was not put back")


def clean_the_temporary_directory(server: Server) -> None:
    (folder,) = server.temporary.glob("atelier-run-*")
    before = faults_launcher.restarts(server)
    shutil.rmtree(folder)
    eventually(lambda: faults_launcher.restarts(server) > before, BACK_SECONDS, "nobody missed the files")
    answers(server)
    assert folder.stat().st_mode & 0o777 == 0o700


def ends_with_two_ctrl_c(server: Server) -> None:
    server.process.send_signal(signal.SIGINT)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(STOP_SECONDS) == 0
    assert not server.processes()
    assert not list(server.temporary.iterdir()), "files are left in TMPDIR"
    assert not (server.run_dir / "state.json").exists()


def test_a_server_that_nobody_listens_to_goes_on(store: Path, tmp_path: Path) -> None:
    with talking_to_nobody(store, tmp_path / "run") as server:
        set_the_clock(server)
        faults_launcher.log_words(server, "tiny")
        answers(server)
        log = server.run_dir / "torchserve.log"
        assert log.stat().st_mode & 0o777 == 0o600
        for process in (server.jvm(), *server.workers(), *server.engines()):
            limits = Path(f"/proc/{process.pid}/limits").read_text()
            assert next(line for line in limits.splitlines() if "core file" in line).split()[4:6] == ["0", "0"]
            assert not list(Path("/tmp").glob(f"hsperfdata_*/{process.pid}"))
        remove_the_run_directory(server, store)
        answers(server)
        ends_with_two_ctrl_c(server)
        assert server.process.stderr is not None
        assert server.process.stderr.read() == ""


def test_words_of_callers_make_one_line_each(server: Server) -> None:
    """None of the log's lines begins as the caller wanted it to."""
    log = server.run_dir / "torchserve.log"
    before = len(log.read_bytes())
    for form in faults_launcher.LOG_WORDS:
        server.post(form, "tiny", faults_launcher.FORM)
    lines = [line for line in log.read_bytes()[before:].decode(errors="replace").split("\n") if line]
    assert lines
    assert not [line for line in lines if line.startswith(("2026-01-01", "TorchServe went", "\t", "java."))]


@pytest.mark.long
@pytest.mark.timeout(900)  # pauses grow from loss to loss
def test_a_server_goes_through_all_of_it(store: Path, tmp_path: Path) -> None:
    try:
        with faults.small_disk(64) as disk, running(store, disk / "run", temporary=disk) as server:
            for outcome in (
                faults_launcher.full_disk_at_restart(server, disk, "tiny"),
                faults_launcher.log_words(server, "tiny"),
                faults_launcher.kill_jvm_again(server, "tiny", 2),
                faults_launcher.drain_by_anybody(server, "tiny"),
                faults_launcher.stopped_launcher(server, "tiny"),
            ):
                assert outcome.lost == 0, outcome
            set_the_clock(server)
            clean_the_temporary_directory(server)
            remove_the_run_directory(server, store)
            answers(server)
            server.process.send_signal(signal.SIGINT)
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(STOP_SECONDS) == 0
            assert not server.processes()
            assert not list(disk.glob("atelier-run-*"))
    except PermissionError as error:
        pytest.skip(f"{error}: run as root to try a full disk")


def test_what_a_killed_launcher_left_is_ended_by_the_next_one(store: Path, tmp_path: Path) -> None:
    """Its JVM may not end by itself; here it cannot, because it is stopped as the launcher is killed."""
    with running(store, tmp_path / "run") as server:
        left = server.processes()
        for process in left:
            process.suspend()
        server.process.kill()
        server.process.wait()
        (folder,) = server.temporary.iterdir()
        command = launcher(tmp_path, tmp_path / "another")  # an empty store: it only clears away
        environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(server.temporary)}
        subprocess.run(command, cwd=ROOT, capture_output=True, check=False, env=environment)
        assert not folder.exists()
        eventually(lambda: not server.processes(), STOP_SECONDS, "processes are left behind")
        with contextlib.suppress(ProcessLookupError):
            server.process.kill()
