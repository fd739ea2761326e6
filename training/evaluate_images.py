"""Evaluation of image generators: a grid of samples to look at, and their distance to real images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.pictures import save_grid
from training.swd import sliced_wasserstein

GRID = 64  # images in a grid of samples
COMPARED = 512  # images compared while training; twice as many at the end
Sample = Callable[[Tensor], NDArray[np.uint8]]  # latents (B, Z) -> images (B, S, S, 3)


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Images (B, 3, S, S) in [-1, 1] -> (B, S, S, 3) of bytes."""
    return ((images + 1) * 127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """The mean over the levels of the sliced Wasserstein distance between two sets (N, S, S, 3)."""
    levels = sliced_wasserstein(a, b)
    return round(sum(levels.values()) / len(levels), 3)


def evaluate(sample: Sample, latent: int, seed: int, real: NDArray[np.uint8], path: Path) -> dict[str, float]:
    """Save a grid of samples, and return as `swd` the distance of samples to the first images of `real`.

    The latents follow from `seed`: they are the same at every step.
    """
    images = sample(torch.randn(COMPARED, latent, generator=torch.Generator().manual_seed(seed + 1)))
    save_grid(images[:GRID], path)
    count = min(len(images), len(real))
    return {"swd": distance(images[:count], real[:count])}


def evaluate_finally(sample: Sample, latent: int, seed: int, real: NDArray[np.uint8]) -> dict[str, float]:
    """`swd` of twice as many images, and as `swd_floor` that between two halves of the real ones."""
    count = min(2 * COMPARED, len(real) // 2)
    z = torch.randn(count, latent, generator=torch.Generator().manual_seed(seed + 2))
    return {
        "swd": distance(sample(z), real[:count]),
        "swd_floor": distance(real[count : 2 * count], real[:count]),
    }
