"""Sounds that are decoded once: `sounds.i16` and `sounds.json` in the folder of a run.

Clips are written there while files are decoded, so that no more than a block of a file is in memory; a set that would
take more than `decoded.SHARE` of the memory that is free stays there and is mapped. A run that goes on reads it in
place of the files, if they are the same ones. It may be deleted at any time between two runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from training import files, memory
from training.data import DataError
from training.data.decoded import SHARE
from training.progress import say

FORMAT = "atelier-sounds/1"
MOST_SAMPLES = 2_000_000_000  # of a set: 34 hours at 16 kHz, 4 GB
DIGESTED = ("lengths", "classes", "labels", "held_out")  # of what is known of a set
_CHUNK = 32_000_000  # samples that are hashed at once

Samples = NDArray[np.int16]


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What was found out when sounds were decoded."""

    samples: Samples
    told: dict[str, Any]
    """what else is to be known of them, as JSON"""
    sha256: str
    """of both"""


class SpoolError(OSError):
    """There is no room for the clips; the message names the file."""


class Spool:
    """Clips on their way to the disk. A context: what is not finished leaves nothing behind."""

    def __init__(self, path: Path | None) -> None:
        """Clips go to a temporary file beside `path`; without one to a file without a name."""
        self._path = path
        self.count = 0
        """samples so far"""
        self._temporary = None if path is None else path.with_name(f".tmp-{os.getpid()}-{path.name}")
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Spool:
        try:
            if self._temporary is None:
                self._file = tempfile.TemporaryFile()
            else:
                self._temporary.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._temporary.open("w+b")
        except OSError as error:
            raise self._failed(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)

    def write(self, clip: Samples) -> None:
        """One more clip. Raises `DataError` when there are too many of them, `OSError` when the disk is full."""
        self.count += len(clip)
        if self.count > MOST_SAMPLES:
            raise DataError(f"the sounds have over {MOST_SAMPLES:,} samples: give a part of them, or a lower rate")
        try:
            self._open.write(clip.astype("<i2").data)
        except OSError as error:
            raise self._failed(error) from error

    def back(self, count: int) -> None:
        """Forget what was written behind `count` samples."""
        if count < self.count:
            self._open.seek(2 * count)
            self._open.truncate()
            self.count = count

    def finish(self) -> Samples:
        """All clips, in memory or mapped; with a path they are its file from now on."""
        try:
            self._open.flush()
            if self._path is None or self._temporary is None:
                self._open.seek(0)
                return np.frombuffer(self._open.read(), "<i2").astype(np.int16)
            os.fsync(self._open.fileno())
            os.replace(self._temporary, self._path)
        except OSError as error:
            raise self._failed(error) from error
        return opened(self._path, self.count)

    @property
    def _open(self) -> IO[bytes]:
        assert self._file is not None, "a spool is used as a context"
        return self._file

    def _failed(self, error: OSError) -> SpoolError:
        told = files.failed(self._path or Path(tempfile.gettempdir()) / "sounds", error)
        return SpoolError(told.errno, told.strerror)


def opened(path: Path, count: int) -> Samples:
    """The samples of a file, mapped if they are many: it is said before what they take. Raises `ValueError`."""
    if path.stat().st_size != 2 * count:
        raise ValueError(f"{path} is cut off")
    free = memory.available()
    mapped = free is not None and 2 * count > SHARE * free
    over = f": over half of the {memory.shown(free or 0)} that are free, mapped from {path}" if mapped else " of memory"
    say(f"the sounds take {memory.shown(2 * count)}{over}")
    if mapped:
        return np.asarray(np.memmap(path, "<i2", "c", shape=(count,)))  # "c": torch wants an array it may write to
    return np.fromfile(path, "<i2")


class Store:
    """The decoded sounds of a list of files in `folder`; None keeps nothing."""

    def __init__(self, folder: Path | None, key: Sequence[object]) -> None:
        self._key = hashlib.sha256(json.dumps([FORMAT, *key]).encode()).hexdigest()
        self.path = None if folder is None else folder / "sounds.i16"

    def read(self) -> Decoded | None:
        """What an earlier run has decoded of the same files, if it is there and whole."""
        if self.path is None:
            return None
        try:
            kept = json.loads(self.path.with_suffix(".json").read_bytes())
            if kept["key"] != self._key:
                return None
            samples = opened(self.path, int(kept["count"]))
            found = Decoded(samples, dict(kept["told"]), kept["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if digest(samples, found.told) != found.sha256:
            return None
        say(f"read as an earlier run has decoded them: {self.path}")
        return found

    def keep(self, samples: Samples, told: dict[str, Any]) -> Decoded:
        """Leave what is known of the samples, which are in their file already, for a run that goes on."""
        decoded = Decoded(samples, told, digest(samples, told))
        if self.path is not None and len(samples):
            kept = {"key": self._key, "count": len(samples), "told": told, "sha256": decoded.sha256}
            files.write(self.path.with_suffix(".json"), json.dumps(kept).encode())
        return decoded


def digest(samples: Samples, told: dict[str, Any]) -> str:
    """SHA-256 of the samples, and of how they are divided, called and held out."""
    found = hashlib.sha256(json.dumps([told[part] for part in DIGESTED]).encode())
    for at in range(0, len(samples), _CHUNK):
        found.update(np.ascontiguousarray(samples[at : at + _CHUNK]).data)
    return found.hexdigest()
