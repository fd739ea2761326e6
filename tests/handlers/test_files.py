"""Folders change places in one step, and where the kernel cannot, with the old one put aside first."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest

from handlers.files import switch, write_file


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    write_file(tmp_path / "stage" / "file", b"new")
    return tmp_path / "stage"


@pytest.mark.parametrize("kernel", ["exchanges", "refuses", "has no renameat2"])
def test_what_was_there_is_replaced_whole(stage: Path, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = stage.parent / "place"
    write_file(place / "file", b"old")
    write_file(place / "other", b"old")
    if kernel == "refuses":  # as some file systems do: EINVAL
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(renameat2=lambda *_: -1))
    elif kernel == "has no renameat2":
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
    switch(stage, place)
    assert [path.name for path in place.iterdir()] == ["file"]
    assert (place / "file").read_bytes() == b"new"
    left = {path.name for path in stage.parent.iterdir()}
    assert left == ({"place", "stage"} if kernel == "exchanges" else {"place"})  # the caller removes the stage


def test_a_first_one_is_renamed(stage: Path) -> None:
    switch(stage, stage.parent / "place")
    assert [path.name for path in stage.parent.iterdir()] == ["place"]


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "file", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"
