"""The distance is zero for equal sets, grows with the difference, and its parts do what the paper says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.data import faces
from training.swd import _patches, _pyramid, sliced_wasserstein


def test_equal_sets_have_distance_zero_at_every_level() -> None:
    images = faces.render(0, range(16), 32)
    distances = sliced_wasserstein(images, images)
    assert distances == {32: 0.0, 16: 0.0}


@pytest.mark.slow
def test_the_distance_orders_sets_by_likeness() -> None:
    real, more = faces.render(0, range(256), 32), faces.render(1, range(256), 32)
    random = np.random.default_rng(0)
    noisy = np.clip(more + random.normal(0, 25, more.shape), 0, 255).astype(np.uint8)
    noise = random.integers(0, 256, real.shape, dtype=np.uint8)
    means = [np.mean(list(sliced_wasserstein(real, other).values())) for other in (more, noisy, noise)]
    assert means[0] < means[1] < means[2]
    assert means[0] < 30 < means[2]


def test_the_pyramid_adds_up_to_the_image() -> None:
    images = faces.render(0, range(2), 64)
    levels = _pyramid(images)
    assert [level.shape[-1] for level in levels] == [64, 32, 16]
    total = levels[-1]
    for level in reversed(levels[:-1]):
        total = level + torch.nn.functional.interpolate(total, scale_factor=2, mode="bilinear", align_corners=False)
    np.testing.assert_allclose((total + 1) * 127.5, np.moveaxis(images.astype(np.float32), 3, 1), atol=1e-3)


def test_patches_are_normalised_per_channel() -> None:
    level = torch.rand(3, 3, 16, 16) * torch.tensor([1.0, 5.0, 9.0])[None, :, None, None]
    patches = _patches(level, torch.Generator().manual_seed(0)).reshape(-1, 49, 3)
    np.testing.assert_allclose(patches.mean(dim=(0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(patches.std(dim=(0, 1)), 1, atol=1e-4)


@pytest.mark.parametrize("shapes", [((0, 16, 16, 3), (0, 16, 16, 3)), ((2, 16, 16, 3), (3, 16, 16, 3))])
def test_nothing_to_compare_is_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="two equal, non-empty sets"):
        sliced_wasserstein(np.zeros(shapes[0], np.uint8), np.zeros(shapes[1], np.uint8))
