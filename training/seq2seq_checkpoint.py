"""A sequence-to-sequence network in a checkpoint: the only writer and reader of the assets beside its weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from training.checkpoint import Checkpoint, CheckpointError, Meta, load_asset, opened
from training.data import Pair
from training.encoding import Task
from training.models.seq2seq import ModelConfig, Seq2Seq
from training.state import load_network
from training.tokenizer import ASSET, SOURCE_ASSET, BytePairTokenizer, TokenizerError, WordPieceTokenizer

HELD_OUT = "held_out.json"  # asset: pairs that the export stage measures variants with
KEPT = 256  # of them


class Trained(nn.Module):
    """The network with its tokenizers, its task, and held-out pairs to measure it with."""

    def __init__(
        self,
        network: Seq2Seq,
        tokens: BytePairTokenizer,
        task: Task,
        held_out: Sequence[Pair],
        words: WordPieceTokenizer | None = None,
    ) -> None:
        super().__init__()
        self.network, self.tokens, self.task, self.held_out, self.words = network, tokens, task, tuple(held_out), words


def assets(tokens: BytePairTokenizer, words: WordPieceTokenizer | None, held_out: Sequence[Pair]) -> dict[str, bytes]:
    """The files that belong to a network, by name: its tokenizer, that of its BERT, and the first held-out pairs."""
    pairs = json.dumps([dataclasses.asdict(pair) for pair in held_out[:KEPT]], ensure_ascii=False).encode()
    return {ASSET: tokens.data, HELD_OUT: pairs} | ({SOURCE_ASSET: words.data} if words else {})


def load(source: Path | Checkpoint) -> tuple[Meta, Trained]:
    """The network of a checkpoint in evaluation mode, and all that is needed to use it. Raises `CheckpointError`."""
    found = opened(source)
    meta, network = load_network(found, lambda model: Seq2Seq(ModelConfig.of(model)))
    tokens, words = load_tokenizers(found)
    if tokens.scored != network.config.vocabulary:
        raise CheckpointError(
            f"{found.path}: the tokenizer has {tokens.size} tokens, the network scores {network.config.vocabulary}; "
            "train again with --restart"
        )
    pairs = [Pair(tuple(raw["source"]), raw["target"]) for raw in json.loads(load_asset(found, HELD_OUT))]
    return meta, Trained(network, tokens, meta.config["task"], pairs, words).eval()


def load_tokenizers(found: Checkpoint) -> tuple[BytePairTokenizer, WordPieceTokenizer | None]:
    """The tokenizer of a checkpoint, and that of its BERT if it has one.

    Raises `CheckpointError` where a BERT and its tokenizer do not fit.
    """
    tokens = BytePairTokenizer(load_asset(found, ASSET))
    shape = ModelConfig.of(found.meta.model).bert_shape
    if shape is None:
        return tokens, None
    try:
        return tokens, WordPieceTokenizer(load_asset(found, SOURCE_ASSET), shape.vocabulary)
    except TokenizerError as error:
        raise CheckpointError(f"{found.path}: {error}; train again with --restart") from None
