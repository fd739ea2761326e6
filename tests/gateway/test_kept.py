"""Results on disk: whole or not at all, for this user alone, bounded, and gone when their time is over."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.kept import NoRoom, NoSuchResult, ResultFolder, sweep


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    return ResultFolder(tmp_path / "kept", max_bytes=100)


def test_what_was_put_comes_back_to_another_process(folder: ResultFolder) -> None:
    name = folder.put(b"picture")
    again = ResultFolder(folder.path, max_bytes=100)
    assert again.get(name) == b"picture"
    assert [(found.name, found.size) for found in again.list()] == [(name, 7)]
    assert stat.S_IMODE((folder.path / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_equal_contents_have_names_of_their_own(folder: ResultFolder) -> None:
    first, second = folder.put(b"a"), folder.put(b"a")
    folder.delete(first)
    folder.delete(first)
    assert folder.get(second) == b"a"
    with pytest.raises(NoSuchResult, match="deleted, or it never was"):
        folder.get(first)


def test_a_command_beside_a_gateway_leaves_what_that_writes(folder: ResultFolder) -> None:
    part = folder.path / f"{'a' * 48}.part"
    part.write_bytes(b"half")
    assert list(ResultFolder(folder.path, max_bytes=100, beside=True).list()) == []
    assert part.exists()
    ResultFolder(folder.path, max_bytes=100)
    assert not part.exists()


def test_room_is_bounded_and_given_back(folder: ResultFolder) -> None:
    name = folder.put(b"x" * 60)
    with pytest.raises(NoRoom, match="1 files with 60 bytes are kept, and 41 more bytes do not fit"):
        folder.put(b"x" * 41)
    with pytest.raises(NoRoom, match="at most 100000 files and 60 bytes"):
        ResultFolder(folder.path, max_bytes=60).put(b"x")
    folder.delete(name)
    folder.put(b"x" * 100)


def test_the_number_of_files_is_bounded_too(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "kept", max_bytes=100, max_files=1)
    folder.put(b"")
    with pytest.raises(NoRoom, match="at most 1 files"):
        folder.put(b"")


@pytest.mark.parametrize("name", ["../secret", "secret", "/etc/passwd", "", "a" * 47, "A" * 48, "a" * 48 + "\n"])
def test_a_name_that_is_none_of_ours_reaches_no_file(folder: ResultFolder, name: str) -> None:
    for secret in (folder.path / "secret", folder.path.parent / "secret"):
        secret.write_bytes(b"secret")
    for call in (folder.get, folder.delete):
        with pytest.raises(NoSuchResult, match="no result is kept as"):
            call(name)
    assert (folder.path.parent / "secret").exists()


def test_a_link_is_not_followed(folder: ResultFolder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (folder.path / ("a" * 48)).symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        folder.get("a" * 48)
    assert list(folder.list()) == []


def test_a_disk_that_is_full_leaves_nothing_behind(folder: ResultFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_part: str, _name: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        folder.put(b"x" * 100)
    assert list(folder.path.iterdir()) == []
    monkeypatch.undo()
    folder.put(b"x" * 100)  # its room was given back


def test_a_start_removes_halves_and_nothing_of_others(folder: ResultFolder) -> None:
    half, other = folder.path / f"{'b' * 48}.part", folder.path / "notes.part"
    half.write_bytes(b"half")
    other.write_bytes(b"of somebody")
    ResultFolder(folder.path, max_bytes=100)
    assert (half.exists(), other.exists()) == (False, True)


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(PermissionError, match=r"has mode 0755.*wanted a folder of this user's .* with 0700"):
        ResultFolder(tmp_path / "open", max_bytes=1)


def test_a_sweep_takes_what_is_older_and_names_it(folder: ResultFolder) -> None:
    old, new = folder.put(b"old"), folder.put(b"new")
    os.utime(folder.path / old, (1000, 1000))
    os.utime(folder.path / new, (2000, 2000))
    assert sweep(folder, before=2000) == [old]
    assert [found.name for found in folder.list()] == [new]
