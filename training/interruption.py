"""Signals that ask a run to stop while it trains: a step is never torn, and what only looks is broken off at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

# Ctrl-C, a stopped container, a closed terminal, a batch system whose time is up: all mean the same.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_CAN_BE_IGNORED = (signal.SIGHUP, signal.SIGUSR1)  # by whoever starts the run: nohup does


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and has saved a whole step: the same command goes on from there."""


class Interruption:
    """While entered, `SIGNALS` set `asked` and say so; inside `breakable` they raise `Interrupted` too."""

    _now: Interruption | None = None

    def __init__(self) -> None:
        self.asked = False
        self._breakable = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        self._before = handle(self._ask)
        Interruption._now = self
        return self

    def __exit__(self, *_: object) -> None:
        Interruption._now = None
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def breakable(self) -> Iterator[None]:
        """Within, nothing is learned: a signal ends it at once, and so does one that came before."""
        if self.asked:
            raise Interrupted
        self._breakable = True
        try:
            yield
        finally:
            self._breakable = False

    @classmethod
    @contextlib.contextmanager
    def held(cls) -> Iterator[None]:
        """Within, the learner changes: a signal does not end that in the middle, even inside `breakable`."""
        now = cls._now or cls()
        before, now._breakable = now._breakable, False
        try:
            yield
        finally:
            now._breakable = before

    def _ask(self, *_: object) -> None:
        self.asked = True
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone; print could be what was interrupted
            os.write(sys.stderr.fileno(), b"\nstopping after this step; everything will be saved\n")
        if self._breakable:
            self._breakable = False  # what is broken off may clean up in peace
            raise Interrupted


def handle(handler: Any) -> dict[signal.Signals, Any]:
    """Have `handler` called for `SIGNALS`; returns the handlers before. In another thread than the first: for none."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    wanted = [n for n in SIGNALS if n not in _CAN_BE_IGNORED or signal.getsignal(n) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in wanted}
