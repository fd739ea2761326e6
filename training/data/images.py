"""Images to learn from: the drawn world, or the images of a directory or .zip file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from training.data import DataError, ImageSet, documents, faces, folder


def open_images(data: str, size: int, count: int, at_least: int, cache: Path | None = None) -> ImageSet:
    """The drawn world for `data == "faces"`, else the images of directories or .zip files, at `size` pixels.

    `count` is how many faces to draw (ignored for files); fewer than `at_least` images raise `DataError`. In the folder
    `cache` a decoded copy of files is kept.
    """
    if data == faces.NAME:
        if count < at_least:
            raise DataError(f"{count} drawn faces are fewer than one batch of {at_least}: raise --world-size")
        return dataclasses.replace(faces.image_set(size, count), notes=documents.hidden_by(data))
    return folder.image_set(documents.paths(data) or [Path(data)], size, at_least, cache)
