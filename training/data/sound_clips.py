"""A block of sound as clips: silence left out, brought to one level, cut to length, in 16 bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.data import Unusable
from training.data.loudness import loudness
from training.data.sound_source import SoundSource

SILENT = 1e-4  # of full scale (-80 dB): what is never louder is silence
QUIET = 0.01  # of the loudest frame (-40 dB): what is softer at the edges is left out
SHORTEST = 0.05  # seconds of a clip
PEAK, HIGHEST = 0.9, 0.99  # of full scale
LUFS = -23.0
_FRAME = 0.01  # seconds
_MARGIN = 2  # frames that are kept before and behind what is loud

Clip = NDArray[np.int16]


def clips(wave: NDArray[np.float32], rate: int, longest: int, source: SoundSource) -> Iterator[Clip]:
    """Clips (T,) of a block (T,), each of at most `longest` samples; none if the block is silent or too short.

    Raises `Unusable` for a wave that is louder than full scale if its level is to stay as it is.
    """
    if not len(wave) or np.abs(wave - wave.mean()).max() < SILENT:
        return
    least = min(round(SHORTEST * rate), longest)
    parts = [wave]
    if source.trim:
        begin, end = loud_part(wave, rate)
        parts = [wave[begin:end]]
    levelled = parts[0] * _gain(parts[0], rate, source.level)
    for at in range(0, len(levelled), longest):
        piece = levelled[at : at + longest]
        if len(piece) >= least and np.abs(piece - piece.mean()).max() >= SILENT:
            yield np.rint(np.clip(piece, -1.0, 1.0) * 32767.0).astype(np.int16)
        if source.long == "first":
            return


def loud_part(wave: NDArray[np.float32], rate: int) -> tuple[int, int]:
    """The first sample, and that behind the last one, between which a wave is louder than `QUIET`."""
    length = max(1, round(_FRAME * rate))
    padded = np.pad(wave, (0, -len(wave) % length)).reshape(-1, length).astype(np.float64)
    levels = np.sqrt((padded**2).mean(axis=1))
    loud = np.flatnonzero(levels >= QUIET * levels.max())
    return max(0, (int(loud[0]) - _MARGIN) * length), min(len(wave), (int(loud[-1]) + 1 + _MARGIN) * length)


def _gain(wave: NDArray[np.float32], rate: int, level: str) -> float:
    peak = float(np.abs(wave).max())
    if level == "peak":
        return PEAK / peak
    if level == "loudness":
        wanted: float = 10.0 ** ((LUFS - loudness(wave, rate)) / 20.0)
        return min(wanted, HIGHEST / peak)
    if peak > 1.0 + 1e-3:
        raise Unusable(f"its peak is {peak:.3g} of full scale: choose --level peak, or save it more softly")
    return 1.0
