"""A clock that stands still while this process does: stopped, its container paused, or starved by others."""

from __future__ import annotations

import time
from collections.abc import Callable


class AwakeClock:
    """Seconds that this process was awake, counted from call to call.

    Call it often: between two calls more than `max_step` seconds cannot pass while the caller runs as it should, so a
    longer step was a stop of its own, and does not count. The server's silence meanwhile is no silence.
    """

    def __init__(self, max_step: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_step, self._clock = max_step, clock
        self._last, self._awake = clock(), 0.0

    def __call__(self) -> float:
        """Seconds awake since this clock was made."""
        now = self._clock()
        step, self._last = now - self._last, now
        self._awake += step if step <= self._max_step else 0.0
        return self._awake
