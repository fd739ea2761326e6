"""Pictures as people have them: what is left out, what cannot be read and why, and how much memory they take."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from tests.conftest import SHARED
from tests.support.saved import assert_equal, tensors
from training import memory
from training.__main__ import main
from training.data import DataError, ImageSet, decoded, folder
from training.data.images import open_images

NAME = ["--name", "m", "--preset", "tiny"]


def encoded(seed: int = 0, format: str = "PNG", side: int = 20, mode: str = "RGB") -> bytes:
    random = np.random.default_rng(seed)
    picture = Image.fromarray(random.integers(0, 255, (side, side, 3), np.uint8)).convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, format)
    return buffer.getvalue()


def put(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pictures(count: int, first: int = 0) -> dict[str, bytes]:
    return {f"{number:04}.png": encoded(number) for number in range(first, first + count)}


def opened(path: Path, at_least: int = 2, cache: Path | None = None) -> ImageSet:
    return open_images(str(path), 16, 0, at_least, cache)


LEFTOVERS = {
    ".ipynb_checkpoints/0000-checkpoint.png": encoded(0),
    ".thumbnails/0000.png": encoded(0),
    "__MACOSX/._0000.png": b"\0\5\26\7",
    "deep/._0001.png": b"\0\5\26\7",
    "Thumbs.db": b"x",
    ".DS_Store": b"x",
}


def test_leftovers_of_file_managers_are_left_out_and_counted(tmp_path: Path) -> None:
    wanted = opened(put(tmp_path / "clean", pictures(4)))
    data = opened(put(tmp_path / "mine", {**pictures(4), **LEFTOVERS}))
    assert data.sha256 == wanted.sha256
    assert (data.skipped, data.notes) == ((), ("mine: left out 6 hidden files such as .DS_Store",))
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for name, content in {**pictures(4), **LEFTOVERS}.items():
            archive.writestr(name, content)
    packed = opened(tmp_path / "mine.zip")
    assert packed.sha256 == wanted.sha256
    assert packed.notes == ("mine.zip: left out 6 hidden files such as .DS_Store",)


def test_files_of_other_kinds_are_counted_with_what_helps(tmp_path: Path) -> None:
    contents = {f"IMG_{number}.HEIC": b"x" for number in range(430)}
    others = {"clip.mov": b"x", "a.jpg.download": b"x", "more.zip": b"x", "README": b"x"}
    data = opened(put(tmp_path / "mine", {**pictures(4), **contents, **others}))
    (note,) = data.notes
    assert note.startswith("mine: not read: 430 files of .heic (save them as JPEG or PNG), 1 file ")
    for part in ("1 file of .mov (save their frames as pictures)", "1 file of .zip (unpack them)", "of .download"):
        assert part in note
    with pytest.raises(
        DataError, match=r"holds no images .*; phone: not read: 430 files of \.heic \(save them as JPEG"
    ):
        opened(put(tmp_path / "phone", contents))


def test_that_is_said_before_training(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(workspace / "mine", {**pictures(9), "a.heic": b"x", "bad.png": b"x"})
    assert main(["dcgan", *NAME, "--data", "mine"]) == 0
    out = capsys.readouterr().out
    assert "reading 10 images of mine at 16x16 pixels: 0.0 MB of memory" in out
    assert out.index("not read: 1 file of .heic") < out.index("skipped 1: bad.png: ") < out.index("step 0 of 6")


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.jfif", "JPEG"), ("a.jpe", "JPEG"), ("a.jp2", "JPEG2000"), ("a.avif", "AVIF"), ("a.jpg", "WEBP")],
)
def test_more_kinds_are_read_whatever_their_name(tmp_path: Path, name: str, format: str) -> None:
    needed = {"AVIF": "avif", "JPEG2000": "jpg_2000"}.get(format)
    if needed and not features.check(needed):
        pytest.skip(f"this Pillow has no {format}")
    data = opened(put(tmp_path / "mine", {name: encoded(0, format), "b.png": encoded(1)}))
    assert len(data.images) == 2


def test_contents_that_are_no_pictures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    monkeypatch.setattr("subprocess.check_call", started)
    contents = {
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "page.jpg": b"<!DOCTYPE html><html></html>",
        "lfs.png": b"version https://git-lfs.github.com/spec/v1\n",
        "empty.png": b"",
    }
    data = opened(put(tmp_path / "mine", {**pictures(2), **contents}))
    assert data.skipped == (
        "empty.png: it is no picture (it is empty)",
        "eps.png: it is PostScript: save it as PNG",
        "heic.jpg: it is HEIC inside: save it as JPEG or PNG",
        "lfs.png: it is a pointer of Git LFS: fetch the file itself",
        "page.jpg: it is a web page or an SVG: get the picture itself, or save it as PNG",
    )


def test_only_a_few_of_many_broken_pictures_are_named(tmp_path: Path) -> None:
    data = opened(put(tmp_path / "mine", {**pictures(2), **{f"b{number:04}.png": b"x" for number in range(900)}}))
    assert len(data.skipped) == data.lost == 900
    (line,) = data.told()
    assert line.startswith("skipped 900: b0000.png: it is no picture")
    assert line.endswith("; and 895 more")
    assert line.count("it is no picture") == 5


def test_links_and_locked_folders_are_named(tmp_path: Path) -> None:
    mine = put(tmp_path / "mine", {**pictures(3), "deep/0009.png": encoded(9), "locked/a.png": encoded(1)})
    (mine / "deep/loop").symlink_to(mine)
    (mine / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (mine / "locked").chmod(0)
    (mine / b"\xff\x1b[2J.png".decode(errors="surrogateescape")).write_bytes(b"x")
    try:
        data = opened(mine)
    finally:
        (mine / "locked").chmod(0o700)
    told = " ".join(data.told())
    assert "deep/loop: a link to a folder is not followed" in told
    assert "gone.png: a broken link" in told
    if os.geteuid():  # root may open any folder
        assert "locked: Permission denied" in told
    assert "\\udcff\\x1b[2J.png: it is no picture" in told
    told.encode()


def test_members_that_python_cannot_unpack_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in pictures(3).items():
            archive.writestr(f"folder\\{name}", content)
        archive.writestr("secret.png", encoded(4))
        archive.writestr("packed.png", encoded(5))
        archive.writestr(zipfile.ZipInfo("lzma.png"), encoded(6), zipfile.ZIP_LZMA)
        offsets = {name: archive.getinfo(name).header_offset for name in ("secret.png", "packed.png")}
    raw = bytearray(path.read_bytes())
    for name, field, value in (("secret.png", 6, 1), ("packed.png", 8, 9)):  # encrypted; deflate64
        struct.pack_into("<H", raw, offsets[name] + field, value)
        struct.pack_into("<H", raw, raw.rindex(name.encode()) - 46 + field + 2, value)
    path.write_bytes(raw)
    data = opened(path)
    assert len(data.images) == 4
    assert data.skipped == (
        "packed.png: it is packed with deflate64, which Python cannot read: unpack the archive",
        "secret.png: it is encrypted: unpack the archive with its password, and give the folder",
    )


def test_a_bomb_in_an_archive_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_FILE_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(20_000_000))
        for name, content in pictures(2).items():
            archive.writestr(name, content)
    assert opened(tmp_path / "mine.zip").skipped == ("bomb.png: 20000000 bytes is over the limit of 1000000",)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.zip").write_bytes(b"PK\3\4 no archive")
    with pytest.raises(DataError, match=r"mine\.zip cannot be opened as a \.zip file .*: pack it again"):
        opened(tmp_path / "mine.zip")


def test_what_a_person_may_not_expect_is_said(tmp_path: Path) -> None:
    grey = {f"{number}.png": encoded(number, side=28, mode="L") for number in range(3)}
    assert opened(put(tmp_path / "grey", grey)).notes == (
        "all images are grey: the network learns, and makes, three equal channels (RGB)",
    )
    mixed = opened(put(tmp_path / "mixed", {**grey, "c.png": encoded(1), "s.png": encoded(1, side=3)}))
    assert mixed.notes == ("1 image under 16x16 pixels: enlarged",)
    equal = opened(put(tmp_path / "equal", {"a.png": encoded(1), "b.png": encoded(1)}))
    assert equal.notes == ("all 2 images are equal: there is only one to learn",)


@pytest.mark.parametrize("side", [(1, 1), (1, 10_000), (3, 2), (50, 150)])
def test_pictures_of_any_shape_are_brought_to_one(tmp_path: Path, side: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", side, "red").save(buffer, "PNG")
    data = opened(put(tmp_path / "mine", {"a.png": buffer.getvalue(), "b.png": encoded(1)}))
    np.testing.assert_array_equal(data.images[0], np.broadcast_to(np.array([255, 0, 0], np.uint8), (16, 16, 3)))


@pytest.mark.parametrize(("size", "nearest"), [("28", "16 and 32"), ("48", "32 and 64"), ("1", "16 and 32")])
def test_a_size_of_no_network_is_refused_with_the_nearest(
    workspace: Path, capsys: pytest.CaptureFixture[str], size: str, nearest: str
) -> None:
    try:
        code = main(["dcgan", *NAME, "--image-size", size])
    except SystemExit as stop:  # tyro's own way of refusing
        code = int(str(stop.code))
    assert code == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"--image-size is {size}, wanted a power of two from 16 to 512; the nearest are {nearest}" in said


def test_one_picture_more_than_a_batch_and_equal_ones_are_trained_on(workspace: Path) -> None:
    put(workspace / "mine", dict.fromkeys((f"{number}.png" for number in range(9)), encoded(1)))
    assert main(["dcgan", *NAME, "--data", "mine"]) == 0


@pytest.mark.slow
def test_a_run_that_goes_on_decodes_nothing_again(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace / "mine", {**pictures(9), "bad.png": b"x"})
    command = ["dcgan", *NAME, "--data", "mine"]
    assert main(command) == 0

    def again(*_: object) -> None:
        raise AssertionError("a picture was decoded again")

    with monkeypatch.context() as patched:
        patched.setattr(folder, "_square", again)
        assert main([*command, "--steps", "7"]) == 0
        assert main([*command, "--restart"]) == 0
    said = capsys.readouterr().out
    assert said.count("read as an earlier run has decoded them: artifacts/runs/m/images.u8") == 2
    assert said.count("skipped 1: bad.png") == 3
    kept = Path("artifacts/runs/m/images.u8")
    for damage in (kept.read_bytes()[:-1], bytes(len(kept.read_bytes()))):
        kept.write_bytes(damage)
        assert main([*command, "--steps", "7"]) == 0  # decoded again: a copy that is not whole is none
        assert "an earlier run has decoded" not in capsys.readouterr().out
    put(workspace / "mine", {"0000.png": encoded(100)})
    assert main([*command, "--steps", "8"]) == 1
    assert "restore the data, or --restart" in capsys.readouterr().err


def test_a_set_of_over_half_of_the_memory_is_mapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, cache = put(tmp_path / "mine", {**pictures(8), "bad.png": b"x"}), tmp_path / "run"
    whole = opened(mine)
    needed = 9 * 16 * 16 * 3
    monkeypatch.setattr(memory, "available", lambda: 2 * needed - 1)
    data = opened(mine, cache=cache)
    said = capsys.readouterr().out
    assert f"over half of the 0.0 MB that are free: mapped from {cache}/images.u8" in said
    assert isinstance(data.images.base, np.memmap)
    np.testing.assert_array_equal(data.images, whole.images)
    assert data.sha256 == whole.sha256
    assert (cache / "images.u8").stat().st_size == 8 * 16 * 16 * 3
    again = opened(mine, cache=cache)
    assert "read as an earlier run has decoded them" in capsys.readouterr().out
    assert (again.sha256, again.skipped) == (data.sha256, data.skipped)
    np.testing.assert_array_equal(again.images, whole.images)
    monkeypatch.setattr(memory, "available", lambda: 2 * needed)
    assert not isinstance(opened(mine, cache=cache).images.base, np.memmap)


@pytest.mark.slow
def test_a_run_on_a_mapped_set_learns_the_same(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(workspace / "mine", pictures(9))
    command = ["dcgan", *NAME, "--data", "mine"]
    assert main(command) == 0
    whole = tensors()
    Path("artifacts/runs/m/images.json").unlink()
    monkeypatch.setattr(decoded, "SHARE", 0.0)
    assert main([*command, "--restart"]) == 0
    assert_equal(whole, tensors())


def test_a_full_disk_costs_the_copy_alone_unless_it_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    mine, cache = put(tmp_path / "mine", pictures(4)), tmp_path / "run"
    monkeypatch.setattr(os, "fsync", full)
    assert len(opened(mine, cache=cache).images) == 4
    said = capsys.readouterr().out
    assert f"no copy of the decoded images is kept: could not write {cache}/images.u8 (No space left on device)" in said
    assert not list(cache.iterdir())
    monkeypatch.setattr(decoded, "SHARE", 0.0)
    with pytest.raises(OSError, match=rf"could not write {cache}/images\.u8 \(No space left on device\): free some"):
        opened(mine, cache=cache)
    assert not list(cache.iterdir())


@pytest.mark.parametrize("version", [1, 2])
def test_memory_heeds_the_limits_of_groups(tmp_path: Path, version: int) -> None:
    put(tmp_path, {"proc/meminfo": b"MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"})
    assert memory.available(tmp_path) == 8000 * 1024
    place, names = (
        ("sys/fs/cgroup", ("memory.max", "memory.current"))
        if version == 2
        else ("sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    )
    cache = "inactive_file" if version == 2 else "total_inactive_file"
    kind, options = ("cgroup2", "rw") if version == 2 else ("cgroup", "rw,memory")
    group = b"0::/a/b\n" if version == 2 else b"7:cpu:/\n4:memory:/a/b\n"
    put(
        tmp_path,
        {
            "proc/self/cgroup": group,
            "proc/self/mountinfo": f"30 23 0:26 / /{place} rw - {kind} {kind} {options}\n".encode(),
            f"{place}/a/{names[0]}": b"3000000\n",
            f"{place}/a/{names[1]}": b"2500000\n",
            f"{place}/a/memory.stat": f"anon 1\n{cache} 400000\n".encode(),
            f"{place}/a/b/{names[0]}": b"max\n" if version == 2 else b"9223372036854771712\n",
            f"{place}/a/b/{names[1]}": b"2500000\n",
        },
    )
    assert memory.available(tmp_path) == 900_000
    assert memory.available(tmp_path / "nothing") is None


def test_real_faces_are_the_same_in_every_packing(tmp_path: Path) -> None:
    real = SHARED / "faces/faces_128.zip"
    if not real.exists():
        pytest.skip("no shared data set of faces")
    with zipfile.ZipFile(real) as archive:
        members = [name for name in archive.namelist() if name.endswith(".jpg")][:40]
        contents = {Path(name).name: archive.read(name) for name in members}
    wanted = opened(put(tmp_path / "faces", contents))
    with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_BZIP2) as archive:
        for name, content in {**contents, **LEFTOVERS}.items():
            archive.writestr(name, content)
    assert opened(tmp_path / "faces.zip").sha256 == wanted.sha256
