"""Sliced Wasserstein distance between two sets of images, on patches of a Laplacian pyramid.

Karras et al. 2018, "Progressive Growing of GANs" (arXiv:1710.10196), section 5 and appendix: 7x7 patches of every
pyramid level down to 16 pixels, normalised per channel, projected on random directions; the distance is the mean
absolute difference of the sorted projections. Lower is closer; a real set split in two gives the floor. Patches are
taken at the same places of both sets, which takes noise out of the comparison (equal sets are at exactly 0).

Dimensions: N images, S side in pixels, P patches, F = 147 = 7 * 7 * 3 numbers per patch.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

PATCH = 7
PATCHES_PER_IMAGE = 32  # the paper takes 128 of 8192 images and 512 directions; this is a hundredth of the work
DIRECTIONS = 256
SMALLEST = 16  # pixels: the coarsest pyramid level


def sliced_wasserstein(a: NDArray[np.uint8], b: NDArray[np.uint8], seed: int = 0) -> dict[int, float]:
    """Distance times 1000 per pyramid level (its side in pixels). Images (N, S, S, 3); raises if N differs or is 0."""
    if len(a) == 0 or a.shape != b.shape:
        raise ValueError(f"compare two equal, non-empty sets of images; found shapes {a.shape} and {b.shape}")
    random, places_a, places_b = (torch.Generator().manual_seed(s) for s in (seed, seed + 1, seed + 1))
    result: dict[int, float] = {}
    for level_a, level_b in zip(_pyramid(a), _pyramid(b), strict=True):
        directions = torch.randn(PATCH * PATCH * 3, DIRECTIONS, generator=random)
        directions /= directions.norm(dim=0, keepdim=True)
        sorted_a = (_patches(level_a, places_a) @ directions).sort(dim=0).values  # (P, DIRECTIONS)
        sorted_b = (_patches(level_b, places_b) @ directions).sort(dim=0).values
        result[level_a.shape[-1]] = float((sorted_a - sorted_b).abs().mean()) * 1e3
    return result


def _pyramid(images: NDArray[np.uint8]) -> list[Tensor]:
    current = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1  # (N, 3, S, S)
    levels = []
    while current.shape[-1] > SMALLEST:
        smaller = F.avg_pool2d(_blur(current), 2)
        levels.append(current - F.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False))
        current = smaller
    return [*levels, current]


def _blur(x: Tensor) -> Tensor:
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16  # Burt and Adelson's binomial kernel
    kernel = (line[:, None] * line[None, :]).expand(3, 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)


def _patches(level: Tensor, random: torch.Generator) -> Tensor:
    n, _, side, _ = level.shape
    at = torch.randint(0, side - PATCH + 1, (2, n, PATCHES_PER_IMAGE, 1, 1), generator=random)
    offset = torch.arange(PATCH)
    rows = at[0] + offset[:, None]  # (N, patches, 7, 1)
    columns = at[1] + offset[None, :]  # (N, patches, 1, 7)
    which = torch.arange(n)[:, None, None, None]
    patches = level.permute(0, 2, 3, 1)[which, rows, columns]  # (N, patches, 7, 7, 3)
    patches = patches.reshape(-1, PATCH * PATCH, 3)
    patches = (patches - patches.mean(dim=(0, 1))) / (patches.std(dim=(0, 1)) + 1e-8)
    return patches.flatten(1)  # (P, F)
