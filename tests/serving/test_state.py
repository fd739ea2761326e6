"""Who runs in a run directory: told by what no clock and no `rm` changes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from serving import state as states
from serving.processes import dying_with, identity
from serving.state import AlreadyRunning, only_one, read_state, write_state
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def changed(run_dir: Path, **values: object) -> None:
    path = run_dir / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_clock_that_is_set_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    created = psutil.Process().create_time
    write_state(tmp_path, {"stop_seconds": 1})
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created() + 3600)  # it follows the wall clock
    assert read_state(tmp_path) is not None
    changed(tmp_path, pid_created=1.0)  # which an older version wrote
    assert read_state(tmp_path) is not None


def test_another_process_of_the_same_number_is_not_taken_for_it(tmp_path: Path) -> None:
    write_state(tmp_path, {})
    own = identity(os.getpid())
    assert own is not None
    boot, ticks = own.split()
    for other in (f"{boot} {int(ticks) + 1}", f"{boot[:-1]}x {ticks}", None, 7):
        changed(tmp_path, process=other)
        assert read_state(tmp_path) is None
    changed(tmp_path, process=own)
    assert read_state(tmp_path) is not None
    changed(tmp_path, pid=[1])
    assert read_state(tmp_path) is None


def test_a_name_with_parentheses_and_spaces_is_read(tmp_path: Path) -> None:
    odd = tmp_path / "a) b (c 1 2"
    odd.symlink_to(shutil.which("sleep") or "sleep")
    with subprocess.Popen([odd, "600"]) as process:
        found = identity(process.pid)
        process.kill()
    own = identity(os.getpid())
    assert found is not None
    assert own is not None
    assert found.split()[0] == own.split()[0]
    assert int(found.split()[1]) >= int(own.split()[1])
    assert identity(process.pid) is None


def test_a_state_of_an_older_version_is_believed_while_its_lock_is_held(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"pid": os.getpid(), "pid_created": 1.0}))
    assert read_state(tmp_path) is None
    with (tmp_path / "lock").open("a") as lock:
        assert read_state(tmp_path) is None
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert read_state(tmp_path) is not None
    created = psutil.Process().create_time()
    (tmp_path / "state.json").write_text(json.dumps({"pid": os.getpid(), "pid_created": created}))
    assert read_state(tmp_path) is not None


SECOND = """
import sys
from pathlib import Path
from serving.state import AlreadyRunning, only_one
try:
    with only_one(Path(sys.argv[1])):
        print("it runs")
except AlreadyRunning as error:
    print(error)
"""


def second(run_dir: Path) -> str:
    """What another launcher says of that run directory."""
    command = [sys.executable, "-c", SECOND, str(run_dir)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_whoever_removes_the_run_directory_gets_no_second_server(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    wanted = f"already running as process {os.getpid()}; stop it with `python -m serving down`"
    with only_one(run_dir) as held:
        assert second(run_dir) == wanted
        write_state(run_dir, {"status": "here"})
        assert held.put_back({"status": "here"}) is False
        for removed in (run_dir, run_dir / "lock", run_dir / "state.json"):
            shutil.rmtree(removed) if removed.is_dir() else removed.unlink()
            assert second(run_dir) == wanted
            assert held.put_back({"status": "here"}) is True
            found = read_state(run_dir)
            assert found is not None
            assert (found["pid"], found["status"]) == (os.getpid(), "here")
            with (run_dir / "lock").open() as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert second(run_dir) == "it runs"


def test_the_lock_alone_keeps_a_second_one_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no names in the kernel: another network namespace, say."""
    monkeypatch.setattr(states, "_claim", lambda _: None)
    with only_one(tmp_path) as held:
        with pytest.raises(AlreadyRunning, match="already running as another process that is starting"):
            only_one(tmp_path).__enter__()
        (tmp_path / "lock").unlink()
        with only_one(tmp_path), pytest.raises(AlreadyRunning):
            held.put_back({})


def test_a_name_that_somebody_else_took_keeps_nobody_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_one(tmp_path):
        pass
    claim = states._claim(tmp_path)
    assert claim is not None
    with claim:
        monkeypatch.setattr(socket.socket, "getsockopt", lambda *_: b"\x01\0\0\0" + b"\xff\xff\0\0" + b"\0\0\0\0")
        assert states._claim(tmp_path) is None


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path / 'state.json'}'"):
        write_state(tmp_path, {})


def test_a_process_whose_parent_is_gone_before_it_begins_ends() -> None:
    """The kernel tells only of a death that comes after it was asked."""
    command = [sys.executable, "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"]
    begun = {
        parent: subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=dying_with(parent))
        for parent in (os.getpid(), os.getppid())
    }
    assert begun[os.getpid()].stdout == "(0, 0)\n"  # no core, which would hold what callers sent
    assert (begun[os.getppid()].returncode, begun[os.getppid()].stdout) == (1, "")
