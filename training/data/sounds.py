"""Sounds to learn from: the spoken world, or the sounds of directories or .zip files."""

from __future__ import annotations

from pathlib import Path

from training.data import SoundSet
from training.data.sound_source import SoundSource


def open_sounds(source: SoundSource, rate: int, longest: int, at_least: int, cache: Path | None = None) -> SoundSet:
    """The spoken world for `source.data == "digits"`, else the sounds of directories or .zip files.

    `rate` is in Hz, `longest` the most samples of a clip. Fewer than `at_least` clips to learn from raise `DataError`.
    In the folder `cache` a decoded copy of files is kept.
    """
    raise NotImplementedError
