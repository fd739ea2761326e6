"""Whose a file is, and who may change it: the rules of ssh, with the groups that many systems give every user."""

from __future__ import annotations

import grp
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from handlers import ownership
from handlers.ownership import OwnershipError, check_owner, check_place


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """This user's group, as a test changes it."""
    entry = SimpleNamespace(gr_name="root", gr_mem=[])
    monkeypatch.setattr(grp, "getgrgid", lambda _: entry)
    ownership._ours_alone.cache_clear()
    return entry


def check(path: Path, mode: int) -> None:
    path.chmod(mode)
    os.chown(path, -1, os.getegid())
    check_owner(path, path.stat())


def test_a_group_of_ones_own_may_write(tmp_path: Path, group: SimpleNamespace) -> None:
    check(tmp_path, 0o770)


@pytest.mark.parametrize(("name", "members"), [("root", ["root", "mallory"]), ("staff", []), ("users", ["root"])])
def test_a_group_of_several_may_not(tmp_path: Path, group: SimpleNamespace, name: str, members: list[str]) -> None:
    group.gr_name, group.gr_mem = name, members
    with pytest.raises(
        OwnershipError, match=rf"others may write to {tmp_path} \(mode 0770\), .*: chmod go-w '{tmp_path}"
    ):
        check(tmp_path, 0o770)
    check(tmp_path, 0o750)


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o644, 0o500, 0o444])
def test_what_others_may_read_is_well(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    check_owner(path, path.stat())


def test_every_folder_above_counts_where_a_link_leads(tmp_path: Path) -> None:
    real = tmp_path / "above" / "real"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    check_place(tmp_path / "link")
    (tmp_path / "above").chmod(0o777)
    with pytest.raises(OwnershipError, match=f"others may write to {tmp_path}/above .*in the place of {real}: chmod"):
        check_place(tmp_path / "link")
    (tmp_path / "above").chmod(0o1777)  # nobody can take a name away there
    check_place(tmp_path / "link")
    real.chmod(0o1777)  # but can add one
    with pytest.raises(OwnershipError, match=f"others may write to {real} "):
        check_place(tmp_path / "link")


def test_a_place_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_place(tmp_path / "absent")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_the_code_may_own_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout of user 1000 that is mounted into a container whose user is root."""
    store = tmp_path / "store"
    store.mkdir()
    for path in (tmp_path, store):
        os.chown(path, 12345, -1)
    with pytest.raises(OwnershipError, match=f"{store} belongs to user 12345, wanted this one"):
        check_place(store)
    code = tmp_path / "code.py"
    code.touch()
    os.chown(code, 12345, -1)
    monkeypatch.setattr(ownership, "CODE", code)
    check_place(store)
