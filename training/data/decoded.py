"""Pictures that are decoded once: `images.u8` and `images.json` in the folder of a run.

A set that would take more than `SHARE` of the memory that is free stays in that file and is mapped; a run that goes on
reads it in place of the pictures, if they are the same files. It may be deleted at any time between two runs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import files, memory
from training.progress import say

FORMAT = "atelier-images/1"
SHARE = 0.5  # of the memory that is free, which a set may take
_CHUNK = 64_000_000  # bytes that are hashed at once

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Pictures of one size, with what was found out when they were decoded."""

    pixels: Pixels
    """(N, S, S, 3)"""
    sha256: str
    """of the pixels"""
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


class Store:
    """The decoded pictures of a list of files in `folder`; None keeps nothing."""

    def __init__(self, folder: Path | None, listed: Sequence[object], size: int) -> None:
        self._folder = folder
        self._key = hashlib.sha256(json.dumps([FORMAT, size, *listed]).encode()).hexdigest()
        self._shape = (len(listed), size, size, 3)
        free = memory.available()
        self.needed = int(np.prod(self._shape))
        self.mapped = folder is not None and free is not None and self.needed > SHARE * free
        self.about = f"{memory.shown(self.needed)} of memory"
        if self.mapped:
            left = f"over half of the {memory.shown(free or 0)} that are free"
            self.about = f"{memory.shown(self.needed)}, {left}: mapped from {self._file}"

    @property
    def _file(self) -> Path:
        return (self._folder or Path()) / "images.u8"

    def read(self) -> Decoded | None:
        """What an earlier run has decoded of the same files, if it is there and whole."""
        if self._folder is None:
            return None
        try:
            told = json.loads(self._file.with_suffix(".json").read_bytes())
            if told["key"] != self._key:
                return None
            shape = (int(told["count"]), *self._shape[1:])
            pixels = self._open(shape)
            found = Decoded(pixels, told["sha256"], tuple(told["skipped"]), tuple(told["notes"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if _digest(pixels) != found.sha256:
            return None
        say(f"read as an earlier run has decoded them: {self._file}")
        return found

    def write(self, rows: Iterable[Pixels]) -> tuple[Pixels, str]:
        """The rows as one array, and its digest. Raises `OSError` if they are to be mapped and the disk is full."""
        digest = hashlib.sha256()
        if not self.mapped:
            pixels = np.empty(self._shape, np.uint8)
            count = 0
            for count, row in enumerate(rows, 1):
                pixels[count - 1] = row
                digest.update(pixels[count - 1].data)
            return pixels[:count], digest.hexdigest()
        count = 0

        def pieces() -> Iterator[memoryview]:
            nonlocal count
            for row in rows:
                count += 1
                data = np.ascontiguousarray(row).data
                digest.update(data)
                yield data

        files.write_all(self._file, pieces())
        return self._open((count, *self._shape[1:])), digest.hexdigest()

    def keep(self, decoded: Decoded) -> None:
        """Leave it for a run that goes on; without room for that there is no copy."""
        if self._folder is None:
            return
        told = {"key": self._key, "count": len(decoded.pixels), "sha256": decoded.sha256}
        told |= {"skipped": decoded.skipped, "notes": decoded.notes}
        try:
            if not self.mapped:
                files.write(self._file, decoded.pixels.data)
            files.write(self._file.with_suffix(".json"), json.dumps(told).encode())
        except OSError as error:
            say(f"no copy of the decoded images is kept: {error.strerror or error}")
            if not self.mapped:
                self._file.unlink(missing_ok=True)

    def _open(self, shape: tuple[int, ...]) -> Pixels:
        if self._file.stat().st_size != np.prod(shape):
            raise ValueError(f"{self._file} is cut off")
        if not self.mapped or not shape[0]:  # an empty file cannot be mapped
            return np.fromfile(self._file, np.uint8).reshape(shape)
        # "c": torch wants an array that may be written to; what is written would stay in memory.
        return np.asarray(np.memmap(self._file, np.uint8, "c", shape=shape))


def _digest(pixels: Pixels) -> str:
    digest = hashlib.sha256()
    step = max(1, _CHUNK // max(1, pixels[:1].nbytes))
    for at in range(0, len(pixels), step):
        digest.update(pixels[at : at + step].data)
    return digest.hexdigest()
