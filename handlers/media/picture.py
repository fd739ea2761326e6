"""Pictures that callers bring, as pixels: decoded within a limit, turned as EXIF says, always RGB of 8 bits."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin

from handlers.refusals import Refusal

FORMATS = (  # these three alone are tried
    PngImagePlugin.PngImageFile.format,
    JpegImagePlugin.JpegImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
)
MAX_SCANS = 64  # of a progressive JPEG: each costs as much as a picture, and cameras and editors write about ten
_WHITE = (255, 255, 255, 255)
_ORIENTATION = 0x0112  # of EXIF (CIPA DC-008, 4.6.4)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAX_WORDS = 80  # characters of a decoder's own complaint


def decode(data: bytes, max_pixels: int, field: str) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) of a PNG, JPEG or WebP file of at most `max_pixels`. Raises `Refusal`, which names `field`.

    What is transparent shows white. Colour profiles are not applied. Of 16 bits the upper 8 are kept, rounded.
    """
    try:
        _check_webp(data, max_pixels)  # its decoder takes the memory as soon as it is opened
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.width, image.height, max_pixels)
            if image.format != "JPEG" and getattr(image, "is_animated", False):
                raise _Refused(400, "is animated; send a single picture")
            if image.format == "JPEG" and data.count(b"\xff\xda") > MAX_SCANS:
                raise _Refused(400, f"is a JPEG of more than {MAX_SCANS} scans; save it with fewer")
            image.load()
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
            plain = _rgb(image)
            return np.array(plain if turn is None else plain.transpose(turn), np.uint8)
    except _Refused as refused:
        raise Refusal(refused.status, f"{field} {refused}", field) from None
    except UnidentifiedImageError:
        raise Refusal(400, f"{field} is no PNG, JPEG or WebP", field) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refusal(
            413, f"{field} has more than the {max_pixels} pixels that are taken; make it smaller", field
        ) from None
    except Exception as error:  # decoders raise whatever they like about what is broken
        words = f"{type(error).__name__}: {error}"[:_MAX_WORDS]
        raise Refusal(400, f"{field} cannot be decoded ({words}); save it again and send that", field) from None


class _Refused(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        size = f"{width} x {height} = {width * height} pixels"
        raise _Refused(413, f"has {size}, at most {max_pixels} are taken; make it smaller")


def _check_webp(data: bytes, max_pixels: int) -> None:
    """The size of an extended WebP's canvas (RFC 9649, 2.7); the other forms have at most 2^28 pixels."""
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        _check_size(width, height, max_pixels)
    elif data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8 ":
        _check_size(
            int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF, max_pixels
        )
    elif data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8L":
        bits = int.from_bytes(data[21:25], "little")
        _check_size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, max_pixels)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # grey of 16 bits
        grey = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((grey.clip(0, 65535) + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), with_alpha).convert("RGB")
    return image.convert("RGB")
