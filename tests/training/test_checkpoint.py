"""The checkpoint directory: one whole checkpoint at any moment, and a clear word about every kind of damage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from training import checkpoint, files
from training.checkpoint import CheckpointError, Meta


def meta(step: int = 1) -> Meta:
    return Meta(
        recipe="dcgan",
        config={"seed": 0},
        model={},
        step=step,
        seed=0,
        metrics={"swd": 1.5},
        data={"name": "n", "sha256": "s", "licence": "l", "source": "x"},
        git_commit=None,
    )


def save(path: Path, step: int = 1, **assets: bytes) -> Meta:
    model = {
        "w": torch.full((3,), float(step)),
        "channels_last": torch.rand(1, 2, 3, 4).to(memory_format=torch.channels_last),
    }
    return checkpoint.save(path, meta(step), model, {"m": torch.tensor([step])}, assets)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    written = save(tmp_path / "a", 3, tokenizer=b"words")
    loaded, model = checkpoint.load_model(tmp_path / "a")
    assert loaded == written == checkpoint.read(tmp_path / "a")
    assert loaded.step == 3
    assert torch.equal(model["w"], torch.full((3,), 3.0))
    assert torch.equal(checkpoint.load_state(tmp_path / "a")[1]["m"], torch.tensor([3]))
    assert checkpoint.load_asset(tmp_path / "a", "tokenizer") == b"words"


def test_an_opened_checkpoint_is_one_checkpoint(tmp_path: Path) -> None:
    """Everything that is loaded belongs to what was read first; after another save it is missing, and said to be."""
    written = save(tmp_path / "a", 1, words=b"one")
    opened = checkpoint.opened(tmp_path / "a")
    assert checkpoint.opened(opened) is opened
    (tmp_path / "a" / "checkpoint.json").write_text("no longer read")
    assert checkpoint.load_model(opened)[0] == checkpoint.load_state(opened)[0] == written
    assert checkpoint.load_asset(opened, "words") == b"one"
    save(tmp_path / "a", 2, words=b"two")
    with pytest.raises(CheckpointError, match=r"model-\w+\.safetensors is missing"):
        checkpoint.load_model(opened)
    with pytest.raises(CheckpointError, match=r"names no file assets/\*-nothing; it names model-"):
        checkpoint.load_asset(tmp_path / "a", "nothing")


def test_a_new_checkpoint_replaces_the_files_of_the_old_one(tmp_path: Path) -> None:
    save(tmp_path / "a", 1)
    (tmp_path / "a" / ".tmp-123-model").write_bytes(b"left over from a kill")
    written = save(tmp_path / "a", 2)
    names = {str(p.relative_to(tmp_path / "a")) for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert names == {"checkpoint.json", *written.files}
    assert len(names) == 3


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    before = save(path, 1)
    write = files.write

    def fail_at_state(target: Path, data: bytes) -> None:
        if target.name.startswith("state-"):
            raise OSError(28, "No space left on device")
        write(target, data)

    monkeypatch.setattr(files, "write", fail_at_state)
    with pytest.raises(OSError, match=r"step 2 .*No space left on device.*the one before it is whole"):
        save(path, 2)
    assert checkpoint.load_model(path)[0] == before
    assert {p.name for p in path.iterdir()} == {"checkpoint.json", *before.files}


@pytest.mark.parametrize("part", ["model-", "state-"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_damage_is_named(tmp_path: Path, part: str, damage: str) -> None:
    path = tmp_path / "a"
    name = next(name for name in save(path).files if name.startswith(part))
    data = (path / name).read_bytes()
    if damage == "missing":
        (path / name).unlink()
    else:
        changed = data[:-5] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1])
        (path / name).write_bytes(changed)
    load = checkpoint.load_model if part == "model-" else checkpoint.load_state
    word = "is missing" if damage == "missing" else "is damaged"
    with pytest.raises(CheckpointError, match=rf"{name} {word}.*--restart"):
        load(path)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a")
    file = tmp_path / "a" / "checkpoint.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": "atelier-checkpoint/9"}))
    with pytest.raises(
        CheckpointError, match="format 'atelier-checkpoint/9', this version reads 'atelier-checkpoint/1'"
    ):
        checkpoint.read(tmp_path / "a")


def test_a_cut_off_json_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a")
    file = tmp_path / "a" / "checkpoint.json"
    file.write_text(file.read_text()[:-40])
    with pytest.raises(CheckpointError, match=r"is not valid JSON .*--restart"):
        checkpoint.read(tmp_path / "a")


def test_an_extra_field_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a")
    file = tmp_path / "a" / "checkpoint.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"surprise": 1}))
    with pytest.raises(CheckpointError, match="missing or unknown fields: surprise"):
        checkpoint.read(tmp_path / "a")


def test_a_field_of_another_type_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a")
    file = tmp_path / "a" / "checkpoint.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"step": "3"}))
    with pytest.raises(CheckpointError, match=r"checkpoint\.json: step is '3', wanted int"):
        checkpoint.read(tmp_path / "a")


def test_a_missing_checkpoint_lists_the_known_ones(tmp_path: Path) -> None:
    save(tmp_path / "here")
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*there.*--name there.*checkpoints here: here"):
        checkpoint.read(tmp_path / "there")
