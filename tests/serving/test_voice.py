"""What the launcher says is said beside it: nobody who does not listen holds it up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from serving.voice import MAX_WAITING, Voice
from tests.conftest import ROOT


def test_everything_is_said_in_order_and_before_the_end(tmp_path: Path) -> None:
    with (tmp_path / "said").open("wb") as file, Voice(file.fileno()) as voice:
        for number in range(MAX_WAITING // 2):
            voice.say(f"{number}")
        voice.say("half a surrogate: \ud800")
    lines = (tmp_path / "said").read_text().splitlines()
    assert lines == [*map(str, range(MAX_WAITING // 2)), "half a surrogate: \\ud800"]


def test_a_reader_that_stopped_holds_nobody_up() -> None:
    """A pager that waits for a key, or Ctrl-S."""
    reading, writing = os.pipe()
    voice = Voice(writing).__enter__()
    for _ in range(10 * MAX_WAITING):
        voice.say("x" * 10_000)
    assert voice._messages.qsize() == MAX_WAITING
    os.close(reading)  # the thread ends with the pipe
    voice.__exit__(None, None, None)
    os.close(writing)
    assert not voice._thread.is_alive()


CLOSED = """
from serving.voice import Voice
with Voice(1) as voice:
    voice.say("one")
    input()
    for number in range(50):
        voice.say("two")
"""


def test_a_closed_output_is_no_error_not_even_at_the_end() -> None:
    """`python -m serving up | head -1`."""
    command = [sys.executable, "-c", CLOSED]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "one\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0
