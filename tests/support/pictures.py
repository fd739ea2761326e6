"""Pictures for tests of uploads: small real ones in every format, and heads of files that lie about themselves."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


def gradient(width: int = 24, height: int = 16) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) that differ in both directions and in every channel."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x + y) % 7 * 30], -1).astype(
        np.uint8
    )


def encoded(pixels: NDArray[Any], format: str = "PNG", **options: Any) -> bytes:
    """Pixels as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_head(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG up to its first data, of any size that it may claim."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def png_bomb(width: int, height: int) -> bytes:
    """A whole PNG of one colour, a thousandth of its pixels in bytes."""
    rows = zlib.compress(bytes((1 + 3 * width) * height), 9)
    return png_head(width, height) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_head(width: int, height: int, marker: int = 0xC0, components: int = 3, before: bytes = b"") -> bytes:
    """A JPEG up to its frame, after other segments."""
    frame = struct.pack(">BHHB", 8, height, width, components) + bytes(3 * components)
    return b"\xff\xd8" + before + bytes([0xFF, marker]) + struct.pack(">H", 2 + len(frame)) + frame


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(data)) + data


def webp_extended(width: int, height: int, flags: int = 0) -> bytes:
    """The head of an extended WebP, of any canvas that it may claim."""
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0])
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body)) + body
