"""Early stopping: a run ends when its held-out loss has stood still for long enough (Prechelt 1998)."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor


@dataclasses.dataclass
class EarlyStopping:
    """The best held-out loss so far, and how many evaluations ago it was found."""

    patience: int
    """evaluations without a better loss after which the run ends; 0: it never does"""
    best: float = math.inf
    since: int = 0

    @property
    def done(self) -> bool:
        """Whether the loss has stood still for long enough."""
        return 0 < self.patience <= self.since

    def better(self, loss: float) -> bool:
        """Note the loss of one evaluation; returns whether it is the best one so far."""
        found = loss < self.best
        self.best, self.since = (loss, 0) if found else (self.best, self.since + 1)
        return found

    def tensor(self) -> Tensor:
        """Best loss and evaluations since, as a tensor (2,)."""
        return torch.tensor([self.best, self.since], dtype=torch.float64)

    def load(self, tensor: Tensor) -> None:
        """Restore the output of `tensor`."""
        self.best, self.since = float(tensor[0]), int(tensor[1])
