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
    def tonics(self) -> tuple[int, ...]:
        """Of each class: semitones from C to its tonic, from -5 to 6; all 0 where classes are no keys."""
        if not set(self.classes) <= set(key_names(minor=True)):
            return (0,) * len(self.classes)
        return tuple((TONICS.index(name.removesuffix("m")) + 5) % 12 - 5 for name in self.classes)

    @property
    def tempo_range(self) -> tuple[int, int]:
        """The slowest and the fastest tempo of the pieces that are learned from, in whole beats a minute."""
        learned = self.tempos[self.learned]
        return int(np.floor(learned.min())), int(np.ceil(learned.max()))
