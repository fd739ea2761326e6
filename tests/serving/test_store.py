"""The store is checked before anything is started."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from serving import store as stores
from serving.__main__ import main
from serving.store import StoreError
from tests.conftest import Tiny

LIMIT = 33554432


def test_a_whole_store_is_read(store: Path) -> None:
    models = stores.read(store, LIMIT)
    assert sorted(model.manifest.name for model in models) == ["tight", "tiny"]
    assert all(len(model.version) == 12 for model in models)


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_a_store_without_archives(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=f"{folder} holds no archives; make one with `python -m export archive NAME`"):
        stores.read(tmp_path / folder, LIMIT)


def test_a_broken_archive_is_named_with_a_remedy(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copy(tiny.archive, tmp_path)
    (tmp_path / "broken.mar").write_bytes(tiny.archive.read_bytes()[:5000])
    with pytest.raises(
        StoreError, match=r"broken\.mar is no whole archive .*or remove the file to serve the other models"
    ):
        stores.read(tmp_path, LIMIT)


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


def test_two_archives_of_one_model_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copy(tiny.archive, tmp_path)
    shutil.copy(tiny.archive, tmp_path / "again.mar")
    with pytest.raises(StoreError, match=r"again\.mar and .* both serve 'tiny': remove the one you do not want"):
        stores.read(tmp_path, LIMIT)


def test_answers_must_fit_the_front_end(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copy(tiny.archive, tmp_path)
    with pytest.raises(
        StoreError, match=r"may answer with 16777216 bytes, config\.properties allows 1000000: raise max_resp"
    ):
        stores.read(tmp_path, 1_000_000)


def test_short_memory_is_told_with_numbers(store: Path) -> None:
    models = stores.read(store, LIMIT)
    with pytest.raises(StoreError, match=r"memory is short: 500 MB are free, 850 MB are needed .*tight 250 MB"):
        stores.check_memory(models, available_mb=500)
    stores.check_memory(models, available_mb=850)
