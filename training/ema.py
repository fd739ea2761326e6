"""Exponential moving average of a network: the copy that is sampled, exported and served."""

from __future__ import annotations

import torch
from torch import nn

RAMP_UP = 0.05  # of the items seen: the longest half-life there is by then


def half_life_decay(items_seen: int, items: int, half_life: float) -> float:
    """Decay for one step of `items` images, rows or pairs; `half_life` is in items, too.

    It grows with training so that early, poor weights are forgotten. Karras et al. 2022 (EDM, arXiv:2206.00364),
    training loop: half-life = min(half_life, ramp-up * items seen).
    """
    reached = min(half_life, max(items_seen, 1) * RAMP_UP)
    return float(0.5 ** (items / max(reached, 1e-8)))


@torch.no_grad()
def update(average: nn.Module, source: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * source, for parameters and BatchNorm's running statistics alike."""
    for mine, theirs in zip(average.state_dict().values(), source.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)
