"""Random numbers of torch that follow from a seed and a step alone: a resumed run has those it would have had."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

STRIDE = 1_000_003  # between the seeds of two runs: more than the steps of any


def step_seed(seed: int, step: int) -> int:
    """The seed of one step or epoch of a run of `seed`."""
    return seed * STRIDE + step


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Within it the global random numbers, of the CPU and of `device`, follow from `seed`; afterwards they go on."""
    with torch.random.fork_rng(devices=[device] if device is not None and device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
