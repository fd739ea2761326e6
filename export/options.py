"""The options of a build."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from export.variants import VARIANTS
from handlers.bundle import Runtime

CALIBRATION_ROWS = 128
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino", "tensorrt", "onnxruntime-cuda")

Say = Callable[[str], None]


class OptionError(ValueError):
    """An option with a value that it does not have; the message lists those that it has."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The forms and runtimes that are tried, and how long each candidate is timed."""

    variants: tuple[str, ...] = VARIANTS
    runtimes: tuple[Runtime, ...] = RUNTIMES
    quick: bool = False
    calibration: int = CALIBRATION_ROWS  # rows for static INT8

    def __post_init__(self) -> None:
        for what, given, known in (("variants", self.variants, VARIANTS), ("runtimes", self.runtimes, RUNTIMES)):
            odd = sorted(set(given) - set(known))
            if odd:
                raise OptionError(f"--{what} names {', '.join(odd)}; known: {', '.join(known)}")


DEFAULTS = Options()
