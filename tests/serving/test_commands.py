"""The command line: every option explained, foreseeable failures in one line, and how long `down` waits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from serving import __main__ as command
from serving import lifeline
from serving.commands import down
from serving.jvm import StartError
from serving.launcher import Options, Say
from serving.state import read_state, write_state
from serving.voice import Voice

COMMANDS = ("up", "wait", "down", "try")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_comes_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # no option is broken at its hyphen
    with pytest.raises(SystemExit):
        command.main([name, "--help"])
    shown = capsys.readouterr().out
    options = set(re.findall(r"--[a-z][a-z-]*", shown.partition("\n\n")[0]))
    assert "--run-dir" in options
    for option in options - {"--help"}:
        assert re.search(rf"e\.g\. {option}\b", shown), f"{name} {option} has no example:\n{shown}"


@pytest.mark.parametrize("value", ["-21", "20", "high", "1.5"])
def test_a_wrong_niceness_is_refused_before_anything_starts(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["up", "--engine-nice", value])
    assert stopped.value.code == 2
    assert f"--engine-nice: {value} is no niceness, wanted an integer from -20 to 19" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "wanted"), [("-20", -20), ("19", 19), ("0", 0)])
def test_a_niceness_reaches_the_launcher(value: str, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def up(options: Options, say: Say) -> int:
        seen.append(options.engine_nice)
        return 0

    monkeypatch.setattr(command, "up", up)
    assert command.main(["up", "--engine-nice", value]) == 0
    assert command.main(["up"]) == 0
    assert seen == [wanted, 0]  # off unless it is asked for


@pytest.mark.parametrize("error", [ValueError("shapes (3, 4) and (5,) do not match"), TypeError("a mistake")])
def test_a_mistake_of_ours_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise error

    monkeypatch.setattr(command, "up", fails)
    with pytest.raises(type(error), match=re.escape(str(error))):
        command.main(["up"])


def test_a_socket_path_that_is_too_long_is_one_line(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    assert command.main(["up", "--model-store", str(store), "--run-dir", str(tmp_path / "run")]) == 1
    assert re.search(r"error: the socket path .* set TMPDIR to a shorter directory\n", capsys.readouterr().err)
    assert not list(deep.iterdir())


IGNORES = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); signal.pause()"
HEEDS = "import signal; print('x', flush=True); signal.pause()"


@contextmanager
def launcher(run_dir: Path, code: str, stop_seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A process that counts as the launcher of `run_dir`."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "x\n"  # its signal handlers are set
            write_state(run_dir, {"pid": process.pid, "stop_seconds": stop_seconds})
            yield process
        finally:
            process.kill()


def test_down_waits_as_long_as_the_launcher_says(tmp_path: Path) -> None:
    with launcher(tmp_path, IGNORES, 0.25) as process:
        with pytest.raises(StartError, match=rf"process {process.pid} did not stop within 0\.25 s; its log is in"):
            down(tmp_path)
        assert process.poll() is None
    with launcher(tmp_path, HEEDS, 600) as process:
        assert down(tmp_path) is True
        assert process.wait(60) == -signal.SIGTERM


@pytest.mark.parametrize(("words", "option"), [(["up"], "--run-dir"), (["try", "a"], "--out")])
def test_a_folder_that_cannot_be_written_to_is_named_with_its_option(
    words: list[str], option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "new"
    assert command.main([*words, option, str(folder)]) == 1
    wanted = f"error: {folder} cannot be used, there is a file at {folder.parent}: name another folder, e.g. {option} "
    assert wanted in capsys.readouterr().err
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere, but for a read-only disk
    assert command.main([*words, option, str(tmp_path / "a" / "b")]) == 1
    assert f"{tmp_path}/a/b cannot be used, this user may not write to {tmp_path}: name" in capsys.readouterr().err


def test_down_reaches_a_launcher_that_is_stopped(tmp_path: Path) -> None:
    with launcher(tmp_path, HEEDS, 600) as process:
        process.send_signal(signal.SIGSTOP)
        assert down(tmp_path) is True
        assert process.wait(60) == -signal.SIGTERM


@pytest.mark.parametrize("value", ["0", "-1", "often", "1.5"])
def test_a_wrong_number_of_losses_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["up", "--give-up-after", value])
    wanted = f"--give-up-after: {value} is no number of losses, wanted an integer from 1 up"
    assert wanted in capsys.readouterr().err


def test_giving_up_is_off_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def up(options: Options, say: Say) -> int:
        seen.append(options.give_up_after)
        return 0

    monkeypatch.setattr(command, "up", up)
    assert command.main(["up", "--give-up-after", "6"]) == command.main(["up"]) == 0
    assert seen == [6, None]


def test_without_an_output_nothing_is_written_into_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started with `>&-`, the next file that is opened gets the number of the output."""
    inodes = []

    def up(options: Options, say: Say) -> int:
        say("ready")
        return 0

    def remembered(descriptor: int) -> Voice:
        inodes.append(os.fstat(descriptor).st_rdev)
        return Voice(descriptor)

    monkeypatch.setattr(command, "up", up)
    monkeypatch.setattr(command, "Voice", remembered)
    monkeypatch.setattr(sys, "stdout", None)
    assert command.main(["up"]) == 0
    assert inodes == [Path(os.devnull).stat().st_rdev]


def test_a_lifeline_that_breaks_ends_like_one_that_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading from a terminal that is gone is an error, not an end."""
    sent = []

    def gone(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.read", gone)
    monkeypatch.setattr("os.kill", lambda pid, number: sent.append((pid, number)))
    lifeline._watch(0)
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_down_without_a_launcher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["down", "--run-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"nothing is running in {tmp_path}\n"


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_state(tmp_path / "run", {"status": "http://127.0.0.1:1", "models": {"a": "1"}})
    state = read_state(tmp_path / "run")
    assert state is not None
    assert (state["pid"], state["models"]) == (psutil.Process().pid, {"a": "1"})
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["state.json"]
    assert json.loads((tmp_path / "run" / "state.json").read_text()) == state
