"""Real images from directories or .zip files: any size and mode in, one square RGB array out.

Files that cannot be read are skipped and named; nothing is ever extracted to disk.
"""

from __future__ import annotations

import dataclasses
import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from training.data import DataError, ImageSet, listing
from training.data.decoded import Decoded, Store
from training.data.listing import Found, counted
from training.progress import Progress, say

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2")
# What a content may be, whatever its name says: others of Pillow start programs (PostScript) or are seldom needed.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000")
MAX_PIXELS = 64_000_000  # a larger picture is skipped before it is decoded
MAX_FILE_BYTES = 200_000_000
_GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B")
_BAND = 4_000_000  # pixels that are scaled at once
_SAVE = "save them as JPEG or PNG"
_REMEDIES = {
    **dict.fromkeys((".heic", ".heif", ".psd", ".svg", ".eps", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".jxl"), _SAVE),
    **dict.fromkeys((".mov", ".mp4", ".avi", ".mkv", ".webm"), "save their frames as pictures"),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".gz", ".tgz"), "unpack them"),
}
# How contents begin that are often found under the name of a picture.
_KNOWN = (
    (b"%!PS", "it is PostScript: save it as PNG"),
    (b"version https://git-lfs", "it is a pointer of Git LFS: fetch the file itself"),
    (b"<", "it is a web page or an SVG: get the picture itself, or save it as PNG"),
)
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


@dataclasses.dataclass
class _Seen:
    """What the pictures of a set have in common, and which could not be read."""

    skipped: list[str] = dataclasses.field(default_factory=list)
    read: int = 0
    grey: int = 0
    small: int = 0
    """pictures that were enlarged"""
    first: NDArray[np.uint8] | None = None
    equal: bool = True

    def add(self, picture: NDArray[np.uint8]) -> None:
        """One more was read."""
        self.read += 1
        self.first = picture if self.first is None else self.first
        self.equal = self.equal and np.array_equal(picture, self.first)

    def notes(self, size: int) -> Iterator[str]:
        """Lines about what a person may not expect."""
        if self.read and self.grey == self.read:
            yield "all images are grey: the network learns, and makes, three equal channels (RGB)"
        if self.small:
            yield f"{counted(self.small, 'image')} under {size}x{size} pixels: enlarged"
        if self.equal and self.read > 1:
            yield f"all {self.read:,} images are equal: there is only one to learn"


def image_set(paths: Sequence[Path], size: int, at_least: int, cache: Path | None = None) -> ImageSet:
    """All images below `paths` (directories or .zip files) as (N, size, size, 3), in the order of their names.

    In the folder `cache` stay the decoded pictures (see `decoded`). Raises `DataError` when a path is neither, holds no
    images, or fewer than `at_least` can be read, and `OSError` when there is no room for a set that is to be mapped.
    """
    name = "+".join(path.name for path in paths)
    files: list[Found] = []
    notes: list[str] = []
    for path in paths:
        found = _listing(path)
        notes += (f"{path.name}: {note}" for note in found.notes(_REMEDIES))
        if not found.files:
            held = f"; {'; '.join(notes)}" if notes else ""
            raise DataError(f"{path} holds no images (looked for {', '.join(EXTENSIONS)}, in subfolders too){held}")
        files += found.files
    store = Store(cache, [(file.name, file.stamp) for file in files], size)
    say(f"reading {counted(len(files), 'image')} of {name} at {size}x{size} pixels: {store.about}")
    decoded = store.read() or _decode(files, size, store)
    count = len(decoded.pixels)
    if count < at_least:
        skipped = decoded.skipped
        detail = f"; {len(skipped)} could not be read, such as {skipped[0]}" if skipped else ""
        detail += "".join(f"; {note}" for note in notes)
        raise DataError(
            f"{name} holds {count} readable images, wanted at least {at_least} (one batch){detail}: "
            "add images or lower --batch-size"
        )
    return ImageSet(
        name=f"{name}-{size}px-{count}",
        images=decoded.pixels,
        sha256=decoded.sha256,
        licence="unknown (user data)",
        source=", ".join(path.name for path in paths),
        skipped=decoded.skipped,
        lost=len(decoded.skipped),
        notes=(*notes, *decoded.notes),
    )


def _decode(files: Sequence[Found], size: int, store: Store) -> Decoded:
    seen = _Seen()
    pixels, sha256 = store.write(_rows(files, size, seen))
    decoded = Decoded(pixels, sha256, tuple(seen.skipped), tuple(seen.notes(size)))
    store.keep(decoded)
    return decoded


def _rows(files: Sequence[Found], size: int, seen: _Seen) -> Iterator[NDArray[np.uint8]]:
    progress = Progress("reading images", len(files), "img")
    try:
        for file in files:
            try:
                picture = _square(file.read(MAX_FILE_BYTES), size, seen)
            except Exception as error:  # decoders and zip members fail in many ways; the name is what helps
                seen.skipped.append(f"{listing.shown(file.name)}: {error or type(error).__name__}")
            else:
                seen.add(picture)
                yield picture
            progress.advance()
            progress.tell()
    finally:
        progress.close()


def square(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decode one picture and cut its central square to (size, size, 3) RGB; transparency becomes white."""
    return _square(data, size, _Seen())


def _square(data: bytes, size: int, seen: _Seen) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with _opened(data) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} pixels is over the limit of {MAX_PIXELS}")
            grey, small = picture.mode in _GREY, min(picture.size) < size
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
                upright = _to_8_bit(upright)
            if "A" in upright.getbands() or "transparency" in upright.info:
                rgba = upright.convert("RGBA")
                upright = Image.new("RGBA", rgba.size, "white")
                upright.alpha_composite(rgba)
            array = np.asarray(ImageOps.fit(upright.convert("RGB"), (size, size), Image.Resampling.LANCZOS))
    seen.grey += grey
    seen.small += small
    return array


def _opened(data: bytes) -> Image.Image:
    Image.init()
    try:
        return Image.open(io.BytesIO(data), formats=[known for known in FORMATS if known in Image.OPEN])
    except UnidentifiedImageError:
        if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
            raise ValueError("it is HEIC inside: save it as JPEG or PNG") from None
        for beginning, reason in _KNOWN:
            if data.lstrip()[:64].startswith(beginning):
                raise ValueError(reason) from None
        kinds = ", ".join(FORMATS)
        raise ValueError(f"it is no picture ({'it is empty' if not data else f'wanted one of {kinds}'})") from None


def _to_8_bit(picture: Image.Image) -> Image.Image:
    # Pillow clips 16-bit and float modes on conversion; scale by the range of the type, or of the values, instead.
    values = np.asarray(picture)
    largest = values.max(initial=0)
    top = 65535.0 if largest > 255 else 255.0 if largest > 1 else 1.0
    scaled = np.empty(values.shape, np.uint8)
    step = max(1, _BAND // max(1, values.shape[1]))
    for at in range(0, len(values), step):
        part = values[at : at + step].astype(np.float64)
        scaled[at : at + step] = np.asarray(np.clip(part / top, 0, 1) * 255, np.uint8)
    return Image.fromarray(scaled)


def _listing(path: Path) -> listing.Listing:
    if path.is_dir():
        return listing.of_folder(path, _is_image)
    if path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
        return listing.of_zip(path, _is_image)
    found = "does not exist" if not path.exists() else "is neither a directory nor a .zip file"
    raise DataError(f"--data {path} {found}; give a directory or .zip of images, or 'faces' for the drawn faces")


def _is_image(name: str) -> bool:
    return listing.suffix_of(name) in EXTENSIONS
