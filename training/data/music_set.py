"""Pieces of music: sounds whose key and tempo are known."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from training.data import SoundSet

TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def key_names(minor: bool) -> tuple[str, ...]:
    """The twelve keys in major, from C upwards; then, with `minor`, the twelve in minor: "Am" is A minor."""
    return TONICS + tuple(f"{tonic}m" for tonic in TONICS) if minor else TONICS


@dataclasses.dataclass(frozen=True, kw_only=True)
class MusicSet(SoundSet):
    """Pieces, whose labels are their keys. All begin on the first beat of a bar."""

    tempos: NDArray[np.float64]
    """(N,) beats a minute"""

    @property
    def tempo_range(self) -> tuple[int, int]:
        """The slowest and the fastest tempo of the pieces that are learned from, in whole beats a minute."""
        learned = self.tempos[self.learned]
        return int(np.floor(learned.min())), int(np.ceil(learned.max()))
