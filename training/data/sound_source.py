"""Where sounds come from and how they are prepared: the fields that the configs of all recipes of sound share."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from training import checks
from training.checks import refuse

WORLD = "digits"  # the spoken world, see `digits`


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundSource:
    """Part of a recipe's config; its fields are options by their own names. Raises `ConfigError`."""

    data: str = WORLD
    """`digits` for the spoken world, or directories or .zip files of sounds, divided by commas"""
    world_size: int = 2_000
    """how many clips the spoken world has to learn from"""
    voices: int = 0
    """how many voices speak in the spoken world, each always in the same way; 0: every clip has a voice of its own"""
    trim: bool = True
    """leave out silence at the beginning and the end of a sound"""
    level: Literal["peak", "loudness", "as-is"] = "peak"
    """peak: the loudest sample at 0.9; loudness: -23 LUFS (ITU-R BS.1770); as-is: unchanged"""
    long: Literal["cut", "first"] = "cut"
    """what becomes of a sound that is longer than a clip: cut into clips, or the first clip alone"""
    label_pattern: str | None = None
    """a pattern whose first group in a file's name is its label: '(\\d)_.*'; None: the name of its folder"""
    labels: str | None = None
    """a CSV file with the columns `file` and that of the labels: a path, or its name inside the data"""
    label_column: str = "label"
    """the column of --labels that holds the labels"""

    def __post_init__(self) -> None:
        checks.at_least(self, world_size=1, voices=0)
        checks.one_of(self, "level", ("peak", "loudness", "as-is"))
        checks.one_of(self, "long", ("cut", "first"))
        if self.label_pattern is not None:
            if self.labels is not None:
                raise refuse("labels", self.labels, "left out: labels come from --label-pattern already")
            try:
                groups = re.compile(self.label_pattern).groups
            except re.error as error:
                raise refuse("label_pattern", repr(self.label_pattern), f"a pattern of Python ({error})") from None
            if not groups:
                raise refuse("label_pattern", repr(self.label_pattern), r"one with a group, such as '(\d)_.*'")
