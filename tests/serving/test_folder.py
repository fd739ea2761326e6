"""The private folder of a run: known by the next start, whenever its launcher was killed, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from serving.folder import MARK, PREFIX, PrivateFolder, clear_left
from serving.processes import alive
from tests.conftest import ROOT
from tests.support.server import eventually

HOLDS = "from serving.folder import PrivateFolder; import time; f = PrivateFolder(); print(f.path, flush=True); "
CHILD = """
import os, subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); "
     "time.sleep(600)"],
    env={"TMPDIR": str(f.path / "tmp")}, stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_killed_launchers_folder_and_processes_are_cleared_away(place: Path) -> None:
    """Its JVM may hang in its own shutdown, for ever."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS + CHILD],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(place)},
    ) as holder:
        assert holder.stdout is not None
        folder, child = Path(holder.stdout.readline().strip()), int(holder.stdout.readline())
        (folder / "tmp").mkdir()
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
        assert clear_left([place]) == []  # it lives
        assert folder.is_dir()
        holder.kill()
        holder.wait()
        assert alive(child)
        assert clear_left([place]) == [folder]
    assert not folder.exists()
    eventually(lambda: not alive(child), 60, "the process outlived its folder")


def test_killed_before_its_mark_it_is_cleared_while_it_is_empty(place: Path) -> None:
    empty, full = place / f"{PREFIX}a", place / f"{PREFIX}b"
    for folder in (empty, full):
        folder.mkdir(mode=0o700)
    (full / "checkout.txt").touch()  # somebody's own, of that name
    assert clear_left([place]) == [empty]
    assert [path.name for path in place.iterdir()] == [full.name]


def test_what_is_not_ours_stays(place: Path) -> None:
    elsewhere = place / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / MARK).touch()
    (place / f"{PREFIX}link").symlink_to(elsewhere)
    (place / f"{PREFIX}open").mkdir(mode=0o755)
    (place / f"{PREFIX}open" / MARK).touch()
    (place / f"{PREFIX}file").touch()
    (place / "atelier-2").mkdir(mode=0o700)
    (place / "atelier-2" / MARK).touch()
    assert clear_left([place, place / "nowhere"]) == []
    assert len(list(place.iterdir())) == 5


def test_a_cleaned_folder_is_put_back_with_its_lock(place: Path) -> None:
    folder = PrivateFolder()
    subprocess.run(["rm", "-rf", str(folder.path)], check=True)
    folder.put_back()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert clear_left([place]) == []
    folder.remove()
    assert not list(place.iterdir())


def test_a_folder_that_somebody_else_put_in_its_place_is_not_used(place: Path) -> None:
    folder = PrivateFolder()
    subprocess.run(["rm", "-rf", str(folder.path)], check=True)
    folder.path.mkdir(mode=0o777)
    folder.path.chmod(0o777)
    with pytest.raises(PermissionError, match="was removed and made again by somebody else: remove it, or stop"):
        folder.put_back()
    folder.remove()


def test_a_folder_that_another_start_took_for_a_left_one_is_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, mkdtemp = [], tempfile.mkdtemp

    def and_cleared(prefix: str) -> str:
        path = mkdtemp(prefix=prefix)
        made.append(path)
        if len(made) == 1:
            assert clear_left([place]) == [Path(path)]
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", and_cleared)
    folder = PrivateFolder()
    assert str(folder.path) == made[1]
    folder.remove()
