"""A pretrained encoder: a BERT (Devlin 2018, arXiv:1810.04805) over word pieces, seen from the target's own tokens.

The decoder copies tokens of its own vocabulary, so a source is tokenized twice: into these tokens and into BERT's word
pieces. `at` says which piece stands where a token begins. Memory at a token is made of BERT's output at that piece, of
the token itself and of the one before it: tokens inside of one piece would look alike otherwise, and a word could not
be copied token by token.

Dimensions: B batch, S source tokens, P word pieces, E embedding, W width of the BERT, H hidden, L decoder layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.masks import FAR, within

REMEMBERED_BYTES = 4 * 2**30  # of the outputs of a frozen BERT


@dataclasses.dataclass(frozen=True)
class BertShape:
    """The sizes that rebuild a BERT: the names are those of the project, the values those of its config.json."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    """word pieces of a source that are read at most, marks included"""
    types: int
    eps: float
    activation: str
    dropout: float


class Remembered:
    """A cache of a frozen BERT's outputs, in half precision: it is the costliest part of a step, and never changes.

    Each text is read alone and rounded whether it is kept or not, so nothing depends on its company or the room left.
    """

    def __init__(self, most: int = REMEMBERED_BYTES) -> None:
        self._room = most
        self._kept: dict[bytes, Tensor] = {}

    @torch.no_grad()
    def __call__(self, read: Callable[[Tensor, Tensor], Tensor], pieces: Tensor, lengths: Tensor) -> Tensor:
        """pieces (B, P), lengths (B,) -> hidden states (B, P, W), zeros behind each text."""
        rows = [self._one(read, ids[None, :length]) for ids, length in zip(pieces, lengths.tolist(), strict=True)]
        out = torch.zeros((*pieces.shape, rows[0].shape[1]))
        for row, hidden in zip(out, rows, strict=True):
            row[: len(hidden)] = hidden
        return out.to(pieces.device)

    def _one(self, read: Callable[[Tensor, Tensor], Tensor], pieces: Tensor) -> Tensor:
        key = pieces.cpu().numpy().tobytes()
        if key in self._kept:
            return self._kept[key]
        with torch.autocast(pieces.device.type, enabled=False):
            hidden = read(pieces, torch.tensor([pieces.shape[1]], device=pieces.device))[0].half().cpu()
        if hidden.nbytes <= self._room:
            self._room -= hidden.nbytes
            self._kept[key] = hidden
        return hidden


class Bert(nn.Module):
    """The BERT itself: word pieces -> hidden states. A frozen one has no gradient and no dropout, whatever its mode."""

    def __init__(self, shape: BertShape, frozen: bool) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.shape, self.frozen = shape, frozen
        self.remembered: Remembered | None = None  # of a frozen one, while it is learned with
        config = BertConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.intermediate,
            max_position_embeddings=shape.positions,
            type_vocab_size=shape.types,
            layer_norm_eps=shape.eps,
            hidden_act=shape.activation,
            hidden_dropout_prob=shape.dropout,
            attention_probs_dropout_prob=shape.dropout,
            attn_implementation="eager",  # its mask is added as it is given, and it exports as plain products
        )
        self.model = BertModel(config, add_pooling_layer=False)
        self.requires_grad_(not frozen)
        self.train()

    def train(self, mode: bool = True) -> Bert:
        """A frozen one stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def forward(self, pieces: Tensor, lengths: Tensor) -> Tensor:
        """pieces (B, P), lengths (B,) at least 1 -> hidden states (B, P, W); those behind a text mean nothing."""
        return self._read(pieces, lengths) if self.remembered is None else self.remembered(self._read, pieces, lengths)

    def _read(self, pieces: Tensor, lengths: Tensor) -> Tensor:
        P = pieces.shape[1]
        # Padding may reach beyond the last position there is: it is looked at by nothing.
        positions = torch.arange(P, device=pieces.device).clamp(max=self.shape.positions - 1)[None]
        seen = torch.where(within(lengths, P), 0.0, FAR)[:, None, None, :]  # (B, 1, 1, P), added to the scores
        found = self.model(
            input_ids=pieces, attention_mask=seen, token_type_ids=torch.zeros_like(pieces), position_ids=positions
        )
        hidden: Tensor = found.last_hidden_state
        return hidden


class BertEncoder(nn.Module):
    """Memory (B, S, H), one vector a token, and a summary of every layer (B, L, H), like the recurrent encoder."""

    def __init__(
        self, shape: BertShape, frozen: bool, embedding: nn.Embedding, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = layers
        self.bert = Bert(shape, frozen)
        self.embedding = embedding
        self.dropout = nn.Dropout(dropout)
        self.meaning = nn.Linear(shape.width, hidden)
        self.place = nn.Linear(2 * embedding.embedding_dim, hidden, bias=False)
        self.summary = nn.Linear(shape.width, layers * hidden)

    def forward(
        self, tokens: Tensor, lengths: Tensor, pieces: Tensor, piece_lengths: Tensor, at: Tensor
    ) -> tuple[Tensor, Tensor]:
        """tokens (B, S), lengths (B,), pieces (B, P), piece_lengths (B,), at (B, S) -> memory, summaries.

        `lengths` is not needed: what is memory of padding is the decoder's to leave out.
        """
        (B, P), hidden = pieces.shape, self.dropout(self.bert(pieces, piece_lengths))  # (B, P, W)
        rows = at + P * torch.arange(B, device=at.device)[:, None]  # of all pieces of the batch, one below the other
        meaning = F.embedding(rows, self.meaning(hidden).flatten(0, 1))  # (B, S, H)
        here = self.embedding(tokens)
        before = F.pad(here, (0, 0, 1, 0))[:, :-1]  # zeros before the first token
        memory = torch.tanh(meaning + self.place(self.dropout(torch.cat([before, here], dim=2))))
        share = within(piece_lengths, P).to(hidden.dtype) / piece_lengths[:, None]
        mean = torch.matmul(share[:, None], hidden)[:, 0]  # (B, W)
        return memory, self.summary(mean).unflatten(1, (self.layers, -1))
