"""Real images from a directory or a .zip file: any size and mode in, one square RGB array out.

Files that cannot be read are skipped and named; nothing is ever extracted to disk.
"""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from training.data import DataError, ImageSet

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_PIXELS = 64_000_000  # a larger picture is skipped before it is decoded
MAX_FILE_BYTES = 200_000_000


def image_set(path: Path, size: int, at_least: int) -> ImageSet:
    """All images below `path` (directory or .zip) as (N, size, size, 3), in the order of their names.

    Raises `DataError` when the path is neither, holds no images, or fewer than `at_least` can be read.
    """
    files = list(_files(path))
    if not files:
        raise DataError(f"{path} holds no images (looked for {', '.join(EXTENSIONS)}, in subfolders too)")
    images: list[NDArray[np.uint8]] = []
    skipped: list[str] = []
    for name, read in tqdm(files, desc="reading images", unit="img", leave=False, disable=None):
        try:
            images.append(square(read(), size))
        except Exception as error:  # decoders and zip members fail in many ways; the name is what helps
            skipped.append(f"{name}: {error or type(error).__name__}")
    if len(images) < at_least:
        detail = f"; {len(skipped)} could not be read, such as {skipped[0]}" if skipped else ""
        raise DataError(
            f"{path} holds {len(images)} readable images, wanted at least {at_least} (one batch){detail}: "
            "add images or lower --batch-size"
        )
    pixels = np.stack(images)
    return ImageSet(
        name=f"{path.name}-{size}px-{len(images)}",
        images=pixels,
        sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        licence="unknown (user data)",
        source=path.name,
        skipped=tuple(skipped),
    )


def square(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decode one picture and cut its central square to (size, size, 3) RGB; transparency becomes white."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} pixels is over the limit of {MAX_PIXELS}")
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
                upright = _to_8_bit(upright)
            if "A" in upright.getbands() or "transparency" in upright.info:
                rgba = upright.convert("RGBA")
                upright = Image.new("RGBA", rgba.size, "white")
                upright.alpha_composite(rgba)
            return np.asarray(ImageOps.fit(upright.convert("RGB"), (size, size), Image.Resampling.LANCZOS))


def _to_8_bit(picture: Image.Image) -> Image.Image:
    # Pillow clips 16-bit and float modes on conversion; scale by the range of the type, or of the values, instead.
    values = np.asarray(picture, np.float64)
    top = 65535.0 if values.max(initial=0) > 255 else 255.0 if values.max(initial=0) > 1 else 1.0
    return Image.fromarray(np.asarray(np.clip(values / top, 0, 1) * 255, np.uint8))


def _files(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in EXTENSIONS and file.is_file():
                yield str(file.relative_to(path)), functools.partial(_read, file.stat().st_size, file.read_bytes)
    elif path.is_file() and zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)  # stays open: reopening it for every member would be quadratic
        for member in sorted(archive.infolist(), key=lambda m: m.filename):
            if not member.is_dir() and Path(member.filename).suffix.lower() in EXTENSIONS:
                yield (
                    member.filename,
                    functools.partial(_read, member.file_size, functools.partial(archive.read, member)),
                )
    else:
        found = "does not exist" if not path.exists() else "is neither a directory nor a .zip file"
        raise DataError(f"--data {path} {found}; give a directory or .zip of images, or 'faces' for the drawn faces")


def _read(length: int, read: Callable[[], bytes]) -> bytes:
    if length > MAX_FILE_BYTES:
        raise ValueError(f"{length} bytes is over the limit of {MAX_FILE_BYTES}")
    return read()
