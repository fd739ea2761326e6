"""The folder that TorchServe serves from: nobody else's, kept from cleaners, and made of what was checked."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from export.archive import archive
from handlers.archive import CONFIG, ENTRY, STATEMENT, STUB, TORCH_STUB, model_config
from handlers.bundle import directory, read, write
from handlers.identity import handlers_digest
from serving import store as stores
from serving.listing import Listing
from serving.private_store import PrivateStore
from tests.conftest import Tiny

LIMIT = 33554432


def test_a_model_is_made_of_its_bundle_and_our_handlers(tiny: Tiny, tmp_path: Path) -> None:
    private = PrivateStore(tiny.archive.parent, tmp_path)
    found = private.read(LIMIT)
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
        stores.read(store, LIMIT, into)
    assert list(into.iterdir()) == []


def test_what_a_killed_launcher_left_goes(tiny: Tiny, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = tmp_path / "run"
    (run / "models" / "old").mkdir(parents=True)
    private = PrivateStore(tiny.archive.parent, run)
    private.read(LIMIT)
    assert [path.name for path in private.folder.iterdir()] == ["tiny"]
    assert stat.S_IMODE(private.folder.stat().st_mode) == 0o700
    private.close()
    (run / "models").symlink_to(elsewhere)  # is removed, and not what it leads to
    again = PrivateStore(tiny.archive.parent, run)
    again.read(LIMIT)
    again.close()
    assert list(elsewhere.iterdir()) == []


def test_what_was_read_is_served_whatever_the_store_holds(tiny: Tiny, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    path = store / "tiny.mar"
    path.write_bytes(tiny.archive.read_bytes())
    private = PrivateStore(store, tmp_path / "run")
    assert private.difference() is None
    found = private.read(LIMIT)
    assert private.news() is None
    path.unlink()
    (store / "broken.mar").write_bytes(b"PK")
    assert private.read(LIMIT) is found
    told = private.news()
    assert told is not None
    assert "('broken.mar' is new, 'tiny.mar' is gone)" in told
    assert private.news() is None  # said once
    assert private.difference() == told  # and true for as long
    (store / "broken.mar").unlink()
    assert "'tiny.mar' is gone" in str(private.news())
    private.close()


def test_a_store_that_is_not_read_leaves_nothing(tmp_path: Path) -> None:
    private = PrivateStore(tmp_path / "absent", tmp_path / "run")
    with pytest.raises(stores.StoreError, match="absent holds no archives"):
        private.read(LIMIT)
    private.close()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_run_directory_that_others_may_change_is_told_of(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    run.chmod(0o777)
    private = PrivateStore(tiny.archive.parent, run)
    private.read(LIMIT)
    assert str(private.news()).startswith(
        f"the models that are served lie where others may exchange them: others may write to {run} (mode 0777)"
    )
    assert private.news() is None
    private.close()


def test_a_run_directory_that_takes_nothing_is_an_error(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(stores.StoreError, match=r"file cannot hold the models that are served: .*File exists"):
        PrivateStore(tiny.archive.parent, tmp_path / "file").read(LIMIT)


def test_a_cleaner_that_asks_for_the_lock_does_not_get_it(tiny: Tiny, tmp_path: Path) -> None:
    """As systemd-tmpfiles does before it looks into a folder."""
    private = PrivateStore(tiny.archive.parent, tmp_path)
    private.read(LIMIT)
    cleaner = os.open(private.folder, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    private.close()
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


@pytest.mark.parametrize(
    "taken", ["models", "models/tiny", "models/tiny/bundle/files", "models/tiny/handlers/files.py"]
)
def test_what_was_taken_away_is_put_back(tiny: Tiny, tmp_path: Path, taken: str) -> None:
    private = PrivateStore(tiny.archive.parent, tmp_path)
    private.read(LIMIT)
    assert private.put_back() is None
    before = {path: path.read_bytes() for path in private.folder.rglob("*") if path.is_file()}
    target = tmp_path / taken
    target.unlink() if target.is_file() else shutil.rmtree(target)
    assert private.put_back() == f"files of tiny were removed from {private.folder}: they are put back"
    assert {path: path.read_bytes() for path in private.folder.rglob("*") if path.is_file()} == before
    assert stat.S_IMODE(private.folder.stat().st_mode) == 0o700
    assert private.put_back() is None
    private.close()


def test_another_version_is_not_put_in_its_place(tiny: Tiny, tiny_copy: Path, tmp_path: Path) -> None:
    store = tmp_path / "one"
    store.mkdir()
    (store / "tiny.mar").write_bytes(tiny.archive.read_bytes())
    private = PrivateStore(store, tmp_path / "run")
    private.read(LIMIT)
    other = dataclasses.replace(tiny.bundle.manifest, scope="image:other")
    contents = {spec.path: tiny.bundle.read_file(key) for key, spec in other.files.items()}
    contents[other.certificate.path] = (tiny.bundle.directory / other.certificate.path).read_bytes()
    write(tiny_copy / directory("tiny"), other, contents)
    (store / "tiny.mar").write_bytes(archive("tiny", tmp_path / "two").read_bytes())
    shutil.rmtree(private.folder / "tiny")
    told = private.put_back()
    assert told == (
        f"files of tiny were removed from {private.folder}; the store no longer holds tiny as served: "
        "no next engine of theirs will open"
    )
    assert private.put_back() is None  # said once
    (store / "tiny.mar").unlink()
    assert list(private.folder.iterdir()) == []
    private.close()
