"""The options of a build."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from export.speed import QUICK, Effort
from export.variants import VARIANTS
from handlers.runtimes import registry

CALIBRATION_ROWS = 128

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

    def __post_init__(self) -> None:
        names = registry.names()
        for what, given, known in (("variants", self.variants, VARIANTS), ("runtimes", self.runtimes, names)):
            odd = sorted(set(given) - set(known))
            if odd:
                raise OptionError(f"--{what} names {', '.join(odd)}; known: {', '.join(known)}")

    @property
    def effort(self) -> Effort:
        """How long candidates are looked at."""
        return QUICK if self.quick else Effort()

    @property
    def every_runtime(self) -> bool:
        """Whether all runtimes are asked for, so that none of them is asked for by name."""
        return set(self.runtimes) == set(registry.names())


DEFAULTS = Options()
