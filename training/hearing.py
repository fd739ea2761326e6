"""A small classifier of sounds that is trained on a world alone: it says what it hears in what a network has made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data import SoundSet


@dataclasses.dataclass(frozen=True)
class Hearing:
    """A trained classifier of sounds."""

    classes: tuple[str, ...]
    accuracy: float
    """the share of held-out items of its world that it hears right"""

    def heard(self, waves: torch.Tensor) -> NDArray[np.int64]:
        """Indexes into `classes` (B,) for waves (B, T) in [-1, 1] at the rate of its world."""
        raise NotImplementedError


def trained(world: SoundSet, cache: Path) -> Hearing:
    """The classifier of a world: from the folder `cache` if it is there by the digest of the world, else trained."""
    raise NotImplementedError
