"""Pieces of sound one after the other, each faded into the next."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Curve = Literal["equal_power", "linear"]


class Crossfade:
    """Joins pieces that overlap by `overlap` samples: the end of one is faded out while the next is faded in.

    `equal_power` (sine and cosine) keeps the loudness of pieces that have nothing to do with each other; `linear` keeps
    the level of pieces that are alike, such as two computations of the same window. The last `overlap` samples are held
    back until it is known what comes after them.
    """

    def __init__(self, overlap: int, curve: Curve = "equal_power") -> None:
        if overlap < 0:
            raise ValueError(f"overlap is {overlap} samples, wanted at least 0")
        self.overlap = overlap
        at = (np.arange(overlap, dtype=np.float64) + 0.5) / max(1, overlap)  # no sample is wholly of one piece
        rising = np.sin(at * math.pi / 2) if curve == "equal_power" else at
        self._in, self._out = rising.astype(np.float32), rising[::-1].astype(np.float32)
        self._held: NDArray[np.float32] | None = None

    def add(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        """The samples that are final now. Raises `ValueError` for a piece that is shorter than both its fades."""
        if len(piece) < 2 * self.overlap:
            raise ValueError(f"a piece of {len(piece)} samples is shorter than two fades of {self.overlap}")
        if not self.overlap:
            return piece
        piece = piece.astype(np.float32)  # a copy, whose beginning changes
        if self._held is not None:
            piece[: self.overlap] = self._held * self._out + piece[: self.overlap] * self._in
        self._held = piece[-self.overlap :]
        return piece[: -self.overlap]

    def end(self) -> NDArray[np.float32]:
        """What was held back: the end of the last piece, as it is."""
        held, self._held = self._held, None
        return np.zeros(0, np.float32) if held is None else held


def joined(samples: int, pieces: int, overlap: int) -> int:
    """How many samples `pieces` of `samples` each are when they are joined."""
    return pieces * samples - max(0, pieces - 1) * overlap
