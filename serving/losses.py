"""How often TorchServe was lost of late, and how long to wait before it is started again.

A start costs seconds of a whole machine, so pauses grow; but a server that is left down needs a person, so they never
end by themselves, unless whoever supervises the launcher wants to decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0)  # seconds after the first loss, the second, ...; then the last
QUIET_SECONDS = 300.0  # of service, after which a loss is a first one again
MAX_FAILURES = 3  # of the launcher itself, in a row


class Losses:
    """Counts losses; `give_up_after` many without a quiet time between them are enough (None: never)."""

    def __init__(self, give_up_after: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._give_up_after, self._clock = give_up_after, clock
        self._serving_since: float | None = None
        self.count = self._failures = 0

    def serving(self) -> None:
        """Every model answers now."""
        self._serving_since, self._failures = self._clock(), 0

    def lost(self, by_failure: bool = False) -> None:
        """It is lost; `by_failure`: by a mistake in the launcher, which another start may meet again."""
        served = 0.0 if self._serving_since is None else self._clock() - self._serving_since
        self.count = 1 if served >= QUIET_SECONDS else self.count + 1
        self._failures = self._failures + 1 if by_failure else 0
        self._serving_since = None

    @property
    def pause(self) -> float:
        """Seconds to wait before the next start."""
        return PAUSES[min(max(self.count, 1), len(PAUSES)) - 1]

    @property
    def enough(self) -> str | None:
        """Why there is no next start, or None."""
        if self._failures >= MAX_FAILURES:
            return f"the launcher itself failed {self._failures} times in a row"
        if self._give_up_after is not None and self.count >= self._give_up_after:
            return f"it was lost {self.count} times without serving {QUIET_SECONDS / 60:.0f} minutes in between"
        return None
