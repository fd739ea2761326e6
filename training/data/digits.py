"""The spoken digits: a deterministic world of one-word clips, at any rate, each with its digit and its voice.

Clip `i` of a seed is always the same one: what is said, and by which voice, comes from a counter-based generator keyed
by (seed, i), and the noise in it from another one. The sounds are those of English digits (`phones`), spoken by a
formant synthesiser (`voice`).

Dimensions: N clips, K frames, T samples.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from training.data import SoundSet
from training.data.held_out import HELD_OUT
from training.data.phones import DIGITS, PHONES
from training.data.voice import Array, Tracks, frame_of, speak
from training.draws import Draws

NAME = "digits"
VERSION = 1  # raise it when a sound changes: it is part of the recorded data name
CLASSES = tuple(DIGITS)
SOURCE = "spoken by training/data/digits.py"
SHORTEST, LONGEST = 0.36, 0.8  # seconds of a clip
LOUDEST = 0.85  # of the full scale, the loudest sample of a clip
_SOFTEST = 1e-6  # a clip of a few samples may hold no sound yet
_CHUNK = 256  # clips spoken at once: bounds the memory
_MEASURED_ON = 1  # the seed of the clips that are held out
_VOICES = 2  # the seed of the voices where clips share them
_NOISE = 1 << 32  # added to the seed for the noise of a clip
_EDGE = 8  # frames of silence on each side, fewer where a clip has few
_FADES_FROM, _FADES_BY = 0.6, 0.65  # of the word: its end is spoken more softly


@dataclasses.dataclass(frozen=True)
class Digit:
    """What a clip is: what a classifier could be trained to hear, and how it is spoken."""

    digit: int
    pitch: float
    """Hz, in the middle of the word"""
    tract: float
    """what the formants of a middle vocal tract are multiplied by: a short one has high formants"""
    seconds: float
    glide: float
    """the part by which the pitch falls from beginning to end"""
    wave: tuple[float, float]
    """of the pitch: strength as a part of it, and where it begins"""
    breath: float
    shifts: tuple[float, ...]
    """of each sound in the word: the parts by which its three formants are off, one after the other"""
    stretches: tuple[float, ...]
    """of each sound in the word: what its share of the length is multiplied by"""

    @property
    def formants(self) -> NDArray[np.float64]:
        """The aims of the first three formants in Hz (P, 3) of the sounds of the word."""
        aims = np.array([PHONES[name].formants for name, _ in DIGITS[CLASSES[self.digit]]])
        return np.asarray(aims * (1.0 + np.array(self.shifts).reshape(-1, 3)) * self.tract)


def digit(seed: int, index: int, most_seconds: float = LONGEST, voices: int = 0) -> Digit:
    """Clip `index` of a seed; where clips may be no longer than `most_seconds`, all are spoken faster.

    With `voices` all clips are spoken by so many voices, evenly and without breath; 0: each clip has its own.
    """
    if voices:
        return _evenly(Draws(seed, index), index % voices, most_seconds)
    draws = Draws(seed, index)
    which = draws.below(len(CLASSES))
    low = draws.unit() < 0.5  # low voices have long vocal tracts, mostly
    pitch = draws.between(88.0, 150.0) if low else draws.between(155.0, 250.0)
    tract = draws.between(0.93, 1.05) if low else draws.between(1.05, 1.20)
    seconds = draws.between(SHORTEST, LONGEST) * min(1.0, most_seconds / LONGEST)
    word = DIGITS[CLASSES[which]]
    return Digit(
        digit=which,
        pitch=pitch,
        tract=tract,
        seconds=seconds,
        glide=draws.between(0.06, 0.30),
        wave=(draws.between(0.0, 0.03), draws.unit()),
        breath=draws.between(0.0, 0.06),
        shifts=tuple(0.02 * draws.bell() for _ in range(3 * len(word))),
        stretches=tuple(draws.between(0.8, 1.25) for _ in word),
    )


def _evenly(draws: Draws, voice: int, most_seconds: float) -> Digit:
    """A clip by a voice of a small world: its tract and about its pitch are always the same, so is how it speaks."""
    which = draws.below(len(CLASSES))
    its = Draws(_VOICES, voice)
    place = its.unit()  # low voices have long vocal tracts
    word = DIGITS[CLASSES[which]]
    middle = (SHORTEST + LONGEST) / 2.0
    return Digit(
        digit=which,
        pitch=(100.0 + 120.0 * place) * draws.between(0.97, 1.03),
        tract=0.95 + 0.22 * place,
        seconds=middle * draws.between(0.85, 1.15) * min(1.0, most_seconds / LONGEST),
        glide=0.15,
        wave=(0.0, 0.0),
        breath=0.0,
        shifts=(0.0,) * (3 * len(word)),
        stretches=tuple(draws.between(0.9, 1.1) for _ in word),
    )


def render(digits: list[Digit], noises: list[tuple[int, int]], rate: int) -> list[NDArray[np.int16]]:
    """Clips (T,) of `digits`, the noise of each from its key (seed, index)."""
    clips: list[NDArray[np.int16]] = []
    for at in range(0, len(digits), _CHUNK):
        clips += _render_chunk(digits[at : at + _CHUNK], noises[at : at + _CHUNK], rate)
    return clips


def spoken(
    seed: int, indices: range, rate: int, longest: int, voices: int = 0
) -> tuple[list[Digit], list[NDArray[np.int16]]]:
    """The clips `indices` of a seed, of at most `longest` samples at `rate` Hz, and what they are."""
    digits = [digit(seed, index, longest / rate, voices) for index in indices]
    return digits, render(digits, [(seed, index) for index in indices], rate)


def sound_set(rate: int, longest: int, count: int, voices: int = 0) -> SoundSet:
    """The first `count` clips of the world to learn from, and `HELD_OUT` of another seed, with their digest."""
    learned, clips = spoken(0, range(count), rate, longest, voices)
    kept, others = spoken(_MEASURED_ON, range(HELD_OUT), rate, longest, voices)
    samples = np.concatenate([*clips, *others])
    return SoundSet(
        name=f"spoken-digits-v{VERSION}-{rate}hz-{count}{f'-{voices}voices' if voices else ''}",
        rate=rate,
        samples=samples,
        starts=np.concatenate([[0], np.cumsum([len(clip) for clip in (*clips, *others)])]),
        labels=np.array([each.digit for each in (*learned, *kept)]),
        classes=CLASSES,
        held_out=np.arange(count, count + HELD_OUT),
        sha256=hashlib.sha256(samples.data).hexdigest(),
        licence="Apache-2.0",
        source=SOURCE,
    )


def _render_chunk(digits: list[Digit], noises: list[tuple[int, int]], rate: int) -> list[NDArray[np.int16]]:
    per_frame = frame_of(rate)
    lengths = [max(1, int(each.seconds * rate)) for each in digits]
    frames = -(-max(lengths) // per_frame)
    tracks = _tracks(digits, frames, per_frame / rate)
    noise = np.empty((frames * per_frame, len(digits)))
    for row, key in enumerate(noises):
        noise[:, row] = _noise(key, len(noise))
    waves = speak(tracks, noise, rate)
    clips = []
    for row, length in enumerate(lengths):
        wave = waves[:length, row]
        clips.append(np.rint(wave * (LOUDEST * 32767.0 / max(_SOFTEST, np.abs(wave).max()))).astype(np.int16))
    return clips


def _noise(key: tuple[int, int], count: int) -> Array:
    """`count` numbers in [-1, 1), four of each word."""
    words = np.random.Philox(key=[key[0] + _NOISE, key[1]]).random_raw(-(-count // 4))
    return np.asarray(words.astype("<u8").view("<i2")[:count] / 32768.0)


def _tracks(digits: list[Digit], frames: int, frame: float) -> Tracks:
    """The tracks of the voice in frames of `frame` seconds: what each sound aims at, and gentle ways between."""
    aims = np.zeros((9, frames, len(digits)))
    pitch = np.empty((frames, len(digits)))
    for row, each in enumerate(digits):
        _aim(each, aims[:, :, row], frame)
        pitch[:, row] = _pitch(each, frames, frame)
    formants = np.stack([_smooth(aims[track], 12) for track in range(3)])
    voice, breath, hiss = _smooth(aims[3], 6), _smooth(aims[4], 6), _smooth(aims[5], 3)
    return Tracks(
        formants=formants,
        pitch=pitch,
        voice=voice,
        breath=breath + voice * np.array([each.breath for each in digits]),
        hiss=hiss,
        centre=_smooth(aims[6], 3),
        width=_smooth(aims[7], 3),
        damping=_smooth(aims[8], 8),
        tract=np.array([each.tract for each in digits]),
    )


def _aim(each: Digit, aims: Array, frame: float) -> None:
    """Write into aims (9, K) what every frame aims at; behind the word it is silent."""
    word = DIGITS[CLASSES[each.digit]]
    shares = np.cumsum([share * stretch for (_, share), stretch in zip(word, each.stretches, strict=True)])
    length = int(each.seconds / frame)
    edge = min(_EDGE, length // 8)
    count = max(1, length - 2 * edge)
    ends = edge + (shares / shares[-1] * count).astype(int)
    begin = 0
    formants = each.formants / each.tract
    for at, ((name, _), end) in enumerate(zip(word, ends, strict=True)):
        phone = PHONES[name]
        last = aims.shape[1] if at == len(word) - 1 else int(end)
        aims[:3, begin:last] = formants[at][:, None]
        aims[6:, begin:last] = np.array([phone.centre, phone.width, phone.damping])[:, None]
        first = max(begin, edge)
        fading = np.clip((np.arange(first, int(end)) - edge) / count, _FADES_FROM, 1.0) - _FADES_FROM
        strengths = np.array([phone.voice, phone.breath, phone.hiss])
        aims[3:6, first : int(end)] = strengths[:, None] * (1.0 - _FADES_BY * fading / (1.0 - _FADES_FROM))
        begin = last


def _pitch(each: Digit, frames: int, frame: float) -> Array:
    """It falls from beginning to end, and waves once or twice."""
    time = np.arange(frames) * frame / each.seconds
    strength, phase = each.wave
    around = (2.0 * time + phase) % 1.0
    wave = 16.0 * around * (around - 0.5) * (around - 1.0) * (4.0 / 3.0)  # nearly a sine, and exact on every machine
    return np.asarray(each.pitch * (1.0 + each.glide * (0.5 - np.minimum(time, 1.0)) + strength * wave))


def _smooth(track: Array, frames: int) -> Array:
    """The mean of a track (K, N) over a triangle of 2 * `frames` + 1 frames, which is two means over rectangles."""
    for back in (frames // 2, (frames - 1) // 2):
        padded = np.concatenate([np.repeat(track[:1], back + 1, 0), track, np.repeat(track[-1:], frames - back, 0)])
        sums = np.cumsum(padded, axis=0)
        track = (sums[frames : frames + len(track)] - sums[: len(track)]) / frames
    return track
