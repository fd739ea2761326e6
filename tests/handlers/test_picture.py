"""Pictures that callers bring: every form to RGB, bombs and broken files refused with the reason."""

from __future__ import annotations

import io
import random
import resource
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from handlers.media.picture import MAX_SCANS, decode
from handlers.refusals import Refusal
from tests.support.pictures import (
    chunk,
    encoded,
    gradient,
    jpeg_head,
    jpeg_segment,
    png_bomb,
    png_head,
    webp_extended,
)

MOST = 100_000
PIXELS = gradient(60, 40)


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def refused(data: bytes, most: int = MOST) -> Refusal:
    with pytest.raises(Refusal) as caught:
        decode(data, most, "image")
    assert caught.value.field == "image"
    return caught.value


@pytest.mark.parametrize(
    ("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("PNG", {"optimize": True})]
)
def test_lossless_pictures_are_their_pixels(format: str, options: dict[str, Any]) -> None:
    found = decode(encoded(PIXELS, format, **options), MOST, "image")
    assert found.dtype == np.uint8
    assert np.array_equal(found, PIXELS)
    assert found.flags.c_contiguous and found.flags.writeable


@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 95, "progressive": True}])
def test_jpegs_are_nearly_their_pixels(options: dict[str, Any]) -> None:
    smooth = gradient(64, 64)
    smooth[..., 2] = 100
    found = decode(encoded(smooth, "JPEG", subsampling=0, **options), MOST, "image")
    assert np.abs(found.astype(int) - smooth).max() < 16


def test_grey_of_every_depth_becomes_rgb() -> None:
    grey = PIXELS[..., 0]
    wanted = np.repeat(grey[..., None], 3, -1)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for image in (Image.fromarray(grey), deep, Image.fromarray(grey).convert("P")):
        assert np.array_equal(decode(saved(image), MOST, "image"), wanted)
    bits = Image.fromarray(grey).convert("1", dither=Image.Dither.NONE)
    assert set(np.unique(decode(saved(bits), MOST, "image"))) == {0, 255}


def test_cmyk_and_palettes_become_rgb() -> None:
    flat = np.full((8, 8, 3), (200, 30, 90), np.uint8)
    for data in (
        saved(Image.fromarray(flat).convert("CMYK"), "JPEG", quality=100),
        saved(Image.fromarray(flat).quantize()),
    ):
        assert np.abs(decode(data, MOST, "image").astype(int) - flat).max() < 6


def test_what_is_transparent_shows_white_and_not_what_it_hides() -> None:
    hidden = np.zeros((4, 4, 4), np.uint8)
    hidden[..., 0] = 200  # red, all of it transparent
    hidden[0, 0] = (10, 20, 30, 255)
    grey = hidden[..., [0, 3]]
    for image in (Image.fromarray(hidden), Image.fromarray(grey, "LA")):
        found = decode(saved(image), MOST, "image")
        assert (found[1:] == 255).all()
    palette = Image.fromarray(np.zeros((4, 4), np.uint8), "P")
    palette.putpalette([200, 0, 0])
    assert (decode(saved(palette, transparency=0), MOST, "image") == 255).all()


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (5, lambda p: p.transpose(1, 0, 2)),
        (6, lambda p: np.rot90(p, -1)),
        (7, lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90),
        (9, lambda p: p),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_a_picture_is_turned_as_exif_says(orientation: int, turned: Any, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(PIXELS), format, exif=exif, lossless=True)
    assert np.array_equal(decode(data, MOST, "image"), turned(PIXELS))


def test_a_bomb_is_refused_by_its_size_before_it_is_decoded() -> None:
    bomb = png_bomb(13_500, 13_500)
    assert len(bomb) < 600_000  # of 547 MB
    error = refused(bomb)
    assert error.status == 413
    assert (
        error.message == "image has more than the 100000 pixels that are taken; make it smaller"
    )  # Pillow's own bound
    message = "image has 3000 x 3000 = 9000000 pixels, at most 100000 are taken; make it smaller"
    assert refused(png_bomb(3000, 3000)).message == message
    just = decode(png_bomb(400, 250), MOST, "image")
    assert just.shape == (250, 400, 3)
    assert refused(png_bomb(401, 250)).status == 413


@pytest.mark.parametrize(
    "data",
    [
        png_head(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""),
        jpeg_head(65_535, 65_535) + bytes(100),
        webp_extended(1 << 24, 1 << 24) + bytes(100),
        b"RIFF\x40\0\0\0WEBPVP8L\x30\0\0\0\x2f" + (0x0FFFFFFF).to_bytes(4, "little") + bytes(60),
        b"RIFF\x40\0\0\0WEBPVP8 \x30\0\0\0\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(60),
    ],
)
def test_a_head_that_claims_as_much_as_it_can_takes_no_memory(data: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(data).status in (400, 413)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_text_that_unpacks_to_gigabytes_is_refused() -> None:
    packed = zlib.compress(bytes(50 << 20), 9)
    text = chunk(b"zTXt", b"Comment\0\0" + packed)
    data = encoded(PIXELS)
    assert "cannot be decoded" in refused(data[:33] + text + data[33:]).message


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    """Each scan goes over the whole picture: a small file could cost minutes."""
    data = encoded(gradient(64, 64), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    many = data[:at] + (data[at:-2]) * (MAX_SCANS + 1) + data[-2:]
    assert refused(many).message == f"image is a JPEG of more than {MAX_SCANS} scans; save it with fewer"


def test_animations_are_refused() -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 100, 200)]
    for format in ("PNG", "WEBP"):
        data = saved(frames[0], format, save_all=True, append_images=frames[1:], duration=100)
        assert refused(data).message == "image is animated; send a single picture"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_picture_is_refused_wherever_it_ends(format: str) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
    data = encoded(noise, format)
    for keep in (len(data) // 2, len(data) * 9 // 10, 40, 5, 1):
        assert refused(data[:keep]).status == 400


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no PNG, JPEG or WebP"),
        (b"GIF89a\x01\0\x01\0\0\0\0;", "is no PNG, JPEG or WebP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no PNG, JPEG or WebP"),  # never a PostScript
        (b"P6 2 2 255\n" + bytes(12), "is no PNG, JPEG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no PNG, JPEG or WebP"),
        (png_head(8, 8), "is no PNG, JPEG or WebP"),  # and nothing behind it
        (png_head(8, 8) + chunk(b"IDAT", b"no zlib") + chunk(b"IEND", b""), "cannot be decoded"),
        (jpeg_head(8, 8) + jpeg_segment(0xDA, bytes(8)), "cannot be decoded"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(data: bytes, words: str) -> None:
    error = refused(data)
    assert error.status == 400
    assert words in error.message
    assert "0x" not in error.message.replace(" x ", ""), "an address of ours"


def test_a_flipped_byte_of_a_png_is_found() -> None:
    data = bytearray(encoded(PIXELS))
    data[data.index(b"IDAT") + 30] ^= 1
    assert "cannot be decoded" in refused(bytes(data)).message


def test_other_chunks_and_trailing_bytes_change_nothing() -> None:
    info = PngInfo()
    info.add_text("Comment", "<script>alert(1)</script>")
    data = saved(Image.fromarray(PIXELS), pnginfo=info) + b"PK\x05\x06" + bytes(18)
    assert np.array_equal(decode(data, MOST, "image"), PIXELS)


def test_random_damage_gives_pixels_or_a_refusal() -> None:
    draw, outcomes = random.Random(4), set()
    sources = [encoded(PIXELS, name) for name in ("PNG", "JPEG", "WEBP")]
    for i in range(600):
        data = bytearray(sources[i % 3])
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.2:
            data[16:24] = struct.pack(">II", draw.randrange(1 << 31), draw.randrange(1 << 31))
        try:
            found = decode(bytes(data), MOST, "image")
            assert found.shape[2] == 3 and found.shape[0] * found.shape[1] <= MOST
            outcomes.add(200)
        except Refusal as refusal:
            outcomes.add(refusal.status)
    assert {200, 400} <= outcomes <= {200, 400, 413}
