"""The optimizer step: number format, loss scaling, clipping and the optimizers themselves, for every recipe."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from training.precision import Precision
from training.state import load_optimizer, load_scaler, optimizer_tensors, scaler_tensors


class Optimization:
    """Optimizers by name that share one gradient scaler.

    A step is: losses under `cast`, `minimize` for each of them, `end_step`.
    """

    def __init__(
        self, precision: Precision, optimizers: Mapping[str, torch.optim.Optimizer], clip: float | None = None
    ) -> None:
        self.precision = precision
        self._optimizers, self._clip = dict(optimizers), clip
        self._scaler = precision.scaler()

    def cast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        return self.precision.cast()

    def minimize(self, name: str, loss: Tensor) -> None:
        """One step of the optimizer called `name` down the gradient of `loss`, a scalar in FP32.

        A gradient longer than `clip` is scaled down to it (Pascanu 2013, arXiv:1211.5063).
        """
        optimizer = self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self._clip is not None:
            self._scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], self._clip)
        self._scaler.step(optimizer)

    def set_rate(self, name: str, rate: float) -> None:
        """The learning rate of the optimizer called `name` from now on."""
        for group in self._optimizers[name].param_groups:
            group["lr"] = rate

    def end_step(self) -> None:
        """Adapt the loss scale, once for all optimizers of a step."""
        self._scaler.update()

    def state(self) -> dict[str, Tensor]:
        """Moments and scale as named tensors: `optimizer.NAME.INDEX.MOMENT` and `scaler`."""
        tensors = scaler_tensors(self._scaler)
        for name, optimizer in self._optimizers.items():
            tensors |= optimizer_tensors(name, optimizer)
        return tensors

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore the output of `state`, out of all the tensors of a checkpoint's state."""
        for name, optimizer in self._optimizers.items():
            load_optimizer(name, optimizer, state)
        load_scaler(self._scaler, state)
