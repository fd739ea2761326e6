"""A language model over bytes: an LSTM (Hochreiter, Schmidhuber 1997) that predicts the next byte of a text.

Generating sequences with such a network, byte by byte: Graves 2013 (arXiv:1308.0850). A vocabulary of bytes needs no
tokenizer and can write any UTF-8 text; the byte 0, which no text contains, begins and ends every text.

Dimensions: B batch, T time steps, E width of the embedding, H width of a layer, L layers.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY = 256  # every byte is a token
BOUNDARY = 0  # the byte that begins and ends a text
REMEMBERED = 128  # bytes that the longest memory of a fresh network reaches back: about one text

State = tuple[Tensor, Tensor]  # (h, c)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network."""

    embedding: int = 128
    """width of the vector a byte is looked up as"""
    hidden: int = 512
    """width of every LSTM layer"""
    layers: int = 2
    """how many LSTM layers stand on each other"""
    dropout: float = 0.2
    """share of a layer's outputs that is dropped in training, between layers and before the logits"""

    def __post_init__(self) -> None:
        for field in ("embedding", "hidden", "layers"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}, wanted at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, wanted at least 0 and less than 1")


class CharLM(nn.Module):
    """Bytes so far -> logits of the next byte. `forward` reads whole sequences (training), `step` one byte (export)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(VOCABULARY, config.embedding)
        between = config.dropout if config.layers > 1 else 0.0  # nn.LSTM warns of dropout with nothing above it
        self.lstm = nn.LSTM(config.embedding, config.hidden, config.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, VOCABULARY)
        self._init_weights()

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """tokens (B, T) int64 -> logits (B, T, 256) and state ((L, B, H), (L, B, H)); no state is a state of zeros."""
        outputs, state = self.lstm(self.embedding(tokens), state)  # (B, T, H)
        logits: Tensor = self.output(self.dropout(outputs))
        return logits, state

    def step(self, token: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """token (B,) int64, h and c (B, L, H) -> logits (B, 256) of the next byte, h and c after it (B, L, H).

        `forward` for one time step without dropout. The cell is written out, because plain matrix products are what
        every runtime can compute and quantize, and the batch comes first, because a batch is made of single requests.
        """
        below = self.embedding(token)  # (B, E), in upper layers (B, H)
        hidden, cell = [], []
        for layer in range(self.config.layers):
            w_ih, w_hh, b_ih, b_hh = self.lstm.all_weights[layer]  # (4H, E or H), (4H, H), (4H,), (4H,)
            gates = F.linear(below, w_ih, b_ih) + F.linear(h[:, layer], w_hh, b_hh)  # (B, 4H)
            write, keep, candidate, show = gates.chunk(4, dim=1)  # the order of nn.LSTM: i, f, g, o
            kept = torch.sigmoid(keep) * c[:, layer] + torch.sigmoid(write) * torch.tanh(candidate)
            below = torch.sigmoid(show) * torch.tanh(kept)
            hidden.append(below)
            cell.append(kept)
        logits: Tensor = self.output(below)
        return logits, torch.stack(hidden, dim=1), torch.stack(cell, dim=1)

    def _init_weights(self) -> None:
        nn.init.normal_(self.embedding.weight, 0.0, 1 / math.sqrt(self.config.embedding))
        H, bound = self.config.hidden, 1 / math.sqrt(self.config.hidden)
        for w_ih, w_hh, b_ih, b_hh in self.lstm.all_weights:
            nn.init.uniform_(w_ih, -bound, bound)
            nn.init.uniform_(w_hh, -bound, bound)
            nn.init.zeros_(b_ih)
            nn.init.zeros_(b_hh)
            # Cells that remember for 1 to REMEMBERED bytes from the first step on, without which a fact is hard to learn
            # to carry into the next sentence (Tallec, Ollivier 2018, arXiv:1804.11188, equation 16: chrono initialization).
            spans = torch.empty(H).uniform_(1.0, REMEMBERED - 1.0).log()
            b_ih.data[:H], b_ih.data[H : 2 * H] = -spans, spans
        nn.init.normal_(self.output.weight, 0.0, bound)
        nn.init.zeros_(self.output.bias)


def build(config: ModelConfig, seed: int) -> CharLM:
    """The network with weights drawn from `seed`, without touching the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CharLM(config)
