"""Windows of a piece of music: what the two graphs are told of each, from seed, tempo and number alone.

So any window can be computed at any time, beside windows of any other piece, and a piece is the same samples however
it is asked for. A window is heard with some frames more on both sides (the context of the decoder, the reach of the
generator), which is how neighbouring windows agree without being faded into one another.

Dimensions: B windows, N frames that the generator reads, Z numbers of noise, P carriers.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
from numpy.typing import NDArray

from handlers.sampling import philox

STREAM = 3  # of the random numbers
PHRASE = 8  # beats
LEVELS = (8.0, 2.0, 1.0, 0.5)  # beats that a random number stays the same
UNITS = 29  # of a phrase: one, four chords, eight beats, sixteen halves
_FADE = 0.005  # seconds at the beginning and the end of a piece, which begins in the middle of music


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a model divides its pieces; the asset `music` of a bundle."""

    hop: int
    """samples of a latent frame"""
    frames: int
    """latent frames of a window"""
    context: int
    """frames on each side that the decoder hears besides"""
    reach: int
    """and the generator besides those"""
    noise: int
    """random numbers of a unit"""
    cycles: tuple[int, ...]
    """of the carriers in `period` samples, whole numbers"""
    period: int
    rate: int
    """Hz"""

    @classmethod
    def read(cls, data: bytes) -> Plan:
        """Of the asset. Raises `ValueError` where a field is missing or unknown."""
        try:
            fields = json.loads(data)
            return cls(**{**fields, "cycles": tuple(fields["cycles"])})
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"the asset 'music' is not what this version reads ({error}): build it again") from None

    def write(self) -> bytes:
        """The asset."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @property
    def samples(self) -> int:
        """Samples of a window."""
        return self.frames * self.hop

    @property
    def heard(self) -> int:
        """Latent frames that the decoder hears of a window."""
        return self.frames + 2 * self.context

    @property
    def read_frames(self) -> int:
        """Frames that the generator reads of a window."""
        return self.heard + 2 * self.reach

    def windows(self, samples: int) -> int:
        """How many windows a piece has."""
        return -(-samples // self.samples)

    def numbers(self, seed: int, tempo: float, samples: int) -> NDArray[np.float32]:
        """The noise of a whole piece (phrases, UNITS, Z): number i of a seed is always the same one."""
        last = self.windows(samples) * self.frames + self.context + self.reach
        phrases = int(last * self._beats(tempo) // PHRASE) + 2
        count = phrases * UNITS * self.noise
        drawn = philox.normals([seed], count, STREAM)[0]
        return np.asarray(drawn.reshape(phrases, UNITS, self.noise))

    def inputs(self, numbers: NDArray[np.float32], tempo: float, window: int) -> tuple[NDArray[np.float32], ...]:
        """Noise (4 Z, N), places in a phrase (N,) and turns of the carriers (P,) of one window, counted from 0.

        The first beat of a piece is that of its second phrase: what is heard before it is another phrase.
        """
        first = window * self.frames - self.context
        at = np.arange(first - self.reach, first - self.reach + self.read_frames) + 0.5
        beats = at * self._beats(tempo) + PHRASE  # float64: the same on every machine
        phrase = np.floor(beats / PHRASE)
        within = beats - PHRASE * phrase
        rows, begin, parts = phrase.astype(np.int64), 0, []
        for level in LEVELS:
            parts.append(numbers[rows, begin + np.floor(within / level).astype(np.int64)])  # (N, Z)
            begin += round(PHRASE / level)
        noise = np.ascontiguousarray(np.concatenate(parts, axis=1).T)
        turns = np.array([first * self.hop * cycles % self.period for cycles in self.cycles], np.float64) / self.period
        return noise, within.astype(np.float32), turns.astype(np.float32)

    def cut(self, wave: NDArray[np.float32], window: int, samples: int) -> NDArray[np.float32]:
        """What a piece of so many samples has of a window (T,): nothing behind its end, and its two ends faded."""
        first = window * self.samples
        at = np.arange(first, min(first + self.samples, samples))
        length = _FADE * self.rate
        gain = np.minimum(1.0, np.minimum(at + 0.5, samples - at - 0.5) / length)
        return np.asarray(wave[: len(at)] * gain.astype(np.float32))

    def _beats(self, tempo: float) -> float:
        """Of a latent frame."""
        return tempo * self.hop / (60.0 * self.rate)
