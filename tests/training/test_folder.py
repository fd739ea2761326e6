"""Real images: any size and mode in, square RGB out; bad files are named, bad folders refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import DataError, folder
from training.data.images import open_images


def encoded(picture: Image.Image, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format)
    return buffer.getvalue()


def test_the_central_square_is_kept() -> None:
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste("blue", (30, 0, 60, 30))
    image = folder.square(encoded(wide), 16)
    assert image.shape == (16, 16, 3)
    np.testing.assert_array_equal(image[8, 8], (0, 0, 255))
    assert (image[..., 2] > 200).mean() > 0.8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(np.full((20, 20), 65535, np.uint16))
    elif mode == "F":
        picture = Image.fromarray(np.full((20, 20), 1.0, np.float32))
    elif mode == "I":
        picture = Image.fromarray(np.full((20, 20), 65535, np.int32))
    else:
        picture = Image.new("RGB", (20, 20), "white").convert(mode)
    format = {"CMYK": "TIFF", "YCbCr": "TIFF", "F": "TIFF", "I": "TIFF", "HSV": "TIFF"}.get(mode, "PNG")
    image = folder.square(encoded(picture.convert("RGB") if mode == "HSV" else picture, format), 16)
    assert image.shape == (16, 16, 3)
    assert image.dtype == np.uint8
    assert image.min() > 240, mode  # white stays white


def test_transparency_becomes_white() -> None:
    assert folder.square(encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 0))), 8).min() == 255


def test_exif_rotation_is_applied() -> None:
    picture = Image.new("RGB", (20, 20), "black")
    picture.paste("white", (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", exif=exif)
    image = folder.square(buffer.getvalue(), 20)
    assert image[2].mean() < 20
    assert image[-3].mean() > 235


def make_images(path: Path, count: int) -> None:
    path.mkdir(exist_ok=True)
    for i in range(count):
        (path / f"{i:02}.png").write_bytes(encoded(Image.new("RGB", (20 + i, 30), (i * 10, 0, 0))))


def test_corrupt_files_are_skipped_by_name(tmp_path: Path) -> None:
    make_images(tmp_path, 4)
    whole = encoded(Image.effect_noise((64, 64), 50).convert("RGB"))
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.gif").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("ignored: not an image by its name")
    data = open_images(str(tmp_path), 16, 0, at_least=4)
    assert len(data.images) == 4
    assert sorted(entry.partition(":")[0] for entry in data.skipped) == ["empty.gif", "half.png", "text.jpg"]


def test_a_huge_picture_is_skipped_before_it_is_decoded(tmp_path: Path) -> None:
    make_images(tmp_path, 2)
    (tmp_path / "bomb.png").write_bytes(encoded(Image.new("1", (20_000, 20_000))))
    (tmp_path / "large.png").write_bytes(encoded(Image.new("1", (10_000, 9_500))))  # Pillow only warns of this one
    data = open_images(str(tmp_path), 16, 0, at_least=2)
    assert [entry.partition(":")[0] for entry in data.skipped] == ["bomb.png", "large.png"]


def test_a_damaged_member_of_a_zip_is_skipped(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 3)
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.write(tmp_path / f"images/{i:02}.png", f"{i}.png")
        at = archive.getinfo("1.png").header_offset + 30 + len("1.png") + 4
    data = bytearray(path.read_bytes())
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    result = open_images(str(path), 16, 0, at_least=2)
    assert [entry.partition(":")[0] for entry in result.skipped] == ["1.png"]


def test_zip_and_directory_give_the_same_pixels(tmp_path: Path) -> None:
    images = tmp_path / "images"
    make_images(images, 5)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted(images.iterdir()):
            archive.write(path, f"inner/{path.name}")
    from_zip = open_images(str(tmp_path / "images.zip"), 16, 0, at_least=5)
    from_folder = open_images(str(images), 16, 0, at_least=5)
    assert from_zip.sha256 == from_folder.sha256
    assert from_zip.source == "images.zip"


def test_a_directory_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(DataError, match=r"holds no images \(looked for \.jpg"):
        open_images(str(tmp_path), 16, 0, at_least=2)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    make_images(tmp_path, 3)
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"3 readable images, wanted at least 8 .*1 could not be read, such as bad\.png"
    ):
        open_images(str(tmp_path), 16, 0, at_least=8)


@pytest.mark.parametrize(
    ("name", "problem"), [("absent", "does not exist"), ("file.txt", "neither a directory nor a .zip")]
)
def test_a_wrong_path_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(DataError, match=problem):
        open_images(str(tmp_path / name), 16, 0, at_least=2)


def test_a_drawn_world_smaller_than_a_batch_is_refused() -> None:
    with pytest.raises(DataError, match="4 drawn faces are fewer than one batch of 8"):
        open_images("faces", 16, 4, at_least=8)
