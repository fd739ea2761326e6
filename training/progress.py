"""What a person sees while a run goes on: a bar on a terminal, else a line now and then.

A terminal or a pipe that is gone ends nothing: what would be said is dropped.
"""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

EVERY = 15.0  # seconds between two lines where there is no bar


def say(text: str, error: bool = False) -> None:
    """Print a line at once, to standard output or standard error."""
    stream = sys.stderr if error else sys.stdout
    try:
        tqdm.write(text, file=stream)  # above a bar, if there is one
        stream.flush()
    except UnicodeEncodeError:
        say(text.encode("ascii", "backslashreplace").decode(), error)
    except (OSError, ValueError):
        _drop(stream)


class Progress:
    """How far some work has come."""

    def __init__(self, what: str, total: int, unit: str, initial: int = 0, stop_at: float = math.inf) -> None:
        """`stop_at` is the monotonic time at which it ends, however far it has come.

        The first line comes with the first figures; where there are none, not before the second one would.
        """
        self._what, self._total, self._count, self._first = what, total, initial, initial
        self._began, self._stop_at = time.monotonic(), stop_at
        self._said = -EVERY
        self._bar: Any = None
        if _columns():
            self._bar = tqdm(total=total, initial=initial, desc=what, unit=unit, dynamic_ncols=True, leave=False)

    def advance(self) -> None:
        """One more is done."""
        self._count += 1
        if self._bar is not None:
            self._shown(self._bar.update)

    def tell(self, figures: str = "") -> None:
        """Show figures beside the bar; without one say them in a line, unless there was one a short while ago."""
        if self._bar is not None:
            self._shown(self._bar.set_postfix_str, figures)
            return
        gone = time.monotonic() - self._began
        if gone - self._said < EVERY or (not figures and gone < EVERY):
            return
        self._said = gone
        left = gone / max(1, self._count - self._first) * (self._total - self._count)
        left = max(0.0, min(left, self._stop_at - time.monotonic()))
        end = f"at most {left / 60:.1f} minutes to go" if self._count < self._total else "done"
        say(", ".join(part for part in (f"{self._what} {self._count:,} of {self._total:,}", figures, end) if part))

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._shown(self._bar.close)

    def _shown(self, show: Any, *arguments: Any) -> None:
        try:
            show(*arguments)
        except (OSError, ValueError):
            self._bar = None
            _drop(sys.stderr)


def _columns() -> int:
    """Width of the terminal of standard error; 0 if it is none, or does not say."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 0
    except (OSError, ValueError):
        return 0


def _drop(stream: TextIO) -> None:
    """What is written from now on goes nowhere: the interpreter would fail on it again when it ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return
