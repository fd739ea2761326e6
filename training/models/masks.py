"""Masks of padded rows."""

from __future__ import annotations

import torch
from torch import Tensor

FAR = -1e9  # the score of a position that is padding: its weight is exactly 0


def within(lengths: Tensor, steps: int) -> Tensor:
    """lengths (B,) -> (B, steps) bool: which positions are no padding."""
    return torch.arange(steps, device=lengths.device)[None, :] < lengths[:, None]
