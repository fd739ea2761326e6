"""Sounds to learn from: the spoken world, or the sounds of directories or .zip files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from training.data import DataError, SoundSet, digits, documents, sound_folder
from training.data.sound_source import SoundSource


def open_sounds(source: SoundSource, rate: int, longest: int, at_least: int, cache: Path | None = None) -> SoundSet:
    """The spoken world for `source.data == "digits"`, else the sounds of directories or .zip files.

    `rate` is in Hz, `longest` the most samples of a clip. Fewer than `at_least` clips to learn from raise `DataError`.
    In the folder `cache` a decoded copy of files is kept.
    """
    if source.data == digits.NAME:
        if source.world_size < at_least:
            size = source.world_size
            raise DataError(f"{size} spoken digits are fewer than one batch of {at_least}: raise --world-size")
        found = digits.sound_set(rate, longest, source.world_size, source.voices)
        return dataclasses.replace(found, notes=documents.hidden_by(source.data))
    paths = documents.paths(source.data) or [Path(source.data)]
    return sound_folder.sound_set(paths, source, rate, longest, at_least, cache)
