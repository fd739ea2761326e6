"""Training data as plain values: sets of images, sounds, texts or pairs, each with where it came from.

`images`, `sounds`, `texts` and `pairs` open them: a written, drawn or spoken world by its name, else files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SHOWN = 5  # entries that a line for a person quotes
FULL_SCALE = 32768.0  # what a sample of 16 bits is divided by


class DataError(ValueError):
    """Data that cannot be trained on; the message names what was found and what was wanted."""


class Unusable(ValueError):
    """A line, row or record that cannot be used; the message is the reason."""

    def __init__(self, reason: str, rows: int = 1) -> None:
        super().__init__(reason)
        self.rows = rows
        """that are lost with it"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSet:
    """The common part of all sets of training data: name, digest and provenance."""

    name: str
    """with the version of a world and the size of the set"""
    sha256: str
    """of everything that is learned from or measured on, in its order"""
    licence: str
    """the terms under which it may be used"""
    source: str
    """where it came from"""
    skipped: tuple[str, ...] = ()
    """files or lines that could not be used, each with the reason"""
    lost: int = 0
    """how many files or rows were lost with them"""
    notes: tuple[str, ...] = ()
    """what else is to be said of the files, a line each"""

    def told(self) -> Iterator[str]:
        """Lines for a person about what is not in it, and what may not be expected of it."""
        yield from self.notes
        if self.skipped:
            more = f"; and {len(self.skipped) - SHOWN:,} more" if len(self.skipped) > SHOWN else ""
            yield f"skipped {self.lost:,}: {'; '.join(self.skipped[:SHOWN])}{more}"

    def provenance(self) -> dict[str, str]:
        """The part of it that a checkpoint records."""
        return {"name": self.name, "sha256": self.sha256, "licence": self.licence, "source": self.source}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSet(DataSet):
    """Images of one size."""

    images: NDArray[np.uint8]
    """(N, S, S, 3), RGB"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundSet(DataSet):
    """Clips of sound of one rate with one channel, one after the other in one array."""

    rate: int
    """samples of a second"""
    samples: NDArray[np.int16]
    """of all clips; mapped from a file when it is large"""
    starts: NDArray[np.int64]
    """(N + 1,): clip i is samples[starts[i] : starts[i + 1]]"""
    labels: NDArray[np.int64]
    """(N,), indexes into `classes`"""
    classes: tuple[str, ...]
    """at least one, in their order"""
    held_out: NDArray[np.int64]
    """indexes of the clips that are measured on, rising; the others are learned from"""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def learned(self) -> NDArray[np.int64]:
        """Indexes of the clips that are learned from, rising."""
        return np.setdiff1d(np.arange(len(self)), self.held_out)

    def clip(self, index: int) -> NDArray[np.int16]:
        """One clip as it is (T,)."""
        return self.samples[self.starts[index] : self.starts[index + 1]]

    def waves(self, indexes: NDArray[np.int64], length: int) -> NDArray[np.float32]:
        """Clips as (B, length) in [-1, 1], from their beginning: cut to `length`, or followed by silence."""
        waves = np.zeros((len(indexes), length), np.float32)
        for row, index in zip(waves, indexes, strict=True):
            clip = self.clip(int(index))[:length]
            row[: len(clip)] = clip.astype(np.float32) / FULL_SCALE
        return waves


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSet(DataSet):
    """Texts to learn from, and texts to measure on."""

    texts: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A source that is read, and the target that is to be written for it."""

    source: tuple[str, ...]
    """a document, or the turns of a conversation: the oldest first, the last one is answered"""
    target: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSet(DataSet):
    """Pairs to learn from, and pairs to measure on."""

    pairs: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


@dataclasses.dataclass(frozen=True)
class Fields:
    """The names of the two fields of a JSON object, or of the two columns of a table, that hold a pair."""

    source: str
    target: str
