"""What a WaveNet is told of a clip, frame by frame: its class and the place in it, or its log-mel spectrogram.

Dimensions: F frames, C numbers of a condition, P parts of a clip, K classes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.mel import log_mel
from training.models.wavenet_config import Described

USUAL_SECONDS = 0.5  # at which the number of the length is 0


def of_class(model: Described, label: int, length: int) -> Tensor:
    """Conditions (F, C) of a clip of `length` samples.

    Class k at place p has its own C / K = P numbers, of which those of the two nearest parts are over 0 and sum to 1;
    the last number is the logarithm of the length. `handlers/audio/places.py` says the same to the served network.
    """
    frames = -(-length // model.frame)
    place = np.minimum((np.arange(frames) + 0.5) * model.frame / length, 1.0) * (model.parts - 1)
    found = np.zeros((frames, len(model.classes), model.parts))
    found[:, label] = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(model.parts)))
    long = np.full((frames, 1), math.log(length / model.rate / USUAL_SECONDS))
    return torch.from_numpy(np.concatenate([found.reshape(frames, -1), long], axis=1).astype(np.float32))


def of_sound(model: Described, wave: NDArray[np.float32]) -> Tensor:
    """Conditions (F, M) of a wave (T,): the mean of the spectrogram at both ends of each frame, about -1 to 1."""
    frames = -(-len(wave) // model.frame)
    whole = np.pad(wave, (0, frames * model.frame - len(wave)))
    spectrogram = log_mel(torch.from_numpy(whole)[None], model.rate)[0].T  # (F + 1, M)
    return (spectrogram[:-1] + spectrogram[1:]) / 8.0 + 1.0


def of_clip(model: Described, label: int, wave: NDArray[np.float32]) -> Tensor:
    """Conditions (F, C) of a clip (T,), whichever the network reads."""
    return of_sound(model, wave) if model.condition == "mel" else of_class(model, label, len(wave))
