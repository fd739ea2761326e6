"""What a person sees: a bar where there is a terminal with a width, else a line now and then."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from tests.training.test_run import ENVIRONMENT
from training.progress import Progress, say

PROGRAM = """
from training.progress import Progress, say
progress = Progress("step", 3, "step")
for number in range(3):
    progress.advance()
    progress.tell(f"loss {number}")
    say(f"said {number}")
progress.close()
"""


def seen(columns: int | None) -> str:
    """All that PROGRAM writes to a terminal of so many columns, or to a pipe."""
    command = [sys.executable, "-c", PROGRAM]
    if columns is None:
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while data := os.read(ours, 65_536):
            written += data
    except OSError:
        pass  # the other side is closed
    os.close(ours)
    assert process.wait() == 0
    return written.decode()


@pytest.mark.parametrize("columns", [None, 0])
def test_without_a_width_there_are_lines(columns: int | None) -> None:
    lines = seen(columns).splitlines()
    assert lines == ["step 1 of 3, loss 0, at most 0.0 minutes to go", "said 0", "said 1", "said 2"]


def test_on_a_terminal_there_is_a_bar() -> None:
    written = seen(100)
    assert "/3" in written
    assert "%|" in written
    assert "to go" not in written
    assert [f"said {number}" in written for number in range(3)] == [True] * 3


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("training.progress.time.monotonic", lambda: now[0])
    told = Progress("step", 1200, "step", initial=200, stop_at=100 + 600)
    for _ in range(1000):
        now[0] += 1.0
        told.advance()
        told.tell("loss 1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 201 of 1,200, loss 1, at most 10.0 minutes to go"  # the clock ends it before the schedule
    assert lines[1] == "step 216 of 1,200, loss 1, at most 9.7 minutes to go"
    assert len(lines) == 67
    told.close()


def test_a_name_that_a_stream_cannot_write_is_escaped() -> None:
    program = "from training.progress import say; say('\\u4f60 \\udcff'); say('\\u4f60', error=True)"
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "\\u4f60 \\udcff\n"
    assert answer.stderr == "\\u4f60\n"


def test_a_line_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    say("a")
    say("b", error=True)
    assert capsys.readouterr() == ("a\n", "b\n")
