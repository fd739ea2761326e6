"""The signals that stop a launcher, as an exception in its main thread."""

from __future__ import annotations

import signal
import time
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_WISH_SECONDS = 1.0  # a second signal so soon after the first says nothing new


class StopRequested(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP came: whatever the launcher is waiting for, it stops now."""


class StopSignals:
    """While entered, the stopping signals raise `StopRequested`, until `ignore` is called."""

    def __init__(self) -> None:
        self._ignored = False
        self._raised_at: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in STOPPING:
            self._before[number] = signal.signal(number, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """Let further signals pass without effect: stopping is under way."""
        self._ignored = True

    def check(self) -> None:
        """Raise `StopRequested` for a signal whose exception was lost (Python drops one that comes in a `__del__`)."""
        if self._raised_at is not None and not self._ignored:
            raise StopRequested

    def _raise(self, *_: object) -> None:
        now = time.monotonic()
        # The second of two Ctrl-C must not interrupt what the first one began.
        if self._ignored or (self._raised_at is not None and now - self._raised_at < SAME_WISH_SECONDS):
            return
        self._raised_at = now
        raise StopRequested
