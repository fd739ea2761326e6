"""Files decode to the pixels that went in and say, in their standard metadata, that a model made them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from handlers.media import image as media
from handlers.media.mark import SOURCE_TYPE


def picture(side: int = 32) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    across, down = np.broadcast_to(ramp, (side, side)), np.broadcast_to(ramp[:, None], (side, side))
    return np.stack([across, down, np.full((side, side), 90, np.uint8)], axis=-1)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_round_trip_and_mark(format: str) -> None:
    data = media.encode_image(picture(), format, None, "Atelier faces 0123456789ab")
    decoded = Image.open(io.BytesIO(data))
    assert decoded.format == format.upper()
    assert f"image/{format}" == media.CONTENT_TYPES[format]
    difference = np.abs(np.asarray(decoded.convert("RGB"), int) - picture())
    assert difference.max() <= (0 if format == "png" else 24)
    assert difference.mean() <= (0 if format == "png" else 3)
    xmp = decoded.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert xmp["DigitalSourceType"] == SOURCE_TYPE
    assert xmp["DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert xmp["CreatorTool"] == "Atelier faces 0123456789ab"


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_the_same_pixels_give_the_same_bytes(format: str) -> None:
    first, second = (media.encode_image(picture(), format, None, "t") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("format", media.LOSSY)
def test_quality_trades_size_for_closeness(format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sizes = [len(media.encode_image(noise, format, quality, "t")) for quality in (10, 50, 100)]
    assert sizes == sorted(sizes)
    assert sizes[2] > 2 * sizes[0]
    assert media.encode_image(noise, format, None, "t") == media.encode_image(noise, format, 90, "t")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown image format 'gif'; known: png, jpeg, webp"):
        media.encode_image(picture(), "gif", None, "t")


@pytest.mark.parametrize(("n", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 3, 2), (16, 4, 4)])
def test_contact_sheets_hold_every_image(n: int, columns: int, rows: int) -> None:
    side = 32
    images = np.stack([np.full((side, side, 3), i * 15, np.uint8) for i in range(n)])
    sheet = media.contact_sheet(images)
    scale = 512 // (columns * side)
    assert sheet.shape == (rows * (side * scale + 2) + 2, columns * (side * scale + 2) + 2, 3)
    for i in range(n):
        row, column = divmod(i, columns)
        centre = [(k * (side * scale + 2)) + 2 + side * scale // 2 for k in (row, column)]
        assert (sheet[centre[0], centre[1]] == i * 15).all()


def test_large_images_are_not_enlarged() -> None:
    assert media.contact_sheet(np.zeros((4, 512, 512, 3), np.uint8)).shape == (1030, 1030, 3)
