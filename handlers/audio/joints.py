"""Clips that come in pieces, each clip faded into the next (`crossfade.py` joins whole ones by the same curves)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


class Joints:
    """One sound out of clips of known lengths that overlap by `overlap` samples. Raises `ValueError` for short ones."""

    def __init__(self, lengths: tuple[int, ...], overlap: int) -> None:
        if len(lengths) > 1 and min(lengths) < 2 * overlap:
            raise ValueError(f"a clip of {min(lengths)} samples is shorter than two fades of {overlap}")
        self._lengths = lengths
        self._overlap = overlap if len(lengths) > 1 else 0
        at = (np.arange(self._overlap) + 0.5) / max(1, self._overlap)
        rising = np.sin(at * math.pi / 2).astype(np.float32)  # equal power: clips have nothing to do with each other
        self._in, self._out = rising, rising[::-1]
        self._held = np.zeros(self._overlap, np.float32)  # the end of the clip before, faded out

    def add(self, clip: int, at: int, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        """The samples of the sound that are final with `piece`, which begins at sample `at` of a clip.

        What of the piece lies behind the clip's end is left out.
        """
        length, overlap = self._lengths[clip], self._overlap
        piece = piece[: max(0, length - at)].astype(np.float32)  # a copy
        if clip and at < overlap:
            upto = min(overlap, at + len(piece))
            piece[: upto - at] = piece[: upto - at] * self._in[at:upto] + self._held[at:upto]
        tail = length - overlap
        if clip == len(self._lengths) - 1 or at + len(piece) <= tail:
            return piece
        first = max(at, tail)
        faded = self._out[first - tail : at + len(piece) - tail]
        self._held[first - tail : at + len(piece) - tail] = piece[first - at :] * faded
        return piece[: first - at]
