"""Clips of sound one after the other, each faded into the next."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FADE_SECONDS = 0.02  # from one clip into the next


class Crossfade:
    """Joins clips of known lengths that overlap by `overlap` samples, whole or in pieces.

    The end of a clip is faded out while the next is faded in, by sine and cosine: that keeps the loudness of clips
    which have nothing to do with each other. Raises `ValueError` for clips that are shorter than both their fades.
    """

    def __init__(self, lengths: tuple[int, ...], overlap: int) -> None:
        if overlap < 0:
            raise ValueError(f"overlap is {overlap} samples, wanted at least 0")
        if len(lengths) > 1 and min(lengths) < 2 * overlap:
            raise ValueError(f"a clip of {min(lengths)} samples is shorter than two fades of {overlap}")
        self._lengths = lengths
        self._overlap = overlap if len(lengths) > 1 else 0
        at = (np.arange(self._overlap) + 0.5) / max(1, self._overlap)
        rising = np.sin(at * math.pi / 2).astype(np.float32)
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


def joined(samples: int, pieces: int, overlap: int) -> int:
    """How many samples `pieces` of `samples` each are when they are joined."""
    return pieces * samples - max(0, pieces - 1) * overlap
