"""DCGAN generator and critic (Radford, Metz, Chintala 2015, arXiv:1511.06434), for square power-of-two sizes.

Dimensions: B batch, Z latent, C width of a stage, S side of a stage's square in pixels (4, 8, ... image_size / 2).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from torch import Tensor, nn

from training import checks
from training.seeding import seeded

SIZES = (16, 32, 64, 128, 256, 512)  # of a picture's side


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the pair of networks; everything else follows from them."""

    image_size: int = 32
    """side of the square image in pixels: a power of two from 16 to 512; the number of stages follows from it"""
    latent: int = 100
    """length of the noise vector z"""
    channels: int = 64
    """width of the last hidden stage of the generator"""
    widths: Literal["halving", "constant"] = "halving"
    """halving: 4x, 2x, 1x `channels` towards the image (DCGAN); constant: `channels` in every stage (hdgan)"""

    def __post_init__(self) -> None:
        if self.image_size not in SIZES:
            nearest = sorted(sorted(SIZES, key=lambda size: abs(size - self.image_size))[:2])
            wanted = f"a power of two from 16 to 512; the nearest are {nearest[0]} and {nearest[1]}"
            raise checks.refuse("image_size", self.image_size, f"{wanted} (pictures of any size are brought to it)")
        checks.at_least(self, latent=1, channels=1)
        checks.one_of(self, "widths", ("halving", "constant"))

    @property
    def stage_widths(self) -> list[int]:
        """Widths of the generator's hidden stages, from 4x4 towards the image."""
        stages = int(math.log2(self.image_size)) - 2
        if self.widths == "constant":
            return [self.channels] * stages
        return [self.channels * 2 ** (stages - 1 - i) for i in range(stages)]


class Generator(nn.Module):
    """Noise (B, Z) -> image (B, 3, image_size, image_size) in [-1, 1]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        previous = config.latent
        for i, width in enumerate(config.stage_widths):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            layers += [
                nn.ConvTranspose2d(previous, width, 4, stride, padding, bias=False),  # (B, C, S, S), S = 4 * 2**i
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            previous = width
        layers += [nn.ConvTranspose2d(previous, 3, 4, 2, 1), nn.Tanh()]  # (B, 3, image_size, image_size)
        self.layers = nn.Sequential(*layers)
        self.apply(_init_weights)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, Z) -> image (B, 3, image_size, image_size)."""
        image: Tensor = self.layers(z[:, :, None, None])
        return image


class Critic(nn.Module):
    """Image (B, 3, image_size, image_size) -> one logit each (B,). Mirrors the generator."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = 3
        for i, width in enumerate(reversed(config.stage_widths)):
            layers.append(nn.Conv2d(previous, width, 4, 2, 1, bias=i == 0))  # (B, C, S / 2, S / 2)
            if i > 0:  # no BatchNorm on the image itself (section 3 of the paper)
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            previous = width
        layers.append(nn.Conv2d(previous, 1, 4, 1, 0))  # (B, 1, 1, 1)
        self.layers = nn.Sequential(*layers)
        self.apply(_init_weights)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 3, image_size, image_size) -> logits (B,)."""
        logits: Tensor = self.layers(image)
        return logits.flatten()


def _init_weights(module: nn.Module) -> None:
    # Section 3 of the paper: zero-centred normal with deviation 0.02; scales of BatchNorm around 1.
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def build(config: ModelConfig, seed: int) -> tuple[Generator, Critic]:
    """Both networks with weights drawn from `seed`, without touching the global random state."""
    with seeded(seed):
        return Generator(config), Critic(config)
