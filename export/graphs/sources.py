"""Encoders of text as graphs, with their inputs: recurrent ones read tokens, a BERT word pieces, too.

Dimensions: B sources, S tokens, P word pieces, H hidden, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from export.decode import MULTIPLE, up
from handlers.engine.reader import TOGETHER
from handlers.graph_spec import TensorSpec
from training.encoding import align
from training.models.seq2seq import ModelConfig, Seq2Seq
from training.seq2seq_checkpoint import Trained

TOKENS = TensorSpec("tokens", "int64", ("batch", "source"))
LENGTHS = TensorSpec("lengths", "int64", ("batch",))


class EncoderGraph(nn.Module):
    """A recurrent encoder, for the exporter."""

    def __init__(self, network: Seq2Seq) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """tokens (B, S), lengths (B,) -> memory (B, S, H), first states (B, L, H)."""
        return self.network.encode(tokens, lengths)


class BertGraph(nn.Module):
    """A BERT encoder, for the exporter."""

    def __init__(self, network: Seq2Seq) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, pieces: Tensor, piece_lengths: Tensor, at: Tensor) -> tuple[Tensor, ...]:
        """tokens (B, S), pieces (B, P), piece_lengths (B,), at (B, S) -> memory (B, S, H), first states (B, L, H)."""
        return self.network.encode(tokens, piece_lengths, pieces, piece_lengths, at)  # lengths of tokens are not read


def encoder_graph(network: Seq2Seq) -> nn.Module:
    """The network's encoder as the module that is exported."""
    return EncoderGraph(network) if network.config.encoder == "recurrent" else BertGraph(network)


def encoder_inputs(config: ModelConfig) -> tuple[TensorSpec, ...]:
    """The inputs of `encoder_graph`, in order."""
    if config.encoder == "recurrent":
        return TOKENS, LENGTHS
    pieces = TensorSpec("pieces", "int64", ("batch", "pieces"))
    return TOKENS, pieces, TensorSpec("piece_lengths", "int64", ("batch",)), TensorSpec("at", "int64", TOKENS.shape)


def free_sizes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Free dimensions of the encoder, by name: the step they grow by, and the most, in positions."""
    sizes = {"source": (MULTIPLE, up(config.max_source))}
    return sizes if config.bert_shape is None else {**sizes, "pieces": (MULTIPLE, up(config.bert_shape.positions))}


def limits_of(config: ModelConfig) -> dict[str, int]:
    """Further limits of a source where a BERT reads it: word pieces, and the pieces that its tokenizer may know."""
    shape = config.bert_shape
    return {} if shape is None else {"max_pieces": shape.positions, "source_vocabulary": shape.vocabulary}


def reading_mb(config: ModelConfig) -> int:
    """Memory of a BERT's layers while it reads, in MB: scores before and after the softmax, and the widest rows."""
    shape = config.bert_shape
    if shape is None:
        return 0
    P = up(shape.positions)
    return 4 * TOGETHER * P * (2 * shape.heads * P + 4 * shape.intermediate) // 2**20


def is_too_long(model: Trained, turns: Sequence[str]) -> bool:
    """Whether a source has more tokens or word pieces than the model reads."""
    shape, most = model.network.config.bert_shape, model.network.config.max_source
    if model.words is None or shape is None:
        return len(model.tokens.encode_turns(turns)) > most
    ids, pieces, _ = align(model.tokens, model.words, turns)
    return len(ids) > most or len(pieces) > shape.positions
