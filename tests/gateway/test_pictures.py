"""Type and size of pictures from their first bytes."""

from __future__ import annotations

import io
import os
import random

import pytest
from PIL import Image

from gateway.pictures import MAX_HEAD, NotAPicture, Picture, measure
from tests.support.pictures import FORMATS, encoded, gradient, jpeg_head, jpeg_segment, png_head, webp_extended

OPTIONS = [
    ("image/png", {}),
    ("image/jpeg", {}),
    ("image/jpeg", {"progressive": True}),
    ("image/webp", {}),
    ("image/webp", {"lossless": True}),
    ("image/webp", {"lossless": True, "xmp": b"<x/>"}),  # an extended one
]


@pytest.mark.parametrize(("content_type", "options"), OPTIONS)
def test_a_real_picture_is_measured_as_soon_as_its_head_is_there(content_type: str, options: dict[str, object]) -> None:
    data = encoded(gradient(301, 7), FORMATS[content_type], **options)
    found = [measure(data[:size]) for size in range(12, len(data) + 1)]
    wanted = Picture(content_type, 301, 7)
    assert found[-1] == wanted
    assert set(found) <= {None, wanted}, "fewer bytes gave something else"
    assert measure(data[:800]) == wanted, "a picture without much in front of it needs few bytes"


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_every_form_of_png_is_measured(mode: str) -> None:
    image = Image.fromarray(gradient()).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = image.convert("I;16")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert measure(buffer.getvalue()) == Picture("image/png", 24, 16)


def test_a_jpeg_with_a_long_profile_in_front_is_measured_and_one_without_end_is_not() -> None:
    profile = jpeg_segment(0xE2, bytes(65_000))
    assert measure(jpeg_head(40, 30, before=5 * profile)) == Picture("image/jpeg", 40, 30)
    endless = jpeg_head(40, 30, before=9 * profile)
    with pytest.raises(NotAPicture, match=f"first {MAX_HEAD} bytes do not say how large"):
        measure(endless[: MAX_HEAD + 1])
    with pytest.raises(NotAPicture, match="more than 1024 segments"):
        measure(jpeg_head(40, 30, before=1100 * jpeg_segment(0xFE, b"")))


def test_fill_bytes_before_a_marker_are_passed_over() -> None:
    assert measure(jpeg_head(9, 8, before=b"\xff\xff\xff" + jpeg_segment(0xFE, b"x"))) == Picture("image/jpeg", 9, 8)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"GIF89a" + bytes(40), "no PNG, JPEG or WebP by its first bytes"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG, JPEG or WebP"),
        (b"PK\x03\x04" + bytes(40), "no PNG, JPEG or WebP"),
        (b"RIFF\x10\0\0\0WAVEfmt " + bytes(40), "no PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "without the header of one"),
        (png_head(8, 8)[:-1] + b"\0", "without the header of one"),  # the check sum
        (png_head(8, 8, depth=3), "a form that there is not"),
        (png_head(8, 8, colour=5), "a form that there is not"),
        (png_head(2**31, 8), "a size that there is not"),
        (png_head(0, 8), "0 x 8 pixels"),
        (jpeg_head(8, 0), "8 x 0 pixels"),
        (jpeg_head(8, 8, marker=0xC3), "lossless, hierarchical or arithmetic"),
        (jpeg_head(8, 8, marker=0xC9), "lossless, hierarchical or arithmetic"),
        (jpeg_head(8, 8, components=2), "2 components"),
        (jpeg_head(8, 8, before=jpeg_segment(0xDA, bytes(8))), "no picture before byte 2"),
        (b"\xff\xd8\xff\xd9" + bytes(40), "no picture before byte 2"),
        (b"\xff\xd8\xff\xe0\0\x04ab" + b"no marker" + bytes(40), "none at byte 8"),
        (webp_extended(9, 9, flags=2), "animated"),
        (b"RIFF\x20\0\0\0WEBPVP8 " + bytes(40), "no picture"),
        (b"RIFF\x20\0\0\0WEBPVP8L" + bytes(40), "no picture"),
        (b"RIFF\x20\0\0\0WEBPALPH" + bytes(40), "without a picture"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(head: bytes, why: str) -> None:
    with pytest.raises(NotAPicture, match=why):
        measure(head, whole=True)


def test_sizes_as_large_as_a_head_can_claim_are_told_as_they_are() -> None:
    assert measure(png_head(2**31 - 1, 2**31 - 1)) == Picture("image/png", 2**31 - 1, 2**31 - 1)
    assert measure(jpeg_head(65_535, 65_535)) == Picture("image/jpeg", 65_535, 65_535)
    assert measure(webp_extended(1 << 24, 1 << 24)) == Picture("image/webp", 1 << 24, 1 << 24)


def test_a_picture_that_ends_before_its_size_is_refused() -> None:
    for data in (b"", b"\x89PNG", png_head(8, 8)[:30], jpeg_head(8, 8)[:11], webp_extended(8, 8)[:25]):
        with pytest.raises(NotAPicture, match=r"it ends before|by its first bytes"):
            measure(data, whole=True)


def test_random_bytes_after_a_magic_never_raise_anything_else() -> None:
    draw = random.Random(5)
    starts = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WEBPVP8L", jpeg_head(8, 8)]
    outcomes: set[type] = set()
    for i in range(3000):
        data = bytearray(starts[i % len(starts)] + draw.randbytes(draw.randrange(80)))
        if data and draw.random() < 0.5:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            outcomes.add(type(measure(data, whole=True)))
        except NotAPicture:
            outcomes.add(NotAPicture)
    assert outcomes == {Picture, NotAPicture}
    assert measure(os.urandom(4), whole=False) is None
