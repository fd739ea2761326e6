"""Music to learn from: the composed world, or the MIDI files or sounds of directories or .zip files."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from training.data import DataError, documents, melodies, midi_files
from training.data.music_set import MusicSet
from training.data.sound_source import SoundSource
from training.data.sounds import open_sounds

BAR = 4  # beats


def open_music(
    data: str,
    rate: int,
    seconds: float,
    count: int,
    at_least: int,
    transpose: bool = True,
    retime: bool = True,
    cache: Path | None = None,
) -> MusicSet:
    """The world of `count` pieces for `data == "melodies"`, else files: those of MIDI where there are any, or sounds.

    All pieces have `seconds`. Fewer than `at_least` to learn from raise `DataError`. Of sounds nobody knows key and
    tempo: their classes stand for keys, and each counts as one bar.
    """
    if data == melodies.NAME:
        if count < at_least:
            raise DataError(f"{count} melodies are fewer than one batch of {at_least}: raise --world-size")
        found = melodies.music_set(rate, seconds, count)
        return dataclasses.replace(found, notes=documents.hidden_by(data))
    paths = documents.paths(data) or [Path(data)]
    if midi_files.holds_midi(paths):
        return midi_files.music_set(paths, rate, seconds, at_least, transpose, retime)
    return _of_sounds(data, rate, seconds, at_least, cache)


def _of_sounds(data: str, rate: int, seconds: float, at_least: int, cache: Path | None) -> MusicSet:
    length = round(seconds * rate)
    sounds = open_sounds(SoundSource(data=data), rate, length, at_least, cache)
    samples = np.zeros((len(sounds), length), np.int16)
    for row, index in zip(samples, range(len(sounds)), strict=True):
        clip = sounds.clip(index)[:length]
        row[: len(clip)] = clip
    fields = {field.name: getattr(sounds, field.name) for field in dataclasses.fields(sounds)}
    told = f"the tempo of sounds is not known: each counts as a bar of {BAR} beats, {60 * BAR / seconds:g} a minute"
    fields |= {
        "samples": samples.ravel(),
        "starts": np.arange(len(sounds) + 1) * length,
        "sha256": hashlib.sha256(samples.data).hexdigest(),
        "notes": (*sounds.notes, told),
    }
    return MusicSet(**fields, tempos=np.full(len(sounds), 60.0 * BAR / seconds))
