"""What a WaveNet is told of a clip frame by frame: its class and the place in it. As training/wavenet_conditions.py.

Dimensions: F frames, C numbers of a condition, K classes, P parts of a clip.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

USUAL_SECONDS = 0.5  # at which the number of the length is 0


def conditions(
    label: int, classes: int, parts: int, length: int, frame: int, rate: int, frames: range
) -> NDArray[np.float32]:
    """Conditions (F, C) of the frames `frames` of a clip of `length` samples; behind its end that of its end.

    Class k has its own P numbers, of which those of the two parts that are nearest are over 0 and sum to 1; the last
    number is the logarithm of the length.
    """
    place = np.minimum((np.array(frames) + 0.5) * frame / length, 1.0) * (parts - 1)
    found = np.zeros((len(frames), classes * parts + 1), np.float32)
    found[:, label * parts : (label + 1) * parts] = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(parts)))
    found[:, -1] = math.log(length / rate / USUAL_SECONDS)
    return found
