"""Pictures that look alike have hashes of few different bits: whether each of 8x8 places is brighter than the next.

128 bits: 64 by rows and 64 by columns of a grey picture of 9x8 and 8x9 (dHash; N. Krawetz, "Kind of like that", 2013).
It stays nearly the same when a picture is scaled, compressed or made darker, not when it is
cropped, turned or mirrored.
"""

from __future__ import annotations

import io
import math

from PIL import Image, ImageOps

from gateway.pictures import NotAPicture, measure

BITS = 128
MAX_PIXELS = 1 << 26
GUTTER = 2  # pixels between the images of a contact sheet
MIN_STRUCTURE = 24  # bits of either value, without which a picture is nearly flat and like any other such


def picture_hash(data: bytes) -> int:
    """The hash of a PNG, JPEG or WebP. Raises `NotAPicture`. Takes milliseconds: from the event loop, in a thread."""
    return _hash(_decoded(data, (256, 256)))


def sheet_hashes(data: bytes, count: int) -> list[int]:
    """The hashes of the images on a contact sheet: rows of ceil(sqrt(count)) squares, a gutter around each.

    Raises `NotAPicture`. Source: `contact_sheet` of handlers/media/image.py, which makes them.
    """
    sheet = _decoded(data, None)
    columns = math.ceil(math.sqrt(count))
    side = (sheet.width - GUTTER) // columns
    boxes = [(at % columns * side + GUTTER, at // columns * side + GUTTER) for at in range(count)]
    if side <= 2 * GUTTER or boxes[-1][1] + side - GUTTER > sheet.height:
        raise NotAPicture(f"it is no contact sheet of {count} images: it is {sheet.width} x {sheet.height}")
    return [_hash(sheet.crop((left, top, left + side - GUTTER, top + side - GUTTER))) for left, top in boxes]


def written(found: int) -> str:
    """A hash as the history keeps it: 32 hex digits."""
    return f"{found:032x}"


def structured(found: int) -> bool:
    """Whether a picture has enough in it to be told from others by its hash."""
    return MIN_STRUCTURE <= found.bit_count() <= BITS - MIN_STRUCTURE


def _decoded(data: bytes, draft: tuple[int, int] | None) -> Image.Image:
    """A picture in grey; with `draft` a JPEG is decoded no larger than that wants."""
    found = measure(data[: 1 << 20], whole=True)
    if found is None or found.width * found.height > MAX_PIXELS:
        size = "" if found is None else f": it is {found.width} x {found.height}"
        raise NotAPicture(f"it has more than {MAX_PIXELS} pixels{size}")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            if draft is not None:
                image.draft("L", draft)
            return _grey(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise NotAPicture(f"it cannot be decoded: {error}") from None


def _hash(grey: Image.Image) -> int:
    rows = grey.resize((9, 8), Image.Resampling.BOX)
    columns = grey.resize((8, 9), Image.Resampling.BOX).transpose(Image.Transpose.TRANSPOSE)
    return _brighter(rows) << 64 | _brighter(columns)


def _grey(image: Image.Image) -> Image.Image:
    """Turned as EXIF says, on white where it is transparent."""
    turned = ImageOps.exif_transpose(image)
    if turned.has_transparency_data:
        clear = turned.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        turned = Image.alpha_composite(white, clear)
    return turned.convert("L")


def _brighter(small: Image.Image) -> int:
    """64 bits of a grey picture of 9x8: whether each pixel of a row is brighter than the one before."""
    pixels, bits = small.tobytes(), 0
    for row in range(8):
        for column in range(8):
            at = row * 9 + column
            bits = bits << 1 | (pixels[at + 1] > pixels[at])
    return bits
