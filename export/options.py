"""The options of a build."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from export.speed import QUICK, Effort
from export.variants import VARIANTS
from handlers.runtimes import registry

CALIBRATION_ROWS = 128
MINUTES, QUICK_MINUTES = 20.0, 8.0  # of a whole build

Say = Callable[[str], None]


class OptionError(ValueError):
    """An option with a value that it does not have; the message lists those that it has."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The forms and runtimes that are tried, and how long each candidate is timed."""

    variants: tuple[str, ...] = VARIANTS
    runtimes: tuple[str, ...] = dataclasses.field(default_factory=registry.names)
    quick: bool = False
    calibration: int = CALIBRATION_ROWS  # rows for static INT8
    minutes: float | None = None  # after which no form or candidate begins; 0: none; None: the default

    def __post_init__(self) -> None:
        names = registry.names()
        for what, given, known in (("variants", self.variants, VARIANTS), ("runtimes", self.runtimes, names)):
            odd = sorted(set(given) - set(known))
            if odd:
                raise OptionError(f"--{what} names {', '.join(odd)}; known: {', '.join(known)}")
        if self.minutes is not None and not 0 <= self.minutes < math.inf:
            raise OptionError(f"--minutes is {self.minutes:g}, wanted a number of minutes of at least 0 (0: no bound)")

    @property
    def effort(self) -> Effort:
        """How long candidates are looked at."""
        return QUICK if self.quick else Effort()

    @property
    def bound(self) -> float:
        """The minutes of a whole build; 0 for no bound."""
        return (QUICK_MINUTES if self.quick else MINUTES) if self.minutes is None else self.minutes

    @property
    def every_runtime(self) -> bool:
        """Whether all runtimes are asked for, so that none of them is asked for by name."""
        return set(self.runtimes) == set(registry.names())


DEFAULTS = Options()
