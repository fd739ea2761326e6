"""Sounds from a WaveNet while it is trained: sample by sample with the cost of one step each (Le Paine 2016).

Dimensions: B sounds, F frames, C numbers of a condition, T samples, L layers, R channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.models.wavenet import SILENCE, WaveNet, decode


@torch.no_grad()
def sample(network: WaveNet, conditions: Tensor, temperature: float, seed: int) -> Tensor:
    """Waves (B, T) in [-1, 1], T = F * frame, of conditions (B, F, C), drawn with numbers that follow from `seed`."""
    config = network.config
    count, frames = conditions.shape[:2]
    device = network.output.weight.device
    random = torch.Generator().manual_seed(seed)
    rings = [torch.zeros(dilation, count, config.residual, device=device) for dilation in config.dilations]
    level = torch.full((count,), SILENCE, device=device)
    levels = torch.empty(count, frames * config.frame, dtype=torch.int64)
    for at in range(frames * config.frame):
        if at % config.frame == 0:
            spread = network.spread_of(conditions[:, at // config.frame].to(device)).unbind(1)  # L of (B, 2 R)
        below = network.embedding(level)
        skips = None
        for layer, ring, condition in zip(network.layers, rings, spread, strict=True):
            earlier = ring[at % len(ring)].clone()
            ring[at % len(ring)] = below
            below, skip = layer.step(earlier, below, condition)  # type: ignore[operator]
            skips = skip if skips is None else skips + skip
        assert skips is not None
        chances = torch.softmax(network.logits_of(skips).float().cpu() / temperature, dim=1)
        drawn = torch.multinomial(chances, 1, generator=random)[:, 0]
        levels[:, at] = drawn
        level = drawn.to(device)
    return decode(levels)
