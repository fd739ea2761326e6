"""Recurrent cells: RNN, LSTM and GRU. One step of each as plain matrix products, and the weights it begins with.

Plain products, because they are what every runtime can compute and quantize: few have an INT8 kernel for a whole cell.

Dimensions: B batch, I width of the input, H width of a layer, G gates of a cell (1, 4, 3).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CellName = Literal["rnn", "lstm", "gru"]
REMEMBERED = 128  # bytes that the longest memory of a fresh network reaches back: about one text

State = tuple[Tensor, ...]  # one tensor for each name of a cell's `states`; the first one is the output, too
Weights = Sequence[Tensor]  # of a layer, as PyTorch has them: (G*H, I), (G*H, H), (G*H,), (G*H,)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One kind of cell. `sequence` reads whole sequences, `step` is the same for one time step of one layer."""

    sequence: Callable[..., nn.RNNBase]
    states: tuple[str, ...]
    step: Callable[[Tensor, State, Weights], State]  # x (B, I), states (B, H) -> states (B, H)
    init: Callable[[Weights], None]


def rnn_step(x: Tensor, state: State, weights: Weights) -> State:
    """h' = tanh(W x + R h + b) (Elman 1990)."""
    (h,), (w_ih, w_hh, b_ih, b_hh) = state, weights
    return (torch.tanh(F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)),)


def lstm_step(x: Tensor, state: State, weights: Weights) -> State:
    """c' = f c + i g, h' = o tanh(c') (Hochreiter, Schmidhuber 1997; Gers 2000 for the gate f)."""
    (h, c), (w_ih, w_hh, b_ih, b_hh) = state, weights
    gates = F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)  # (B, 4H)
    write, keep, candidate, show = gates.chunk(4, dim=1)  # the order of nn.LSTM: i, f, g, o
    kept = torch.sigmoid(keep) * c + torch.sigmoid(write) * torch.tanh(candidate)
    return torch.sigmoid(show) * torch.tanh(kept), kept


def gru_step(x: Tensor, state: State, weights: Weights) -> State:
    """h' = (1 - z) n + z h, n = tanh(W x + b + r (R h + b')) (Cho 2014, arXiv:1406.1078; r where PyTorch has it)."""
    (h,), (w_ih, w_hh, b_ih, b_hh) = state, weights
    reset_x, keep_x, candidate_x = F.linear(x, w_ih, b_ih).chunk(3, dim=1)  # the order of nn.GRU: r, z, n
    reset_h, keep_h, candidate_h = F.linear(h, w_hh, b_hh).chunk(3, dim=1)
    candidate = torch.tanh(candidate_x + torch.sigmoid(reset_x + reset_h) * candidate_h)
    return (candidate + torch.sigmoid(keep_x + keep_h) * (h - candidate),)


def _rnn_init(weights: Weights) -> None:
    """An orthogonal matrix neither forgets nor grows in a linear network (Saxe 2013, arXiv:1312.6120)."""
    _uniform(weights)
    nn.init.orthogonal_(weights[1])


def _lstm_init(weights: Weights) -> None:
    """A gate that keeps f = T / (T + 1) and one that writes i = 1 - f (Tallec, Ollivier 2018, equation 16)."""
    _uniform(weights)
    spans = _log_spans(weights)
    H, bias = len(spans), weights[2].data
    bias[:H], bias[H : 2 * H] = -spans, spans


def _gru_init(weights: Weights) -> None:
    """The same for the one gate z, which in PyTorch keeps: the paper's gate writes, so its bias has the other sign."""
    _uniform(weights)
    spans = _log_spans(weights)
    H, bias = len(spans), weights[2].data
    bias[H : 2 * H] = spans


def _uniform(weights: Weights) -> None:
    bound = 1 / math.sqrt(weights[1].shape[1])
    for matrix in weights[:2]:
        nn.init.uniform_(matrix, -bound, bound)
    for bias in weights[2:]:
        nn.init.zeros_(bias)


def _log_spans(weights: Weights) -> Tensor:
    """Biases (H,) of gates that remember for 1 to REMEMBERED bytes from the first step on.

    Without them it is hard to learn to carry a fact into the next sentence (Tallec, Ollivier 2018, arXiv:1804.11188:
    chrono initialization).
    """
    return torch.empty(weights[1].shape[1]).uniform_(1.0, REMEMBERED - 1.0).log()


CELLS: dict[CellName, Cell] = {
    "rnn": Cell(nn.RNN, ("h",), rnn_step, _rnn_init),
    "lstm": Cell(nn.LSTM, ("h", "c"), lstm_step, _lstm_init),
    "gru": Cell(nn.GRU, ("h",), gru_step, _gru_init),
}
