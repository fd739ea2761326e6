"""Images to learn from: the drawn world, or the images of a directory or .zip file."""

from __future__ import annotations

from pathlib import Path

from training.data import DataError, ImageSet, faces, folder


def open_images(data: str, size: int, count: int, at_least: int) -> ImageSet:
    """The drawn world for `data == "faces"`, else the images of a directory or .zip file, at `size` pixels.

    `count` is how many faces to draw (ignored for files); fewer than `at_least` images raise `DataError`.
    """
    if data == faces.NAME:
        if count < at_least:
            raise DataError(f"{count} drawn faces are fewer than one batch of {at_least}: raise --world-size")
        return faces.image_set(size, count)
    return folder.image_set(Path(data), size, at_least)
