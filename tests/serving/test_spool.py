"""The spool as the launcher prepares it: one folder for gateway and engines, this user's alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway import spool_folder
from serving.spool import default_folder, prepare


@pytest.mark.parametrize("runtime", ["there", "gone", None])
def test_launcher_and_gateway_have_the_same_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str | None
) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if runtime is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / runtime))
    assert default_folder() == spool_folder.default_folder()
    if runtime == "there":
        assert default_folder() == tmp_path / "there" / "atelier-spool"
    else:
        assert default_folder().name == f"atelier-spool-{os.geteuid()}"


def test_a_folder_is_made_for_this_user_alone_and_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = prepare(Path("below/spool"))
    assert made == tmp_path / "below" / "spool"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    (made / "kept").touch()
    assert prepare(made) == made
    assert (made / "kept").exists(), "another gateway's file went"


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o750)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(prepare(tmp_path / "own"))
    for name in ("open", "file", "link"):
        with pytest.raises(OSError, match=rf"uploads cannot lie in {tmp_path}/{name} .*nobody else can enter: `chmod"):
            prepare(tmp_path / name)
