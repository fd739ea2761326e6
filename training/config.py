"""The fields that the configs of all recipes have."""

from __future__ import annotations

import dataclasses

from training import checks, ema
from training.precision import PrecisionName


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Settings that say what is learned: all of them are recorded, and a run resumes only with equal ones.

    A recipe's own config adds its network (`model`), its data and more. Raises `ConfigError`.
    """

    batch_size: int = 64
    """items of a step"""
    learning_rate: float = 1e-3
    """of Adam"""
    ema_half_life_kitems: float = 10.0
    """half-life of the averaged network, which is served, in thousands of items"""
    precision: PrecisionName = "auto"
    """auto: fp16 with a gradient scaler on CUDA, bf16 on CPUs that have it, else fp32"""
    seed: int = 0
    """of weights, batches and dropout"""

    def __post_init__(self) -> None:
        checks.at_least(self, batch_size=1, seed=0)
        checks.positive(self, "learning_rate")

    def ema_decay(self, step: int) -> float:
        """The decay of the average at a step, counted from 1."""
        items = self.batch_size
        return ema.half_life_decay(step * items, items, 1000 * self.ema_half_life_kitems)
