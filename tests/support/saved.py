"""Tensors that a run saved, for comparing two runs."""

from __future__ import annotations

import torch

from training import checkpoint


def tensors(name: str = "m") -> dict[str, torch.Tensor]:
    """The served weights and the state of the checkpoint called `name`."""
    path = checkpoint.directory(name)
    average = {f"average.{k}": v for k, v in checkpoint.load_model(path)[1].items()}
    return average | checkpoint.load_state(path)[1]


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    assert len(a) > 20
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name
