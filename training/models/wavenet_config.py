"""Sizes of a WaveNet, and what it is conditioned on."""

from __future__ import annotations

import dataclasses
from typing import Literal

from training import checks
from training.mel import BANDS, step_of

ConditionName = Literal["class", "mel"]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network, and its condition."""

    rate: int = 16000
    """samples of a second"""
    cycles: int = 2
    """how often the dilations 1, 2, 4, ... are gone through"""
    doublings: int = 10
    """layers of a cycle: the last one looks 2 ** (doublings - 1) samples back"""
    residual: int = 32
    """channels from layer to layer"""
    skip: int = 64
    """channels of what the layers say together"""
    hidden: int = 64
    """numbers that a condition is made into before the layers see it"""
    condition: ConditionName = "class"
    """class: what is said, and where in the clip; mel: the log-mel spectrogram of the sound (a vocoder)"""
    parts: int = 12
    """places in a clip between which its condition changes gradually, for each class"""

    def __post_init__(self) -> None:
        checks.at_least(self, rate=1000, cycles=1, doublings=1, residual=1, skip=1, hidden=1, parts=2)
        checks.one_of(self, "condition", ("class", "mel"))

    @property
    def dilations(self) -> tuple[int, ...]:
        """How many samples back each layer looks."""
        return tuple(2**power for power in range(self.doublings)) * self.cycles

    @property
    def field(self) -> int:
        """Samples that the next one depends on: the receptive field."""
        return sum(self.dilations) + 1

    @property
    def frame(self) -> int:
        """Samples that have one condition: the step of the log-mel spectrogram."""
        return step_of(self.rate)


@dataclasses.dataclass(frozen=True)
class Described(ModelConfig):
    """With what follows from the data."""

    classes: tuple[str, ...] = ("sound",)
    seconds: float = 0.5
    """of a clip, in the middle"""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "classes", tuple(self.classes))  # JSON has lists

    @property
    def inputs(self) -> int:
        """Numbers of a condition."""
        return BANDS if self.condition == "mel" else len(self.classes) * self.parts + 1
