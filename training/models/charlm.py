"""A language model over bytes: a recurrent network (RNN, LSTM or GRU) that predicts the next byte of a text.

Generating sequences with such a network, byte by byte: Graves 2013 (arXiv:1308.0850). A vocabulary of bytes needs no
tokenizer and can write any UTF-8 text; the byte 0, which no text contains, begins and ends every text.

Dimensions: B batch, T time steps, E width of the embedding, H width of a layer, L layers.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from training import checks
from training.models.cells import CELLS, CellName, State
from training.seeding import seeded

VOCABULARY = 256  # every byte is a token
BOUNDARY = 0  # the byte that begins and ends a text


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network, and its cell."""

    cell: CellName = "lstm"
    """rnn: one tanh (Elman 1990); lstm: memory and three gates; gru: two gates, three quarters of an LSTM's weights"""
    embedding: int = 128
    """width of the vector a byte is looked up as"""
    hidden: int = 512
    """width of every recurrent layer"""
    layers: int = 2
    """how many recurrent layers stand on each other"""
    dropout: float = 0.2
    """share of a layer's outputs that is dropped in training, between layers and before the logits"""

    def __post_init__(self) -> None:
        checks.one_of(self, "cell", CELLS)
        checks.at_least(self, embedding=1, hidden=1, layers=1)
        checks.less_than_one(self, "dropout")


class CharLM(nn.Module):
    """Bytes so far -> logits of the next byte. `forward` reads whole sequences (training), `step` one byte (export).

    A state is a tuple of tensors, one for each of `state_names`: h and c of an LSTM, h alone of the others.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self._cell = CELLS[config.cell]
        self.embedding = nn.Embedding(VOCABULARY, config.embedding)
        between = config.dropout if config.layers > 1 else 0.0  # PyTorch warns of dropout with nothing above it
        sequence = self._cell.sequence(
            config.embedding, config.hidden, config.layers, batch_first=True, dropout=between
        )
        self.add_module(config.cell, sequence)  # its name is the cell's: so are those of the weights in a checkpoint
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, VOCABULARY)
        self._init_weights()

    @property
    def recurrent(self) -> nn.RNNBase:
        """The recurrent layers."""
        layers: nn.RNNBase = getattr(self, self.config.cell)
        return layers

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of a state's tensors, in the order `step` takes and gives them."""
        return self._cell.states

    def zeros(self, count: int) -> State:
        """The state before the first byte of `count` texts, for `step`: (B, L, H) each."""
        shape = (count, self.config.layers, self.config.hidden)
        return tuple(torch.zeros(shape, device=self.output.weight.device) for _ in self.state_names)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """tokens (B, T) int64 -> logits (B, T, 256) and the state, (L, B, H) each; no state is a state of zeros."""
        given = state[0] if state is not None and len(state) == 1 else state  # PyTorch's form of one tensor
        outputs, after = self.recurrent(self.embedding(tokens), given)  # (B, T, H)
        logits: Tensor = self.output(self.dropout(outputs))
        return logits, after if isinstance(after, tuple) else (after,)

    def step(self, token: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """token (B,) int64, state (B, L, H) each -> logits (B, 256) of the next byte, and the state after it.

        `forward` for one time step without dropout. The batch comes first, because it is made of single requests.
        """
        below = self.embedding(token)  # (B, E), in upper layers (B, H)
        layers: list[State] = []
        for layer, weights in enumerate(self.recurrent.all_weights):
            layers.append(self._cell.step(below, tuple(tensor[:, layer] for tensor in state), weights))
            below = layers[-1][0]
        return self.output(below), *(torch.stack(tensors, dim=1) for tensors in zip(*layers, strict=True))

    def _init_weights(self) -> None:
        nn.init.normal_(self.embedding.weight, 0.0, 1 / math.sqrt(self.config.embedding))
        for weights in self.recurrent.all_weights:
            self._cell.init(weights)
        nn.init.normal_(self.output.weight, 0.0, 1 / math.sqrt(self.config.hidden))
        nn.init.zeros_(self.output.bias)


def build(config: ModelConfig, seed: int) -> CharLM:
    """The network with weights drawn from `seed`, without touching the global random state."""
    with seeded(seed):
        return CharLM(config)
