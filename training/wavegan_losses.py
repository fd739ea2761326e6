"""The losses of a GAN of sounds: Wasserstein with a gradient penalty, or non-saturating with R1.

Dimensions: B clips, K classes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from training.gan import r1, squared_gradients
from training.models.wavegan import Critic, Judgement

LossName = Literal["wgan-gp", "r1"]
LOSSES = ("wgan-gp", "r1")
DRIVEN = 2.0  # the tanh of it is 0.96


def critic_loss(loss: LossName, real: Tensor, fake: Tensor) -> Tensor:
    """Of the judgements (B,) of real and generated clips: what a critic brings down, without its penalty.

    wgan-gp: E[D(fake)] - E[D(real)] (Arjovsky 2017, arXiv:1701.07875); r1: -log of the likelihood that it tells them
    apart (Goodfellow 2014, arXiv:1406.2661).
    """
    if loss == "wgan-gp":
        return fake.mean() - real.mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(loss: LossName, fake: Tensor) -> Tensor:
    """Of the judgements (B,) of generated clips: what the generator brings down."""
    return -fake.mean() if loss == "wgan-gp" else F.softplus(-fake).mean()


def penalty(
    loss: LossName, critic: Critic, real: Tensor, fake: Tensor, label: Tensor, random: torch.Generator
) -> Tensor:
    """The penalty on a critic's gradient, a scalar; real and fake (B, ...) as it sees them.

    wgan-gp: E[(|grad D(x)| - 1)^2], x between a real and a generated clip (Gulrajani 2017, arXiv:1704.00028, eq. 3).
    r1: E[|grad D(x)|^2] / 2 of real clips (Mescheder 2018, arXiv:1801.04406, eq. 9). Both want FP32.
    """

    def judge(seen: Tensor) -> Tensor:
        return critic.judge(seen, label, random).real

    if loss == "r1":
        return r1(judge, real)
    part = torch.rand(len(real), generator=random).to(real.device).reshape(-1, *[1] * (real.dim() - 1))
    lengths = squared_gradients(judge, torch.lerp(real.detach(), fake.detach(), part)).sqrt()
    return (lengths - 1).square().mean()


def overdriven(unbounded: Tensor) -> Tensor:
    """How far samples (B, T) before the tanh are over `DRIVEN`, mean square: there it has no gradient, so that a clip
    which is clipped learns nothing from the critics."""
    return F.relu(unbounded.float().abs() - DRIVEN).square().mean()


def class_loss(judged: Judgement, label: Tensor) -> Tensor:
    """Cross-entropy of the class (Odena 2017, "auxiliary classifier GAN", arXiv:1610.09585, eq. 2)."""
    return F.cross_entropy(judged.classes.float(), label)
