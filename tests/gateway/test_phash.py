"""Hashes of pictures: near for what looks alike, far for what does not, and bounded for what is hostile."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image, ImageDraw

from gateway.phash import BITS, picture_hash, structured, written
from gateway.pictures import NotAPicture


def scene(step: int = 1) -> Image.Image:
    image = Image.new("RGB", (96, 96), "white")
    draw = ImageDraw.Draw(image)
    for at in range(0, 96, 12):
        draw.ellipse((at * step % 96, at, at * step % 96 + 30, at + 18), fill=(at * 2, 40, 255 - at * 2))
    return image


def stored(image: Image.Image, kind: str, **options: int) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def test_scaled_and_compressed_pictures_stay_near_and_others_are_far() -> None:
    first = picture_hash(stored(scene(), "PNG"))
    near = picture_hash(stored(scene().resize((72, 72)), "JPEG", quality=75))
    far = picture_hash(stored(scene(5), "PNG"))
    assert (first ^ near).bit_count() <= 10
    assert (first ^ far).bit_count() >= 30
    assert structured(first) and len(written(first)) == BITS // 4


def test_a_flat_picture_is_not_told_from_others() -> None:
    assert not structured(picture_hash(stored(Image.new("RGB", (64, 64), "red"), "PNG")))


def test_a_picture_that_claims_to_be_enormous_is_not_decoded() -> None:
    head = struct.pack(">4sIIBBBBB", b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + bytes(64)
    with pytest.raises(NotAPicture, match="more than 67108864 pixels: it is 60000 x 60000"):
        picture_hash(data)


def test_half_a_picture_says_that_it_cannot_be_decoded() -> None:
    with pytest.raises(NotAPicture, match="cannot be decoded"):
        picture_hash(stored(scene(), "PNG")[:300])
