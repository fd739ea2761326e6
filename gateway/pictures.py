"""The type and size of a picture from its first bytes: PNG, JPEG and WebP, without decoding anything.

What a caller calls his file is never asked. Sources: PNG (W3C, third edition, 5.2 and 11.2.2), JPEG (ITU-T T.81, annex
B), WebP (RFC 9649 and RFC 6386, 9.1).
"""

from __future__ import annotations

import dataclasses
import struct
import zlib

MAX_HEAD = 512 * 1024  # bytes until the size must be known: cameras put previews and colour profiles before it
MAX_SEGMENTS = 1024  # of a JPEG before its frame; a colour profile takes 255 at most
_PNG = b"\x89PNG\r\n\x1a\n"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # of each type of colour
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: what decoders read
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_ANIMATED = 0x02  # of the flags of VP8X


class NotAPicture(ValueError):
    """Bytes that are none of the known pictures, or a head that contradicts itself."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a file says of itself; sizes in pixels, of the stored picture (before it is turned as EXIF says)."""

    content_type: str
    width: int
    height: int


def measure(head: bytes | bytearray, whole: bool = False) -> Picture | None:
    """The picture that a file's first bytes begin, or None until more of them have come; `whole`: none will.

    Raises `NotAPicture`.
    """
    found = None
    if len(head) >= 12 or whole:
        if head.startswith(_PNG):
            found = _png(head)
        elif head.startswith(b"\xff\xd8\xff"):
            found = _jpeg(head)
        elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            found = _webp(head)
        else:
            raise NotAPicture("it is no PNG, JPEG or WebP by its first bytes")
    if found is None:
        if whole:
            raise NotAPicture("it ends before it says how large the picture is")
        if len(head) > MAX_HEAD:
            raise NotAPicture(f"its first {MAX_HEAD} bytes do not say how large the picture is")
        return None
    if not found.width or not found.height:
        raise NotAPicture(f"it says that it is {found.width} x {found.height} pixels")
    return found


def _png(head: bytes | bytearray) -> Picture | None:
    if len(head) < 33:
        return None
    length, name, width, height, depth, colour, packing, filtering, lacing, check = struct.unpack_from(
        ">I4sIIBBBBBI", head, 8
    )
    if (length, name) != (13, b"IHDR") or zlib.crc32(head[12:29]) != check:
        raise NotAPicture("it begins as a PNG without the header of one")
    if depth not in _DEPTHS.get(colour, ()) or packing or filtering or lacing > 1:
        raise NotAPicture("its PNG header names a form that there is not")
    if width > 2**31 - 1 or height > 2**31 - 1:
        raise NotAPicture("its PNG header names a size that there is not")
    return Picture("image/png", width, height)


def _jpeg(head: bytes | bytearray) -> Picture | None:
    """Goes from segment to segment up to the frame's."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        while at < len(head) - 1 and head[at] == head[at + 1] == 0xFF:  # fill bytes
            at += 1
        if at + 4 > len(head):
            return None
        if head[at] != 0xFF:
            raise NotAPicture(f"it begins as a JPEG, and is none at byte {at}")
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker in _OTHER_FRAMES:
            raise NotAPicture("it is a lossless, hierarchical or arithmetic JPEG; send a baseline or progressive one")
        if marker < 0xC0 or 0xD0 <= marker <= 0xDA or length < 2:  # SOI, EOI, SOS: data before a frame
            raise NotAPicture(f"it begins as a JPEG, and has no picture before byte {at}")
        if marker in _FRAMES:
            if at + 10 > len(head):
                return None
            precision, height, width, components = struct.unpack_from(">BHHB", head, at + 4)
            if precision != 8 or components not in (1, 3, 4) or length != 8 + 3 * components:
                raise NotAPicture(f"its JPEG frame has {components} components of {precision} bits")
            return Picture("image/jpeg", width, height)
        at += 2 + length
    raise NotAPicture(f"it has more than {MAX_SEGMENTS} segments before its picture")


def _webp(head: bytes | bytearray) -> Picture | None:
    if len(head) < 30:
        return None
    chunk, data = bytes(head[12:16]), bytes(head[20:30])
    if chunk == b"VP8 ":
        if data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
            raise NotAPicture("it begins as a WebP, and its VP8 frame is no picture")
        width, height = struct.unpack_from("<HH", data, 6)
        return Picture("image/webp", width & 0x3FFF, height & 0x3FFF)
    if chunk == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        if data[0] != 0x2F or bits >> 29:
            raise NotAPicture("it begins as a WebP, and its VP8L frame is no picture")
        return Picture("image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if chunk == b"VP8X":
        if data[0] & _ANIMATED:
            raise NotAPicture("it is an animated WebP; send a single picture")
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (4, 7))
        return Picture("image/webp", width, height)
    raise NotAPicture("it begins as a WebP without a picture")
