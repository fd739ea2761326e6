"""A voice: source and filter, many clips side by side.

Vocal folds (the pulse of Klatt and Klatt 1990, "Analysis, synthesis, and perception of voice quality variations", eq.
2, with breath) go through five resonators one behind the other, hiss through a band-pass beside them (Klatt 1980,
"Software for a cascade/parallel formant synthesizer"). Every resonator reads what the one before it gave a sample ago,
so that one array operation moves all of them on: the whole chain is late by four samples, and nothing else differs.

All arithmetic is in float64, in an order that is written here; cosines and exponentials, in whose last bit machines
differ, are rounded. So the same numbers go in and the same 16 bits come out on every machine.

Dimensions: N clips, K frames, T samples.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FRAME = 0.0025  # seconds for which the resonators stand still, to a whole number of samples
FORMANTS = 5
OPEN = 0.6  # the part of a period in which the vocal folds are open
_BANDWIDTHS = (70.0, 100.0, 150.0, 220.0, 280.0)  # Hz
_UPPER = (3400.0, 4100.0)  # Hz: the fourth and fifth formant hardly move
_HIGHEST = 0.45  # of the rate: no resonator lies above it
_ROUNDED = 2.0**20


@dataclasses.dataclass(frozen=True)
class Tracks:
    """What the voice does in time: arrays (K, N), formants (3, K, N)."""

    formants: Array
    """Hz"""
    pitch: Array
    """Hz"""
    voice: Array
    breath: Array
    hiss: Array
    centre: Array
    """of the hiss, Hz"""
    width: Array
    damping: Array
    tract: Array
    """(N,): what the formants of a middle vocal tract are multiplied by"""


def frame_of(rate: int) -> int:
    """The samples of a frame at `rate` Hz."""
    return max(1, round(FRAME * rate))


def speak(tracks: Tracks, noise: Array, rate: int) -> Array:
    """Clips (T, N), of any level, from noise (T, N) in [-1, 1]."""
    per_frame = frame_of(rate)
    voice, breath, hiss = (_every_sample(track, per_frame) for track in (tracks.voice, tracks.breath, tracks.hiss))
    folds = _folds(_every_sample(tracks.pitch, per_frame), rate)
    source = folds * voice + noise * (breath + 0.02 * voice)
    beside = noise * hiss
    beside[2:] -= beside[:-2].copy()  # zeros at 0 Hz and at half the rate: with the resonator a band-pass
    return _filtered(source, beside, _coefficients(tracks, rate), per_frame)


def _every_sample(track: Array, per_frame: int) -> Array:
    """A track (K, N) as samples (K * per_frame, N): straight lines from frame to frame."""
    after = np.concatenate([track[1:], track[-1:]])
    part = (np.arange(per_frame) / per_frame)[None, :, None]
    lines = track[:, None, :] + part * (after - track)[:, None, :]
    return np.asarray(lines.reshape(-1, track.shape[1]))


def _folds(pitch: Array, rate: int) -> Array:
    """The change of the air flow (T, N), about 1 at its strongest: what the difference of the flow is leaves little
    that folds back from above half the rate."""
    phase = np.cumsum(pitch / rate, axis=0) % 1.0 / OPEN
    flow = np.where(phase < 1.0, phase * phase * (1.0 - phase), 0.0)
    change = np.zeros_like(flow)
    change[1:] = flow[1:] - flow[:-1]
    return np.asarray(change * (OPEN * rate / pitch))


def _rounded(values: Array) -> Array:
    return np.asarray(np.rint(values * _ROUNDED) / _ROUNDED)


def _coefficients(tracks: Tracks, rate: int) -> tuple[Array, Array, Array]:
    """a, b and c of y[t] = a x[t] + b y[t - 1] + c y[t - 2], each (K, FORMANTS + 1, N); the last row is the hiss."""
    frames, clips = tracks.pitch.shape
    frequency = np.empty((frames, FORMANTS + 1, clips))
    width = np.empty_like(frequency)
    for row in range(FORMANTS):
        middle: Any = tracks.formants[row] if row < len(tracks.formants) else _UPPER[row - len(tracks.formants)]
        frequency[:, row] = middle * tracks.tract
        width[:, row] = _BANDWIDTHS[row] * tracks.damping
    frequency[:, -1], width[:, -1] = tracks.centre * tracks.tract, tracks.width
    frequency = np.minimum(frequency, _HIGHEST * rate)
    radius = _rounded(np.exp(-np.pi / rate * width))
    b = 2.0 * radius * _rounded(np.cos(2.0 * np.pi / rate * frequency))
    c = -radius * radius
    a = 1.0 - b - c  # one at 0 Hz
    a[:, -1] = (1.0 + c[:, -1]) / 2.0  # one at the centre of the band
    return a, b, c


def _filtered(source: Array, beside: Array, coefficients: tuple[Array, Array, Array], per_frame: int) -> Array:
    a, b, c = coefficients
    out = np.empty_like(source)
    read, part = (np.zeros((FORMANTS + 1, source.shape[1])) for _ in range(2))
    now, last, before = (np.zeros_like(read) for _ in range(3))
    for t in range(len(source)):
        frame = t // per_frame
        read[0], read[1:-1], read[-1] = source[t], last[: FORMANTS - 1], beside[t]
        np.multiply(a[frame], read, out=now)
        np.multiply(b[frame], last, out=part)
        now += part
        np.multiply(c[frame], before, out=part)
        now += part
        np.add(now[-2], now[-1], out=out[t])
        now, last, before = before, now, last
    return out
