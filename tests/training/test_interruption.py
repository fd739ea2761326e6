"""A run that is asked to stop: by any signal, at any moment, it leaves a whole step, and goes on as if nothing was."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.saved import assert_equal, tensors
from tests.training.test_run import ENVIRONMENT, NAME
from training import checkpoint, dcgan, evaluate_images, evaluate_pairs, loop, pictures
from training.__main__ import main
from training.data import folder
from training.interruption import SIGNALS, Interruption


def saved_step() -> int:
    return checkpoint.read(checkpoint.directory("m")).step


@pytest.fixture(autouse=True)
def _handlers_stay() -> Any:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_ends_a_run_after_its_step(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    update = dcgan.Networks.update

    def asked(self: dcgan.Networks, *arguments: Any) -> Any:
        if arguments[1] == 2:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
        return update(self, *arguments)

    monkeypatch.setattr(dcgan.Networks, "update", asked)
    assert main(["dcgan", *NAME]) == 130
    assert saved_step() == 2
    told = capfd.readouterr().err
    assert "stopping after this step; everything will be saved" in told
    assert "the same command goes on from artifacts/checkpoints/m" in told


def test_a_signal_that_is_ignored_from_the_start_stays_ignored() -> None:
    """As nohup has it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGHUP)
        asked = [interruption.asked]
        os.kill(os.getpid(), signal.SIGTERM)
        asked.append(interruption.asked)
    assert asked == [False, True]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def endless(then: Callable[..., Any]) -> Callable[..., Any]:
    """A look that takes longer than anybody waits, and is asked to stop in its middle."""

    def look(*arguments: Any) -> Any:
        then(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        begin = time.monotonic()
        while time.monotonic() - begin < 60:
            time.sleep(0.01)
        raise AssertionError("the look was not broken off")

    return look


LOOKS = [
    ("dcgan", evaluate_images, "evaluate", 3),
    ("dcgan", evaluate_images, "evaluate_finally", 6),
    ("summarizer", evaluate_pairs, "evaluate", 2),
]


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "module", "name", "step"), LOOKS, ids=[f"{row[0]}-{row[2]}" for row in LOOKS])
def test_a_look_is_broken_off_and_made_up_for(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, module: Any, name: str, step: int
) -> None:
    command = [recipe, *NAME]
    assert main(command) == 0
    whole, meta = tensors(), checkpoint.read(checkpoint.directory("m"))
    with monkeypatch.context() as patched:
        patched.setattr(module, name, endless(getattr(module, name)))
        assert main([*command, "--restart"]) == 130
    assert saved_step() == step
    assert main(command) == 0
    assert_equal(whole, tensors())
    again = checkpoint.read(checkpoint.directory("m"))
    assert again.metrics == meta.metrics
    lines = Path("artifacts/runs/m/log.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines))


def test_what_changes_the_learner_is_not_broken_off() -> None:
    with Interruption() as interruption:
        with interruption.breakable(), Interruption.held():
            os.kill(os.getpid(), signal.SIGTERM)
            done = True
        assert done
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt), interruption.breakable():
            raise AssertionError("begun though it was asked to stop")


def test_a_signal_while_the_losses_are_drawn_changes_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plot = pictures.plot_losses

    def asked(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        plot(*arguments)

    monkeypatch.setattr(loop, "plot_losses", asked)
    assert main(["dcgan", *NAME]) == 0
    assert "Traceback" not in capfd.readouterr().err
    assert Path("artifacts/runs/m/losses.png").exists()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_data_is_read_changes_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    images = workspace / "images"
    images.mkdir()
    for name in "abcdefgh":
        Image.new("RGB", (16, 16)).save(images / f"{name}.png")
    handlers = [signal.getsignal(each) for each in SIGNALS]

    def asked(*_: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr(folder, "_square", asked)
    monkeypatch.setattr("training.data.decoded.SHARE", 0.0)  # so a file is being written
    assert main(["dcgan", *NAME, "--data", "images"]) == 130
    assert "interrupted before training had begun; nothing was changed" in capsys.readouterr().err
    assert not [path for path in Path("artifacts").rglob("*") if path.is_file()]
    assert [signal.getsignal(each) for each in SIGNALS] == handlers


def test_an_error_of_the_plot_hides_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "could not write losses.png (No space left on device)")

    monkeypatch.setattr(loop, "plot_losses", full)
    assert main(["dcgan", *NAME]) == 0
    assert saved_step() == 6
    told = "the losses are not drawn: could not write losses.png (No space left on device)"
    assert told in capsys.readouterr().err
    assert main(["dcgan", *NAME, "--learning-rate", "1e30", "--steps", "50", "--restart"]) == 1
    errors = capsys.readouterr().err
    assert told in errors
    assert "try a lower --learning-rate" in errors


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_a_run_whole(workspace: Path) -> None:
    """What an ended ssh does: SIGHUP, and nobody takes what is written any more."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    begin = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
    )
    command = [
        sys.executable,
        "-c",
        begin,
        sys.executable,
        "-m",
        "training",
        "dcgan",
        *NAME,
        "--steps",
        "100000",
        "--save-every",
        "100000",
    ]
    process = subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    log = Path("artifacts/runs/m/log.jsonl")
    try:
        while not (log.exists() and log.stat().st_size > 500) and process.poll() is None:
            if select.select([ours], [], [], 0.02)[0]:
                os.read(ours, 65_536)
        os.close(ours)
        assert process.wait(timeout=60) == 130
    finally:  # a run that hears nothing would go on for hours
        process.kill()
        process.wait()
    assert saved_step() > 0
    assert Path("artifacts/runs/m/losses.png").exists()


@pytest.mark.slow
def test_readers_that_are_gone_end_nothing(workspace: Path) -> None:
    """`python -m training ... | head -1`, and a terminal that was closed."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "training", "dcgan", *NAME]
    code = subprocess.run(command, env=ENVIRONMENT, stdout=writing, stderr=writing, check=False).returncode
    os.close(writing)
    assert code == 0
    assert saved_step() == 6
