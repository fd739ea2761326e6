"""The folder that TorchServe serves from: nobody else's, kept from cleaners, and made of what was checked."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
from pathlib import Path

import pytest

from handlers.archive import CONFIG, ENTRY, STATEMENT, STUB, TORCH_STUB, model_config
from handlers.bundle import read
from handlers.identity import handlers_digest
from handlers.ownership import OwnershipError
from serving import store as stores
from serving.listing import Listing
from serving.private_store import PrivateStore, hold
from serving.state import STATE, only_one
from tests.conftest import Tiny


def test_a_model_is_made_of_its_bundle_and_our_handlers(tiny: Tiny, tmp_path: Path) -> None:
    private = PrivateStore(tmp_path)
    found = stores.read(tiny.archive.parent, 33554432, private.folder)
    (folder,) = private.folder.iterdir()
    assert folder.name == "tiny"
    assert {path.name for path in folder.iterdir()} == {"MAR-INF", "bundle", "handlers", CONFIG, ENTRY, STUB}
    assert read(folder / "bundle").digest == tiny.bundle.digest
    assert handlers_digest(folder / "handlers") == handlers_digest()
    model = json.loads((folder / STATEMENT).read_text())["model"]
    assert (model["modelName"], model["modelVersion"]) == ("tiny", found.models[0].version)
    assert (folder / CONFIG).read_text() == model_config(tiny.bundle.manifest.resources)
    assert (folder / STUB).read_text() == TORCH_STUB
    private.close()
    assert not private.folder.exists()


def test_nothing_of_a_refused_archive_is_left(tiny: Tiny, tmp_path: Path) -> None:
    store, into = tmp_path / "store", tmp_path / "into"
    store.mkdir()
    into.mkdir()
    for name in ("a.mar", "b.mar"):  # whole ones, of one model
        (store / name).write_bytes(tiny.archive.read_bytes())
    with pytest.raises(stores.StoreError, match="serves 'tiny' too"):
        stores.read(store, 33554432, into)
    assert list(into.iterdir()) == []


def test_what_a_killed_launcher_left_goes(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = tmp_path / "run"
    (run / "models" / "old").mkdir(parents=True)
    private = PrivateStore(run)
    assert list(private.folder.iterdir()) == []
    assert stat.S_IMODE(private.folder.stat().st_mode) == 0o700
    private.close()
    (run / "models").symlink_to(elsewhere)  # is removed, and not what it leads to
    PrivateStore(run).close()
    assert elsewhere.is_dir()


def test_a_run_directory_that_others_may_change_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(OwnershipError, match=f"others may write to {tmp_path} "):
        PrivateStore(tmp_path)


def test_a_cleaner_that_asks_for_the_lock_does_not_get_it(tmp_path: Path) -> None:
    """As systemd-tmpfiles does before it looks into a folder."""
    descriptor = hold(tmp_path)
    cleaner = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(cleaner)


def test_a_changed_store_is_told_by_name(tmp_path: Path) -> None:
    for name in ("a.mar", "b.mar", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    listing = Listing.of(tmp_path)
    (tmp_path / "notes.txt").unlink()
    assert listing.difference() is None
    (tmp_path / "a.mar").unlink()
    (tmp_path / "c.mar").write_bytes(b"x")
    (tmp_path / "b.mar").write_bytes(b"other")
    assert listing.difference() == (
        f"the store {tmp_path} no longer holds what is served ('c.mar' is new, 'a.mar' is gone, "
        "'b.mar' was written again): a stop and a start serve what it holds"
    )
    for number in range(9):
        (tmp_path / f"{number}.mar").write_bytes(b"")
    assert "and 7 more): a stop" in str(listing.difference())
    assert str(Listing(tmp_path / "absent", listing.archives).difference()).count("is gone") == 2


@pytest.mark.parametrize("kind", ["whole", "elsewhere", "mode", "name", "link", "owner"])
def test_only_a_folder_of_a_run_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A state file names a folder that its launcher left; anybody may have written that file."""
    temporary, run = tmp_path / "temporary", tmp_path / "run"
    temporary.mkdir()
    run.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    parent = tmp_path if kind == "elsewhere" else temporary
    folder = parent / ("mine-2" if kind == "name" else "atelier-2")
    real = tmp_path / "real" if kind == "link" else folder
    real.mkdir(mode=0o755 if kind == "mode" else 0o700)
    (real / "work").write_bytes(b"x")
    if kind == "link":
        folder.symlink_to(real)
    if kind == "owner":
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    (run / STATE).write_text(json.dumps({"folder": str(folder)}))
    with only_one(run):
        assert (real / "work").exists() == (kind != "whole")
        assert not (run / STATE).exists()


@pytest.mark.parametrize("state", ["[]", '{"folder": 7}', "7", "null", '{"folder": null}'])
def test_a_state_file_of_something_else_stops_no_start(tmp_path: Path, state: str) -> None:
    (tmp_path / STATE).write_text(state)
    with only_one(tmp_path):
        pass
