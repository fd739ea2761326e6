"""The fields that the configs of all recipes have."""

from __future__ import annotations

import dataclasses

from training import checks
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
    precision: PrecisionName = "auto"
    """auto: fp16 with a gradient scaler on CUDA, bf16 on CPUs that have it, else fp32"""
    seed: int = 0
    """of weights, batches and dropout"""

    def __post_init__(self) -> None:
        checks.at_least(self, batch_size=1, seed=0)
        checks.positive(self, "learning_rate")
