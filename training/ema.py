"""Exponential moving average of a network: the copy that is sampled, exported and served."""

from __future__ import annotations

import torch
from torch import nn


def half_life_decay(images_seen: int, batch: int, half_life_kimg: float, ramp_up: float = 0.05) -> float:
    """Decay for one step; the half-life grows with training so that early, poor weights are forgotten.

    Karras et al. 2022 (EDM, arXiv:2206.00364), training loop: half-life = min(half_life, ramp_up * images seen).
    """
    half_life = min(half_life_kimg * 1000, max(images_seen, 1) * ramp_up)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


@torch.no_grad()
def update(average: nn.Module, source: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * source, for parameters and for BatchNorm's running statistics alike."""
    for mine, theirs in zip(average.state_dict().values(), source.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)
