"""Sequence to sequence with attention: an encoder of the source, and a recurrent decoder of the target, token by token.

The encoder reads in both directions (Bahdanau, Cho, Bengio 2014, arXiv:1409.0473). The decoder attends to every
position of the source and is fed with the result (Luong, Pham, Manning 2015, arXiv:1508.04025: the "general" score of
section 3.1, input feeding of section 3.3). A token is either chosen from the vocabulary or copied from where the
decoder attends (See, Liu, Manning 2017, arXiv:1704.04368, section 2.2): without that, names and numbers are learned
only after thousands of steps of guessing them. `forward` is for training, `encode` and `step` are the same network as
exported.

Dimensions: B batch, S source tokens, T target tokens, E embedding, H hidden, L layers, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from training import checks
from training.models.bert import BertEncoder, BertShape
from training.models.cells import CELLS, State
from training.models.masks import FAR, within
from training.seeding import seeded

PAD, BEGIN, END, TURN = 0, 1, 2, 3  # the special tokens of every vocabulary
LEAST = 1e-7  # probability of anything: its logarithm is finite, also in half precision


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network."""

    vocabulary: int = 8000
    """tokens of the tokenizer at most: a small corpus gives fewer"""
    embedding: int = 256
    """width of the vector a token is looked up as"""
    hidden: int = 512
    """width of every layer; in the encoder half of it reads in either direction"""
    layers: int = 2
    """recurrent layers of encoder and decoder"""
    dropout: float = 0.5
    """share of the embeddings and of a layer's outputs that is dropped in training"""
    cell: Literal["lstm", "gru"] = "lstm"
    """the recurrent cell of encoder and decoder"""
    max_source: int = 512
    """tokens of a source that are read at most"""
    max_target: int = 64
    """tokens of a target that are learned at most"""
    encoder: Literal["recurrent", "bert"] = "recurrent"
    """reads the source: recurrent layers that are learned from nothing, or a BERT that was taught elsewhere"""
    frozen: bool = True
    """whether that BERT stays as it is; else it is learned further"""
    bert_shape: BertShape | None = None
    """the sizes of that BERT, from its directory"""

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """The config that `dataclasses.asdict` wrote."""
        shape = raw.get("bert_shape")
        return cls(**{**raw, "bert_shape": None if shape is None else BertShape(**shape)})

    def __post_init__(self) -> None:
        checks.at_least(self, vocabulary=260, embedding=1, hidden=2, layers=1, max_source=8, max_target=2)
        if self.hidden % 2:
            raise checks.refuse("hidden", self.hidden, "an even number: either direction reads with half of it")
        checks.less_than_one(self, "dropout")


def _picked(rows: Tensor, positions: Tensor) -> Tensor:
    """rows (B, S, N), positions (B, P) -> (B, P, N)."""
    return torch.gather(rows, 1, positions[:, :, None].expand(-1, -1, rows.shape[2]))


class Encoder(nn.Module):
    """Source tokens -> memory (B, S, H), one vector a position, and a summary of every layer (B, L, H).

    A row is turned around within its own length, so nothing that is no padding depends on the padding. That holds with
    packed sequences, which skip the padding, and without: on CPUs fused kernels are faster than packing, which does not
    export, either.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.embedding, padding_idx=PAD)
        self.dropout = nn.Dropout(config.dropout)
        widths = [config.embedding, *[config.hidden] * (config.layers - 1)]
        sequence = CELLS[config.cell].sequence
        self.forwards, self.backwards = (
            nn.ModuleList(sequence(width, config.hidden // 2, batch_first=True) for width in widths) for _ in range(2)
        )

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, S), lengths (B,) at least 1 -> memory, summaries."""
        positions, last = torch.arange(tokens.shape[1], device=tokens.device)[None, :], (lengths - 1)[:, None]
        around = torch.where(positions < lengths[:, None], last - positions, positions)  # (B, S), its own inverse
        rows, summaries = self.embedding(tokens), []
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            rows = self.dropout(rows)
            there, back = read(forwards, rows, lengths), read(backwards, _picked(rows, around), lengths)
            summaries.append(torch.cat([_picked(there, last)[:, 0], _picked(back, last)[:, 0]], dim=1))
            rows = torch.cat([there, _picked(back, around)], dim=2)  # (B, S, H)
        return rows, torch.stack(summaries, dim=1)


def read(layer: nn.Module, rows: Tensor, lengths: Tensor, packed: bool | None = None) -> Tensor:
    """rows (B, S, N) -> outputs (B, S, H/2) of a recurrent layer; packed by default where that is faster, on CUDA."""
    if not (rows.is_cuda if packed is None else packed):
        return layer(rows)[0]  # type: ignore[no-any-return]
    bundle = pack_padded_sequence(rows, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer(bundle)[0], batch_first=True, total_length=rows.shape[1])[0]


def _encoder(config: ModelConfig) -> Encoder | BertEncoder:
    if config.encoder == "recurrent":
        return Encoder(config)
    if config.bert_shape is None:
        raise ValueError("encoder is bert, but its bert_shape is None: read its directory first")
    embedding = nn.Embedding(config.vocabulary, config.embedding, padding_idx=PAD)
    return BertEncoder(config.bert_shape, config.frozen, embedding, config.hidden, config.layers, config.dropout)


class Seq2Seq(nn.Module):
    """Encoder, bridge and decoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        H, kinds = config.hidden, len(CELLS[config.cell].states)
        self.encoder = _encoder(config)
        self.bridge = nn.Linear(H, kinds * H)  # a layer's summary -> the decoder's first state in that layer
        self.embedding = nn.Embedding(config.vocabulary, config.embedding, padding_idx=PAD)
        self.recurrent = CELLS[config.cell].sequence(config.embedding + H, H, config.layers)  # it holds the weights
        self.query = nn.Linear(H, H, bias=False)
        self.mix = nn.Linear(2 * H, H)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(H, config.vocabulary)
        self.copy = nn.Linear(H, 1)  # how much of the next token is copied
        self._init_weights()

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor, forced: Tensor, *more: Tensor) -> Tensor:
        """source (B, S), lengths (B,), target (B, T) that begins with BEGIN -> logits (B, T, V) of each next token.

        `more` are further inputs of the encoder. `forced` (B, T) bool says where the decoder reads the target's token;
        elsewhere it reads its own likeliest one, as it will when it writes (Bengio 2015, arXiv:1506.03099: scheduled
        sampling). No gradient goes through that choice.
        """
        memory, *first = self.encode(source, lengths, *more)
        state, inside = tuple(first), within(lengths, source.shape[1])
        feed = memory.new_zeros(len(source), self.config.hidden)
        token = target[:, 0]
        fed: list[tuple[Tensor, Tensor]] = []
        logits: list[Tensor] = []
        every = bool(forced.all())
        for step in range(target.shape[1]):
            if step and not every:
                token = torch.where(forced[:, step], target[:, step], logits[-1].detach().argmax(dim=1))
            elif step:
                token = target[:, step]
            feed, weights, state = self._advance(token, feed, memory, inside, state)
            if every:
                fed.append((feed, weights))
            else:
                logits.append(self._score(feed, weights, source))
        if not every:
            return torch.stack(logits, dim=1)
        feeds, looked = (torch.stack(parts, dim=1) for parts in zip(*fed, strict=True))
        return self._score(feeds, looked, source[:, None].expand(-1, target.shape[1], -1))

    def encode(self, tokens: Tensor, lengths: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """tokens (B, S), lengths (B,), further inputs of the encoder -> memory (B, S, H), first states (B, L, H)."""
        memory, summaries = self.encoder(tokens, lengths, *more)
        return memory, *self._first_state(summaries)

    def step(
        self, token: Tensor, feed: Tensor, tokens: Tensor, memory: Tensor, lengths: Tensor, state: State
    ) -> tuple[Tensor, ...]:
        """Read a token (B,): logits (B, V), attention weights (B, S), next feed (B, H), next state (B, L, H) each.

        feed (B, H) is zeros at first; tokens (B, S) are the source's, memory (B, S, H) and lengths (B,) the encoder's,
        state (B, L, H) each. Logits are log-probabilities.
        """
        feed, weights, after = self._advance(token, feed, memory, within(lengths, memory.shape[1]), state)
        return self._score(feed, weights, tokens), weights, feed, *after

    def _score(self, feed: Tensor, weights: Tensor, tokens: Tensor) -> Tensor:
        """feed (..., H), weights (..., S), the source's tokens (..., S) -> log-probabilities (..., V)."""
        chosen = torch.softmax(self.output(self.dropout(feed)).float(), dim=-1)
        gate = self.copy(feed).float()
        # sigmoid(-gate), not 1 - sigmoid(gate): near 1 nothing would be left of the difference's precision.
        both = torch.scatter_add(torch.sigmoid(-gate) * chosen, -1, tokens, torch.sigmoid(gate) * weights.float())
        return torch.log(both.clamp(min=LEAST))

    def _advance(
        self, token: Tensor, feed: Tensor, memory: Tensor, inside: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """Read a token: the next feed (B, H), the weights (B, S), the state after it (B, L, H) each."""
        cell = CELLS[self.config.cell].step
        below = torch.cat([self.dropout(self.embedding(token)), feed], dim=1)
        after: list[State] = []
        for layer, weights in enumerate(self.recurrent.all_weights):
            after.append(cell(below, tuple(part[:, layer] for part in state), weights))
            below = after[-1][0] if layer == self.config.layers - 1 else self.dropout(after[-1][0])
        feed, looked = self._attend(below, memory, inside)
        return feed, looked, tuple(torch.stack(parts, dim=1) for parts in zip(*after, strict=True))

    def _attend(self, top: Tensor, memory: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """top (B, H) -> what goes to the output and into the next step (B, H), and the weights (B, S)."""
        scores = torch.matmul(self.query(top)[:, None], memory.transpose(1, 2))[:, 0] / math.sqrt(
            self.config.hidden
        )  # (B, S)
        weights = torch.softmax(torch.where(inside, scores, torch.full_like(scores, FAR)), dim=1)
        seen = torch.matmul(weights[:, None], memory)[:, 0]  # (B, H)
        return torch.tanh(self.mix(torch.cat([top, seen], dim=1))), weights

    def _first_state(self, summaries: Tensor) -> State:
        """Summaries (B, L, H) -> h, bounded like any other, and c of an LSTM (B, L, H)."""
        first, *rest = self.bridge(summaries).chunk(len(CELLS[self.config.cell].states), dim=2)
        return torch.tanh(first), *rest

    def _init_weights(self) -> None:
        for embedding in (self.encoder.embedding, self.embedding):
            nn.init.normal_(embedding.weight, 0.0, 1 / math.sqrt(self.config.embedding))
            with torch.no_grad():
                embedding.weight[PAD] = 0
        for recurrent in (module for module in self.modules() if isinstance(module, nn.RNNBase)):
            for name, weight in recurrent.named_parameters():
                if "weight_hh" in name:
                    for gate in weight.data.chunk(len(weight) // weight.shape[1], dim=0):
                        nn.init.orthogonal_(gate)
                elif "weight_ih" in name:
                    nn.init.xavier_uniform_(weight)
                else:
                    nn.init.zeros_(weight)
                    if self.config.cell == "lstm" and "bias_ih" in name:  # remember at first (Jozefowicz 2015)
                        weight.data[len(weight) // 4 : len(weight) // 2] = 1.0


def build(config: ModelConfig, seed: int) -> Seq2Seq:
    """The network with weights drawn from `seed`, without touching the global random state."""
    with seeded(seed):
        return Seq2Seq(config)
