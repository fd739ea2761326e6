"""Training data as one plain value: a named array of images with where it came from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images of one size, and their provenance: what a checkpoint records about its data."""

    name: str
    images: NDArray[np.uint8]  # (N, S, S, 3), RGB
    sha256: str  # of the pixels
    licence: str
    source: str
    skipped: tuple[str, ...] = ()  # names of files that could not be read, with the reason


class DataError(ValueError):
    """Data that cannot be trained on; the message names what was found and what was wanted."""


def open_images(data: str, size: int, count: int, at_least: int) -> ImageSet:
    """The drawn world for `data == "faces"`, else the images of a directory or .zip file at `size` pixels.

    `count` is how many faces to draw (ignored for files); fewer than `at_least` images raise `DataError`.
    """
    from training.data import faces, folder

    if data == faces.NAME:
        if count < at_least:
            raise DataError(f"{count} drawn faces are fewer than one batch of {at_least}: raise --world-size")
        return faces.image_set(size, count)
    return folder.image_set(Path(data), size, at_least)
