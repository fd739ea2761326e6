"""Blocked images: what is like them, the file they are listed in, and the commands that keep it."""

from __future__ import annotations

import io
import json
import random
import threading
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageEnhance

from gateway.__main__ import main
from gateway.moderation.blocked import BlockedError, BlockList, blocked
from gateway.phash import picture_hash, structured
from gateway.pictures import NotAPicture


def scene(seed: int, side: int = 160) -> Image.Image:
    """A picture with shapes of many sizes, another one for each seed."""
    drawn, image = random.Random(seed), Image.new("RGB", (side, side), "grey")
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y, size = (drawn.randrange(side) for _ in range(3))
        draw.ellipse((x - size // 3, y - size // 3, x + size // 3, y + size // 3), tuple(drawn.randbytes(3)))
    return image


def encoded(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def distance(one: Image.Image, other: bytes) -> int:
    return (picture_hash(encoded(one)) ^ picture_hash(other)).bit_count()


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_stays_like_itself(seed: int) -> None:
    image = scene(seed)
    assert distance(image, encoded(image, "jpeg", quality=60)) <= 8
    assert distance(image, encoded(image, "webp", quality=60)) <= 8
    assert distance(image, encoded(image.resize((64, 64)))) <= 8
    assert distance(image, encoded(image.resize((300, 200)))) <= 8
    assert distance(image, encoded(ImageEnhance.Brightness(image).enhance(0.7))) <= 8


def test_other_pictures_are_not_like_it() -> None:
    hashes = [picture_hash(encoded(scene(seed))) for seed in range(30)]
    pairs = [(one ^ other).bit_count() for at, one in enumerate(hashes) for other in hashes[:at]]
    assert min(pairs) > 20  # the largest distance that a setting may have
    assert all(map(structured, hashes))


def test_what_is_transparent_is_seen_on_white_and_exif_turns() -> None:
    image = scene(1)
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    layer.paste(image.crop((0, 0, 160, 80)), (0, 0))
    white = Image.new("RGB", image.size, "white")
    white.paste(image.crop((0, 0, 160, 80)), (0, 0))
    assert distance(white, encoded(layer)) == 0
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(image.transpose(Image.Transpose.ROTATE_90), "png", exif=exif)
    assert distance(image, turned) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no PNG, JPEG or WebP"),
        (b"GIF89a" + bytes(40), "no PNG, JPEG or WebP"),
        (encoded(scene(1))[:200], "cannot be decoded"),
    ],
)
def test_what_is_no_picture_is_told(content: bytes, message: str) -> None:
    with pytest.raises(NotAPicture, match=message):
        picture_hash(content)


def test_a_picture_of_too_many_pixels_is_not_decoded() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)))
    with pytest.raises(NotAPicture, match=r"more than 67108864 pixels: it is 20000 x 20000"):
        picture_hash(bomb)


def entry(seed: int) -> int:
    return picture_hash(encoded(scene(seed)))


def test_the_list_is_reread_when_it_changes_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    served, kept = BlockList(tmp_path / "blocked.json"), BlockList(tmp_path / "blocked.json")
    served.load()
    assert served.nearest(entry(1), 10) is None
    assert kept.add(blocked(entry(1), "why", "violence"))
    assert not kept.add(blocked(entry(1), "again", "violence"))
    near = served.nearest(entry(1) ^ 0b111, 10)
    assert near is not None
    assert (near.image.reason, near.distance) == ("why", 3)
    assert served.nearest(entry(2), 10) is None
    (tmp_path / "blocked.json").write_text("{}")
    assert served.nearest(entry(1), 10) is not None
    with pytest.raises(BlockedError, match=r"is no list of blocked images \(it is of another format\); wanted JSON"):
        kept.add(blocked(entry(2), "why", "violence"))
    assert (tmp_path / "blocked.json").read_text() == "{}"


@pytest.mark.parametrize("bad", ['{"hash": "zz"}', '{"hash": "' + "0" * 32 + '", "category": "rude"}', "1"])
def test_a_list_with_a_bad_entry_is_refused_whole(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "blocked.json"
    whole = json.loads(bad)
    if isinstance(whole, dict):
        whole = {"reason": "r", "category": "hate", "added": 1, **whole}
    path.write_text(json.dumps({"format": "atelier-blocked/1", "images": [whole]}))
    with pytest.raises(BlockedError, match="is no list of blocked images"):
        BlockList(path).load()


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "blocked.json"
    threads = [
        threading.Thread(target=BlockList(path).add, args=(blocked(entry(n), str(n), "hate"),)) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {image.reason for image in BlockList(path).images()} == {str(n) for n in range(8)}
    assert {found.name for found in tmp_path.iterdir()} == {"blocked.json", "blocked.lock"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_GATEWAY_MODERATION", json.dumps({"blocked": str(tmp_path / "b" / "blocked.json")}))
    picture, flat, text = tmp_path / "a.png", tmp_path / "flat.png", tmp_path / "a.txt"
    picture.write_bytes(encoded(scene(1)))
    flat.write_bytes(encoded(Image.new("RGB", (64, 64), "red")))
    text.write_text("一只猫。制 造 炸 弹")

    def said(*arguments: str, code: int = 0) -> str:
        assert main(["moderation", *arguments]) == code
        found = capsys.readouterr()
        return found.err if code == 1 else found.out

    assert "no image is blocked" in said("list")
    assert said("check", "--file", str(picture)) == ""
    assert said("block", str(picture), "--reason", "court order", "--category", "hate").endswith(" is blocked\n")
    assert said("block", str(picture), "--reason", "again").endswith(" was blocked already\n")
    assert "like the blocked image" in said("check", "--file", str(picture), code=3)
    listed = said("list")
    assert listed.endswith(" hate: court order\n")
    identity = listed.split()[0]
    assert "nearly flat, and so like every flat picture" in said("block", str(flat), "--reason", "r", code=1)
    assert "cannot be read: No such file" in said("block", str(tmp_path / "none"), "--reason", "r", code=1)
    assert f"{identity} is no longer blocked (it was: court order)" in said("unblock", identity)
    assert f"has no image {identity!r}; `moderation list` shows them" in said("unblock", identity, code=1)
    assert "refuse illicit/violent (rule illicit/violent#" in said("check", "how to build a b0mb", code=3)
    assert "characters 5 to 11: '制 造 炸 弹'" in said("check", "--file", str(text), code=3)
    assert said("check", "a harbour at dawn") == ""
    monkeypatch.setenv("ATELIER_GATEWAY_MODERATION", json.dumps({"folder": str(tmp_path / "none")}))
    assert "none is no folder" in said("check", "a", code=1)
