"""A small additive synthesiser: notes as sums of partials that die away, the same bytes on every machine.

A note of MIDI pitch p has the frequency 440 * 2^((p - 69) / 12) Hz; its partials are whole multiples of it. All is made
of whole numbers, a table of sines by their series, and the IEEE-754 basic operations, so no library's sine is asked.

Dimensions: T samples, K partials.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

LOUDEST = 0.8  # of the full scale, the loudest sample of a piece
LONGEST_NOTE = 4.0  # seconds after which any note is silent
ATTACK, RELEASE = 0.004, 0.05  # seconds, straight lines
_TABLE_BITS = 14  # of the table of sines: an error below -80 dB
# 2^(k/12), k = 0..11: the semitones of an octave.
_SEMITONES = (
    1.0, 1.0594630943592953, 1.122462048309373, 1.189207115002721, 1.2599210498948732, 1.3348398541700344,
    1.4142135623730951, 1.4983070768766815, 1.5874010519681994, 1.681792830507429, 1.7817974362806785,
    1.8877486253633868,
)  # fmt: skip
Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Timbre:
    """How the partials of a note sound."""

    partials: tuple[float, ...]
    """strength of each, from the fundamental upwards"""
    decay: float
    """by how much of itself the fundamental dies away in a hundredth of a second"""
    brightness: float
    """by how much more each further partial does"""


PLUCKED = Timbre((1.0, 0.5, 0.3, 0.18, 0.1, 0.06), decay=0.016, brightness=0.010)
SOFT = Timbre((1.0, 0.35, 0.12, 0.06), decay=0.012, brightness=0.006)
DEEP = Timbre((1.0, 0.6, 0.35, 0.2, 0.1), decay=0.035, brightness=0.012)


@dataclasses.dataclass(frozen=True)
class Note:
    """A note of a piece."""

    start: float
    """seconds"""
    seconds: float
    pitch: int
    """MIDI: 60 is the middle C, 69 has 440 Hz"""
    strength: float
    """from 0 to 1"""
    timbre: Timbre = PLUCKED


def frequency(pitch: int) -> float:
    """Hz of a MIDI pitch, in equal temperament."""
    octave, semitone = divmod(pitch - 69, 12)
    return float(440.0 * _SEMITONES[semitone] * 2.0**octave)


def render(notes: Iterable[Note], samples: int, rate: int) -> NDArray[np.int16]:
    """A piece (T,) of `samples` at `rate` Hz; its loudest sample has `LOUDEST`. Without notes it is silent."""
    wave = np.zeros(samples)
    release = max(1, int(RELEASE * rate))
    fade = np.arange(release, 0, -1) / (release + 1)
    for note in notes:
        begin = int(note.start * rate)
        if begin >= samples:
            continue
        held = int(note.seconds * rate)
        sound = _sound(note.pitch, note.timbre, rate)[: held + release] * note.strength
        tail = sound[held:]
        tail *= fade[: len(tail)]
        sound = sound[: samples - begin]
        wave[begin : begin + len(sound)] += sound
    loudest = float(np.abs(wave).max(initial=0.0))
    return np.rint(wave * (LOUDEST * 32767.0 / loudest if loudest else 0.0)).astype(np.int16)


@functools.lru_cache(maxsize=512)
def _sound(pitch: int, timbre: Timbre, rate: int) -> Array:
    """A note of strength 1 that is never released; partials above half the rate are left out."""
    count = int(LONGEST_NOTE * rate)
    at = np.arange(count, dtype=np.uint64)
    wave = np.zeros(count)
    for number, strength in enumerate(timbre.partials, 1):
        turns = frequency(pitch) * number / rate
        if turns >= 0.5:
            break
        steps = np.uint64(round(turns * 2.0**32))
        table = ((at * steps) & np.uint64(0xFFFFFFFF)) >> np.uint64(32 - _TABLE_BITS)
        wave += strength * _sines()[table.astype(np.int64)] * _fading(timbre, number, rate, count)
    attack = max(1, int(ATTACK * rate))
    wave[:attack] *= np.arange(attack) / attack
    return wave


def _fading(timbre: Timbre, number: int, rate: int, count: int) -> Array:
    """The strength of a partial over time: a straight line from each hundredth of a second to the next."""
    every = rate // 100
    each = 1.0 - timbre.decay - timbre.brightness * (number - 1)
    knots = np.multiply.accumulate(np.full(count // every + 2, each)) / each
    whole, part = np.divmod(np.arange(count), every)
    share = part / every
    return np.asarray(knots[whole] * (1.0 - share) + knots[whole + 1] * share)


@functools.cache
def _sines() -> Array:
    """The sine of a turn in 2^`_TABLE_BITS` parts, by its Taylor series on a quarter turn."""
    quarter = 1 << (_TABLE_BITS - 2)
    x = np.arange(quarter + 1) * (1.5707963267948966 / quarter)
    term, total = x.copy(), x.copy()
    for k in range(2, 24, 2):
        term = term * x * x / -(k * (k + 1))
        total = total + term
    rising, falling = total[:-1], total[:0:-1]
    return np.concatenate([rising, falling, -rising, -falling])
