"""Evaluation of generators of sound: samples to look at and to listen to, and their distances to real clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data import SoundSet

Sample = Callable[[NDArray[np.int64], int], torch.Tensor]  # labels (B,), seed -> waves (B, T) in [-1, 1]


def evaluate(sample: Sample, data: SoundSet, seed: int, path: Path) -> dict[str, float]:
    """Save a picture (`path`, .png) and a WAV file beside it; returns figures of quality against held-out clips."""
    raise NotImplementedError


def evaluate_finally(sample: Sample, data: SoundSet, seed: int, cache: Path) -> dict[str, float]:
    """The same figures of more samples, their floors, and in the spoken world `class_accuracy`."""
    raise NotImplementedError
