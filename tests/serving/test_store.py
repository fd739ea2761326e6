"""The store is checked before anything is started."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest

from export.archive import archive
from handlers import bundle as bundles
from serving import store as stores
from serving.__main__ import main
from serving.store import Store, StoreError
from tests.conftest import Tiny

LIMIT = 33554432


def read(folder: Path, max_response_bytes: int = LIMIT) -> Store:
    """The store, its models unpacked beside it."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as into:
        return stores.read(folder, max_response_bytes, Path(into))


def test_a_whole_store_is_read(store: Path) -> None:
    found = read(store)
    assert sorted(model.manifest.name for model in found.models) == ["text", "tight", "tiny"]
    assert all(len(model.version) == 12 for model in found.models)
    assert found.problem is None


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_a_store_without_archives(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=f"{folder} holds no archives; make one with `python -m export archive NAME`"):
        read(tmp_path / folder)


def test_a_folder_without_handlers_serves_nothing(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent holds no handlers .*: name a folder like handlers/ by --handlers"):
        stores.read(tiny.archive.parent, LIMIT, tmp_path, tmp_path / "absent")


def test_a_broken_archive_is_refused_by_name_and_the_rest_is_served(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copy(tiny.archive, tmp_path)
    (tmp_path / "broken.mar").write_bytes(tiny.archive.read_bytes()[:5000])
    found = read(tmp_path)
    assert [model.manifest.name for model in found.models] == ["tiny"]
    assert list(found.refused) == ["broken.mar"]
    assert "broken.mar is no whole archive" in found.refused["broken.mar"]
    assert str(found.problem).startswith("broken.mar is refused: ")


def test_a_store_of_broken_archives_alone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.mar").write_bytes(b"PK")
    with pytest.raises(StoreError, match=r"broken\.mar is refused: .*broken\.mar is no whole archive"):
        read(tmp_path)


def test_a_flipped_byte_inside_an_archive_is_found(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / tiny.archive.name
    with zipfile.ZipFile(tiny.archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = bytearray(old.read(name))
            if name.endswith(".onnx"):
                data[len(data) // 2] ^= 1
            new.writestr(name, bytes(data))
    assert main(["up", "--model-store", str(tmp_path), "--run-dir", str(tmp_path / "run")]) == 1
    message = capsys.readouterr().err
    assert "generator-fp32.onnx is damaged" in message
    assert not (tmp_path / "run" / "torchserve.log").exists()  # TorchServe was not started


def test_two_archives_of_one_model_are_both_refused(tiny: Tiny, tiny_text: Tiny, tmp_path: Path) -> None:
    shutil.copy(tiny.archive, tmp_path)
    shutil.copy(tiny.archive, tmp_path / "again.mar")
    shutil.copy(tiny_text.archive, tmp_path)
    found = read(tmp_path)
    assert [model.manifest.name for model in found.models] == ["text"]
    assert found.refused["again.mar"] == f"{tiny.archive.name} serves 'tiny' too: remove the one you do not want"
    assert tiny.archive.name in found.refused


def test_answers_must_fit_the_front_end(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copy(tiny.archive, tmp_path)
    with pytest.raises(
        StoreError, match=r"may answer with 16777216 bytes, config\.properties allows 1000000: raise max_resp"
    ):
        read(tmp_path, 1_000_000)


def test_a_model_that_wants_two_workers_is_refused(tiny: Tiny, tiny_copy: Path, tiny_text: Tiny) -> None:
    manifest = tiny.bundle.manifest
    contents = {spec.path: tiny.bundle.read_file(key) for key, spec in manifest.files.items()}
    contents[manifest.certificate.path] = (tiny.bundle.directory / manifest.certificate.path).read_bytes()
    two = dataclasses.replace(manifest, resources=dataclasses.replace(manifest.resources, workers=2))
    bundles.write(tiny_copy / bundles.directory("tiny"), two, contents)
    store = tiny_copy / "two"
    path = archive("tiny", store)
    with pytest.raises(StoreError, match="it wants 2 workers, the launcher can hold, drain and watch 1: build it with"):
        read(store)
    shutil.copy(tiny_text.archive, store)
    found = read(store)
    assert [model.manifest.name for model in found.models] == ["text"]
    assert list(found.refused) == [path.name]


def test_short_memory_is_told_with_numbers(store: Path) -> None:
    models = read(store).models
    with pytest.raises(StoreError, match=r"memory is short: 500 MB are free, 1100 MB are needed .*tight 250 MB"):
        stores.check_memory(models, available_mb=500)
    stores.check_memory(models, available_mb=1100)


def test_a_limit_of_the_control_group_is_heeded_and_named(store: Path, tmp_path: Path) -> None:
    models = read(store).models
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "proc/self/mountinfo").write_text("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (group / "memory.max").write_text(f"{600 * 2**20}\n")
    (group / "memory.current").write_text(f"{500 * 2**20}\n")
    (group / "memory.stat").write_text(f"inactive_file {450 * 2**20}\nactive_file 0\n")
    wanted = (
        r"memory is short: 550 MB are free under the limit of 600 MB \(/sys/fs/cgroup/memory.max\), 1100 MB are needed "
        r".*; stop something, raise that limit, or move archives out of the store"
    )
    with pytest.raises(StoreError, match=wanted):
        stores.check_memory(models, root=tmp_path)
    (group / "memory.max").write_text(f"{2**31}\n")
    stores.check_memory(models, available_mb=1100, root=tmp_path)
