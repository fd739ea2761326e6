"""Shapes, widths and the size of the reference networks (docs: the tables of the papers)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training import recipes
from training.models.dcgan import Critic, Generator, ModelConfig, build


@pytest.mark.parametrize("image_size", [16, 32, 64, 128])
@pytest.mark.parametrize("widths", ["halving", "constant"])
def test_shapes_follow_from_the_image_size(image_size: int, widths: str) -> None:
    config = ModelConfig(image_size=image_size, channels=4, widths=widths)  # type: ignore[arg-type]
    generator, critic = build(config, seed=0)
    image = generator(torch.randn(3, config.latent))
    assert image.shape == (3, 3, image_size, image_size)
    assert image.abs().max() <= 1
    assert critic(image).shape == (3,)


def test_dcgan_at_32_has_the_reference_widths() -> None:
    layers = [m for m in Generator(ModelConfig()).modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels, m.stride[0], m.padding[0]) for m in layers] == [
        (100, 256, 1, 0),
        (256, 128, 2, 1),
        (128, 64, 2, 1),
        (64, 3, 2, 1),
    ]
    convolutions = [m.out_channels for m in Critic(ModelConfig()).modules() if isinstance(m, nn.Conv2d)]
    assert convolutions == [64, 128, 256, 1]


def test_hdgan_at_paper_size_is_the_reference_of_the_speed_goals() -> None:
    """512 channels in every stage, 64x64 pixels, 1.435 GMAC per image."""
    config = recipes.find("hdgan").config("paper").model
    side, macs = 4, 0
    for layer in (m for m in Generator(config).modules() if isinstance(m, nn.ConvTranspose2d)):
        if layer.stride[0] == 2:
            macs += side * side * layer.in_channels * layer.out_channels * 16
            side *= 2
        else:
            macs += layer.in_channels * layer.out_channels * 16
    assert config.stage_widths == [512] * 4
    assert side == 64
    assert macs / 1e9 == pytest.approx(1.435, abs=0.001)


def test_weights_follow_the_seed_and_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = (build(ModelConfig(16, channels=4), seed)[0].state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    name = "layers.0.weight"
    assert torch.equal(first[name], second[name])
    assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 48}, "--image-size is 48, wanted a power of two from 16 to 512"),
        ({"channels": 0}, "--channels is 0, wanted at least 1"),
        ({"widths": "wide"}, "--widths is 'wide', wanted one of halving, constant"),
    ],
)
def test_impossible_sizes_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**fields)  # type: ignore[arg-type]
