"""How loud a sound is: the K-weighting of ITU-R BS.1770-5, at any rate, without its gates.

The two filters of the recommendation are stated for 48 kHz; their analogue prototypes (De Man 2014, "Evaluation of
implementations of the EBU R128 loudness measurement", section 2.2) give them for every other rate.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

OFFSET = -0.691  # dB: a full-scale sine of 997 Hz has -3.01 LUFS

_Filter = tuple[tuple[float, float, float], tuple[float, float, float]]  # numerator, denominator


def loudness(wave: NDArray[np.float32], rate: int) -> float:
    """Loudness in LUFS of a wave (T,) at `rate` Hz; minus infinity for silence."""
    size = 1 << (len(wave) + rate // 10).bit_length()  # room for what the filters leave behind
    power = np.abs(np.fft.rfft(wave.astype(np.float64), size)) ** 2
    power[1:-1] *= 2.0  # of the frequencies below 0, too
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    for numerator, denominator in filters(rate):
        power *= np.abs(np.polyval(numerator[::-1], z) / np.polyval(denominator[::-1], z)) ** 2
    mean = float(power.sum()) / size / max(1, len(wave))
    return OFFSET + 10.0 * math.log10(mean) if mean > 0.0 else -math.inf


def filters(rate: int) -> tuple[_Filter, _Filter]:
    """The shelf that stands for the head, and the high-pass."""
    k, q = math.tan(math.pi * 1681.974450955533 / rate), 0.7071752369554196
    gain = 10.0 ** (3.999843853973347 / 20.0)
    middle = gain**0.4996667741545416
    norm = 1.0 + k / q + k * k
    high = ((gain + middle * k / q + k * k) / norm, 2 * (k * k - gain) / norm, (gain - middle * k / q + k * k) / norm)
    shelf = (high, (1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm))
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    norm = 1.0 + k / q + k * k
    return shelf, ((1.0, -2.0, 1.0), (1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm))
