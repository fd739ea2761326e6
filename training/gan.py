"""What keeps a critic from winning: a penalty on its gradient, and a learning rate that falls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def squared_gradients(judge: Callable[[Tensor], Tensor], items: Tensor) -> Tensor:
    """|grad D(x)|^2 (B,) at items (B, ...), of which `judge` judges each for itself.

    To be called outside of a cast: the gradient is differentiated once more, and would underflow in halves.
    """
    seen = items.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(judge(seen).sum(), seen, create_graph=True)
    return gradient.flatten(1).square().sum(dim=1)


def r1(critic: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """E[|grad D(x)|^2] / 2 at real items, a scalar: Mescheder 2018 (arXiv:1801.04406), equation 9."""
    return squared_gradients(critic, real).mean() / 2


def falling(step: int, steps: int) -> float:
    """The share of a learning rate that is left at a step, counted from 1: it falls evenly in the second half of
    `steps`, to what it has in the last of them, and stays there."""
    return min(1.0, max(1, steps - step + 1) / (0.5 * steps))
