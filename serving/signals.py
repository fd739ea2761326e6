"""The signals that stop a launcher, as an exception in its main thread."""

from __future__ import annotations

import signal
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP came: whatever the launcher is waiting for, it stops now."""


class StopSignals:
    """While entered, the stopping signals raise `StopRequested`, until `ignore` is called."""

    def __init__(self) -> None:
        self._ignored = False
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

    def _raise(self, *_: object) -> None:
        if not self._ignored:
            raise StopRequested
