"""Learners, the moving parts of a run: the protocol that the loop asks for, and the learner that most recipes need."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from training import ema
from training.config import RecipeConfig
from training.optimization import Optimization
from training.precision import pick
from training.seeding import seeded, step_seed
from training.state import load_networks, network_tensors

Network = TypeVar("Network", bound=nn.Module)


class Learner(Protocol):
    """Networks and optimizers that can be saved, and restored exactly."""

    def served(self) -> Mapping[str, Tensor]:
        """The weights that are sampled, exported and served."""

    def state(self) -> Mapping[str, Tensor]:
        """Everything else that a resumed run needs, as named tensors."""

    def load(self, served: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Restore the outputs of `served` and `state`; strict."""


@dataclasses.dataclass
class AveragedNetwork(Generic[Network]):
    """A network, its moving average, which is served, and their optimizer."""

    network: Network
    average: Network
    optimization: Optimization
    config: RecipeConfig

    @classmethod
    def new(
        cls,
        network: Network,
        config: RecipeConfig,
        clip: float | None = None,
        groups: Iterable[dict[str, Any]] | None = None,
        shared: Mapping[int, Any] | None = None,
    ) -> AveragedNetwork[Network]:
        """A fresh average and Adam for a network that is on its device.

        `groups` are the optimizer's parameter groups (None: all parameters in one), `shared` is a memo for
        `copy.deepcopy`: parts that are the same in network and average.
        """
        device = next(network.parameters()).device
        average = copy.deepcopy(network, dict(shared or {})).eval()
        adam = torch.optim.Adam(groups or network.parameters(), config.learning_rate, fused=True)
        optimization = Optimization(pick(config.precision, device.type), {"network": adam}, clip)
        return cls(network, average, optimization, config)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    @contextlib.contextmanager
    def forward(self, step: int) -> Iterator[None]:
        """The context of the forward pass of a step, counted from 1: its number format, and dropout that can resume."""
        with seeded(step_seed(self.config.seed, step), self.device), self.optimization.cast():
            yield

    def learn(self, loss: Tensor, step: int) -> None:
        """Take the optimizer step for `loss`, a scalar in FP32, and move the average after the network."""
        self.optimization.minimize("network", loss)
        self.optimization.end_step()
        ema.update(self.average, self.network, self.config.ema_decay(step))

    def served(self) -> dict[str, Tensor]:
        """The weights of the average."""
        return dict(self.average.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Network, moments and loss scale as named tensors."""
        return network_tensors(network=self.network) | self.optimization.state()

    def load(self, served: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Restore the outputs of `served` and `state`; strict."""
        self.average.load_state_dict(served)
        load_networks(state, network=self.network)
        self.optimization.load(state)
