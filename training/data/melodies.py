"""The melodies: a deterministic world of short pieces, each with its key, its tempo and its notes.

Piece `i` of a seed is always the same one: what is played comes from a counter-based generator keyed by (seed, i), and
the sound from the synthesiser. All are in 4/4 and in major. A phrase has eight beats and four chords of two beats each;
under a chord a bass strikes every beat, above it a melody goes in beats and half beats, mostly by steps: on the beat a
note of the chord, between beats any note of the scale.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from training.data.held_out import HELD_OUT
from training.data.music_set import MusicSet, key_names
from training.data.synthesizer import DEEP, PLUCKED, SOFT, Note, render
from training.draws import Draws

NAME = "melodies"
VERSION = 1  # raise it when a sound changes: it is part of the recorded data name
SLOWEST, FASTEST = 80, 150  # beats a minute: less than a factor of two, so that no tempo is the double of another
SCALE = (0, 2, 4, 5, 7, 9, 11)  # major, in semitones above the tonic
PHRASES = ("I IV V I", "I vi IV V", "I V vi IV", "vi IV I V", "I ii V I", "IV V I vi")
CHORD_BEATS, PHRASE_BEATS = 2, 8
_DEGREES = {"I": 0, "ii": 1, "IV": 3, "V": 4, "vi": 5}
_LOWEST, _HIGHEST = 64, 84  # pitches of the melody
_HALVED = 0.4  # of the beats have two notes of the melody
_MEASURED_ON = 1  # the seed of the pieces that are held out


@dataclasses.dataclass(frozen=True)
class Piece:
    """What a piece is: what a classifier could be trained to hear, and its notes."""

    tonic: int
    """the pitch class, 0 is C"""
    tempo: int
    """beats a minute"""
    chords: tuple[str, ...]
    """one after the other, of `CHORD_BEATS` each"""
    notes: tuple[Note, ...]


def piece(seed: int, index: int, seconds: float) -> Piece:
    """Piece `index` of a seed, cut off after so many seconds."""
    draws = Draws(seed, index)
    tonic, tempo = draws.below(12), SLOWEST + draws.below(FASTEST - SLOWEST + 1)
    beat = 60.0 / tempo
    chords: list[str] = []
    while len(chords) * CHORD_BEATS * beat < seconds:
        chords += draws.pick(PHRASES).split()
    notes: list[Note] = []
    last = 72 + draws.below(5)
    for number, chord in enumerate(chords):
        degree, start = _DEGREES[chord], number * CHORD_BEATS * beat
        tones = {(tonic + SCALE[(degree + step) % 7]) % 12 for step in (0, 2, 4)}
        root = (tonic + SCALE[degree]) % 12
        notes += [Note(start, CHORD_BEATS * beat, _at_or_above(52, tone), 0.28, SOFT) for tone in sorted(tones)]
        for each in range(CHORD_BEATS):
            at = start + each * beat
            notes.append(Note(at, beat * 0.9, _at_or_above(36, root), 0.75 - 0.15 * each, DEEP))
            last = _near(draws, last, tones)
            halved = draws.unit() < _HALVED
            notes.append(Note(at, beat * (0.45 if halved else 0.9), last, 0.55, PLUCKED))
            if halved:
                last = _near(draws, last, {(tonic + step) % 12 for step in SCALE})
                notes.append(Note(at + beat / 2, beat * 0.45, last, 0.45, PLUCKED))
    return Piece(tonic, tempo, tuple(chords), tuple(notes))


def music_set(rate: int, seconds: float, count: int) -> MusicSet:
    """The first `count` pieces of the world to learn from, and `HELD_OUT` of another seed, with their digest."""
    pieces = [piece(0, index, seconds) for index in range(count)]
    pieces += [piece(_MEASURED_ON, index, seconds) for index in range(HELD_OUT)]
    length = round(seconds * rate)
    samples: NDArray[np.int16] = np.concatenate([render(each.notes, length, rate) for each in pieces])
    return MusicSet(
        name=f"melodies-v{VERSION}-{rate}hz-{seconds:g}s-{count}",
        rate=rate,
        samples=samples,
        starts=np.arange(len(pieces) + 1) * length,
        labels=np.array([each.tonic for each in pieces]),
        classes=key_names(minor=False),
        tempos=np.array([float(each.tempo) for each in pieces]),
        held_out=np.arange(count, len(pieces)),
        sha256=hashlib.sha256(samples.data).hexdigest(),
        licence="Apache-2.0",
        source="composed and played by training/data/melodies.py",
    )


def _at_or_above(pitch: int, tone: int) -> int:
    return pitch + (tone - pitch) % 12


def _near(draws: Draws, last: int, tones: set[int]) -> int:
    """A pitch of these pitch classes near the last one: the nearest three are equally likely."""
    there = [pitch for pitch in range(_LOWEST, _HIGHEST + 1) if pitch % 12 in tones]
    return draws.pick(sorted(there, key=lambda pitch: (abs(pitch - last), pitch))[:3])
