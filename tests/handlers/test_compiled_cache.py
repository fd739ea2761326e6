"""What OpenVINO compiled is kept for the next start: whole or not at all, within a bound, in a folder of one's own."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers.runtimes.compiled_cache import CompiledCache, open_cache
from handlers.runtimes.session import open_session
from tests.conftest import Tiny


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "atelier" / "openvino"


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path)
    assert cache.get("a") is None
    cache.put("a", b"blob")
    assert cache.get("a") == b"blob"
    cache.remove("a")
    assert cache.get("a") is None


@pytest.mark.parametrize("damage", ["cut", "short", "empty", "flipped", "another's", "longer"])
def test_what_is_damaged_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    cache = CompiledCache(tmp_path)
    cache.put("a", b"blob" * 100)
    path = tmp_path / "a.blob"
    data = path.read_bytes()
    damaged = {
        "cut": data[:-1],
        "short": data[:50],
        "empty": b"",
        "flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        "another's": b"\0" * len(data),  # as OpenVINO's own cache once wrote them
        "longer": data + b"x",
    }[damage]
    path.write_bytes(damaged)
    assert cache.get("a") is None
    assert f"the compiled graph {path} is damaged: it is compiled again" in caplog.text
    assert not path.exists()


def test_the_one_that_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path, max_bytes=3000)
    (tmp_path / "1234.blob").write_bytes(bytes(500))  # of an older version of ours
    os.utime(tmp_path / "1234.blob", ns=(0, 0))
    for at, name in enumerate("abc"):
        cache.put(name, bytes(700))
        os.utime(tmp_path / f"{name}.blob", ns=(at + 1, at + 1))
    assert cache.get("a") is not None
    cache.put("d", bytes(700))
    assert {path.stem for path in tmp_path.iterdir()} == {"a", "c", "d"}
    cache.put("e", bytes(1600))  # more than half of it is not kept
    assert cache.get("e") is None
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3000


def test_a_link_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").mkdir()
    cache = CompiledCache(tmp_path / "cache")
    cache.put("a", b"blob")
    (tmp_path / "cache/a.blob").rename(tmp_path / "real")
    (tmp_path / "cache/a.blob").symlink_to(tmp_path / "real")
    assert cache.get("a") is None
    assert "a compiled graph is not used: " in caplog.text


def test_a_file_that_others_may_change_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = CompiledCache(tmp_path)
    cache.put("a", b"blob")
    (tmp_path / "a.blob").chmod(0o666)
    assert cache.get("a") is None
    assert f"others may write to {tmp_path}/a.blob (mode 0666)" in caplog.text


@pytest.mark.parametrize("above", ["atelier/openvino", "atelier", "."])
def test_a_folder_or_parent_that_others_may_change_is_not_used(
    home: Path, caplog: pytest.LogCaptureFixture, above: str
) -> None:
    assert open_cache("openvino") is not None
    folder = home.parent.parent / above
    folder.chmod(0o777)
    caplog.set_level(logging.WARNING)
    assert open_cache("openvino") is None
    assert f"compiled graphs are not kept: others may write to {folder.resolve()} (mode 0777)" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_parent_of_somebody_else_is_not_used(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert open_cache("openvino") is not None
    os.chown(home.parent, 12345, -1)
    assert open_cache("openvino") is None
    assert f"{home.parent} belongs to user 12345" in caplog.text


def test_a_home_that_cannot_be_written_to_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert open_cache("openvino") is None


@pytest.mark.parametrize("damage", [None, "truncate", "flip"])
def test_a_graph_is_the_same_from_the_cache_and_after_damage(
    tiny: Tiny, home: Path, caplog: pytest.LogCaptureFixture, damage: str | None
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install -r requirements/serve.txt")
    spec, data = tiny.bundle.manifest.graphs["generator"], tiny.bundle.read_file("generator-fp32")
    inputs = {
        tensor.name: np.random.default_rng(1)
        .random([size if isinstance(size, int) else 2 for size in tensor.shape])
        .astype(tensor.dtype)
        for tensor in spec.inputs
    }

    def computed() -> dict[str, Any]:
        with open_session("openvino", data, spec, 1) as session:
            return session.run(inputs)

    fresh = computed()
    (blob,) = home.glob("*.blob")
    if damage == "truncate":
        os.truncate(blob, 100)
    elif damage == "flip":
        whole = bytearray(blob.read_bytes())
        whole[len(whole) // 2] ^= 0xFF
        blob.write_bytes(bytes(whole))
    again = computed()
    assert all(np.array_equal(fresh[name], again[name]) for name in fresh)
    assert ("is damaged" in caplog.text) == (damage is not None)
    assert [path.name for path in home.glob("*.blob")] == [blob.name]  # whole again
    caplog.clear()
    computed()
    assert caplog.text == ""
