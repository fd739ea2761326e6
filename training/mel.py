"""Log-mel spectrograms."""

from __future__ import annotations

from torch import Tensor


def log_mel(waves: Tensor, rate: int) -> Tensor:
    """Natural logarithms of mel bands: waves (B, T) in [-1, 1] at `rate` Hz -> (B, M, F)."""
    raise NotImplementedError
