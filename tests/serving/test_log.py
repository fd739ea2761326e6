"""The server's log: this user's alone, bounded, read from where this start began, harmless to a terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving import log as logs
from serving.log import TAIL_BYTES, ServerLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "torchserve.log"


def write(log: ServerLog, data: bytes) -> None:
    """As one start of a server does."""
    descriptor = log.open()
    os.write(descriptor, data)
    os.close(descriptor)


def test_the_run_before_is_kept_aside_and_every_start_begins_behind_the_last(path: Path) -> None:
    write(ServerLog(path), b"of yesterday\n")
    path.chmod(0o644)  # as older versions made it
    log = ServerLog(path)
    write(log, b"of the first start\n")
    write(log, b"of the second\n")
    assert log.tail() == f"  of the second\n(whole log: {path})"
    assert path.read_bytes() == b"of the first start\nof the second\n"
    assert path.with_name("torchserve.log.1").read_bytes() == b"of yesterday\n"
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_it_stays_bounded_while_its_writer_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 1000)
    log = ServerLog(path)
    descriptor = log.open()
    for number in range(100):
        os.write(descriptor, b"%099d\n" % number)
        log.bound()
        assert sum(file.stat().st_size for file in path.parent.iterdir()) <= 2100
    os.write(descriptor, b"after it was cut\n")
    os.close(descriptor)
    assert log.tail(2).split("\n")[1] == "  after it was cut"
    assert len(list(path.parent.iterdir())) == 2
    assert path.with_name("torchserve.log.1").read_bytes().endswith(b"98\n")  # nothing between the two is lost


def test_it_stays_bounded_when_somebody_removed_its_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 1000)
    log = ServerLog(path)
    descriptor = log.open()
    path.unlink()
    for _ in range(100):
        os.write(descriptor, b"x" * 100)
        log.bound()
        assert os.fstat(descriptor).st_size <= 1000
    os.close(descriptor)


def test_on_a_full_disk_it_is_cut_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 10)
    log = ServerLog(path)
    write(log, b"more than ten bytes\n")
    real = logs._private

    def full(place: Path, how: int) -> int:
        if place != path:
            raise OSError(28, "No space left on device")
        return real(place, how)

    monkeypatch.setattr(logs, "_private", full)
    log.bound()
    assert path.stat().st_size == 0
    assert log.tail() == f"(whole log: {path})"


def test_a_tail_is_short_whatever_is_in_the_log(path: Path) -> None:
    log = ServerLog(path)
    write(log, b"a line\n" * 1_000_000 + b"x" * TAIL_BYTES)
    shown = log.tail()
    assert len(shown) < 1000
    assert log.tail(40).split("\n")[0] == "  " + "x" * logs.MAX_LINE
    assert ServerLog(path).tail() == f"(whole log: {path})"


def test_words_of_callers_do_not_reach_a_terminal_as_commands(path: Path) -> None:
    log = ServerLog(path)
    write(log, "Bad string: '\x1b[2J\x1b]0;owned\x07 \x9b31m \r forged\u2028line \u202e'\n".encode())
    shown = log.tail().split("\n")
    assert len(shown) == 2
    assert all(character.isprintable() for character in shown[0])
    assert shown[0].startswith("  Bad string: ' [2J ]0;owned")


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    log = ServerLog(path)
    write(log, b"begun\n")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        log.open()
    assert not (tmp_path / "elsewhere").exists()
