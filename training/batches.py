"""The items of a batch: they follow from the seed and the step alone, so a resumed run learns from the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.draws import Draws
from training.seeding import step_seed

GROUPS = 24  # of items of like length, one of which a batch is drawn from


def epochs(count: int, batch_size: int, seed: int, step: int) -> Iterator[Tensor]:
    """Indices (batch_size,) of the batches after `step` of them: each epoch is one permutation of `count` items."""
    per_epoch = count // batch_size
    while True:
        epoch, batch = divmod(step, per_epoch)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(step_seed(seed, epoch)))
        for at in range(batch, per_epoch):
            yield order[at * batch_size : (at + 1) * batch_size]
            step += 1


def drawn(count: int, batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Indices (batch_size,) of `count` items for one step, with repetition."""
    return Draws(seed, step).indices(count, batch_size)


def by_length(lengths: Sequence[int]) -> list[NDArray[np.int64]]:
    """Indices of items in groups of like length: a batch out of one group has little padding."""
    return [group for group in np.array_split(np.argsort(lengths, kind="stable"), GROUPS) if len(group)]


def of_like_length(groups: Sequence[NDArray[np.int64]], batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Indices (batch_size,) of items for one step, with repetition, all of one group."""
    draws = Draws(seed, step)
    group = draws.pick(groups)
    return group[draws.indices(len(group), batch_size)]
