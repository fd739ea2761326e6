"""Sound at another rate (libsoxr), piece by piece: the pieces are, sample for sample, what the whole sound becomes."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray


class Resampler:
    """Mono sound from one rate to another; at equal rates it passes through as it is."""

    def __init__(self, rate: int, wanted: int) -> None:
        self._stream = None if rate == wanted else soxr.ResampleStream(rate, wanted, 1, dtype="float32")

    def resample(self, wave: NDArray[np.float32], last: bool) -> NDArray[np.float32]:
        """What is ready after another piece (T,); after the `last` one, all of the rest."""
        if self._stream is None:
            return wave
        found: NDArray[np.float32] = self._stream.resample_chunk(np.ascontiguousarray(wave, np.float32), last=last)
        return found


def resampled(samples: int, rate: int, wanted: int) -> int:
    """How many samples come of so many."""
    return (2 * samples * wanted + rate) // (2 * rate)
