"""The time of a whole build: no form and no candidate begins after it, and what was left out for it is told.

What has begun is finished, so its file and its figures are those of a build without a bound. On top of the time come
the form or candidate that has begun (each bounded by `Effort`), PyTorch eager, and the fastest among each other.
"""

from __future__ import annotations

import dataclasses
import math
import time

now = time.monotonic  # a test has a clock of its own
MAKING = 0.5  # of the time, after which no form begins: the rest is for judging those that are made
LEFT_OUT = "the build's time was used up"  # what a reason says of a form or candidate that was left out
OUT_OF_TIME = f"{LEFT_OUT} before it was {{}}; the same command with more --minutes goes on with it"


@dataclasses.dataclass(frozen=True)
class Budget:
    """Minutes since a time of the clock; 0 stands for no bound."""

    minutes: float
    began: float

    @property
    def left(self) -> float:
        """Seconds until no candidate begins any more; infinite without a bound."""
        return self.began + 60 * self.minutes - now() if self.minutes else math.inf

    @property
    def may_judge(self) -> bool:
        """Whether a candidate may begin."""
        return self.left > 0

    @property
    def may_make(self) -> bool:
        """Whether a form may begin."""
        return self.left > 60 * self.minutes * (1 - MAKING)


def start(minutes: float) -> Budget:
    """The time of a build that begins now."""
    return Budget(minutes, now())


def left_out(reason: str) -> bool:
    """Whether a form or candidate with this reason was left out for want of time."""
    return LEFT_OUT in reason
