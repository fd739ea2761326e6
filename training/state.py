"""Networks, optimizers and gradient scalers to and from the named tensors of a checkpoint's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from training import checkpoint

Network = TypeVar("Network", bound=nn.Module)


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def network_tensors(**networks: nn.Module) -> dict[str, Tensor]:
    """The state of networks by name, as `NAME.KEY`."""
    return {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state_dict().items()}


def load_networks(state: Mapping[str, Tensor], **networks: nn.Module) -> None:
    """Restore the output of `network_tensors`, out of all the tensors of a checkpoint's state; strict."""
    for name, network in networks.items():
        network.load_state_dict(below(state, f"{name}."))


def optimizer_tensors(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments of every parameter as `optimizer.NAME.INDEX.MOMENT`."""
    return {
        f"optimizer.{name}.{index}.{moment}": tensor
        for index, moments in optimizer.state_dict()["state"].items()
        for moment, tensor in moments.items()
    }


def load_optimizer(name: str, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Restore the output of `optimizer_tensors`, out of all the tensors of a checkpoint's state."""
    moments: dict[int, dict[str, Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, tensor in below(state, f"optimizer.{name}.").items():
        index, _, moment = key.partition(".")
        # The fused kernel walks raw memory: a moment must be laid out like its parameter (a step has no layout).
        laid_out = torch.empty_like(parameters[int(index)]).copy_(tensor) if tensor.dim() else tensor
        moments.setdefault(int(index), {})[moment] = laid_out
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def scaler_tensors(scaler: torch.amp.GradScaler) -> dict[str, Tensor]:
    """The scale and its growth tracker as one tensor `scaler`; nothing for a scaler that is switched off."""
    if not scaler.is_enabled():
        return {}
    scale = scaler.state_dict()
    return {"scaler": torch.tensor([scale["scale"], scale["_growth_tracker"]], dtype=torch.float64)}


def load_scaler(scaler: torch.amp.GradScaler, state: Mapping[str, Tensor]) -> None:
    """Restore the output of `scaler_tensors`; a run that goes on in another number format starts with a fresh scale."""
    if scaler.is_enabled() and "scaler" in state:
        scale, tracker = state["scaler"].tolist()
        scaler.load_state_dict({**scaler.state_dict(), "scale": scale, "_growth_tracker": int(tracker)})


def load_network(
    source: Path | checkpoint.Checkpoint, make: Callable[[dict[str, Any]], Network]
) -> tuple[checkpoint.Meta, Network]:
    """The served network of a checkpoint, made from its model config, in evaluation mode. Raises `CheckpointError`."""
    found = checkpoint.opened(source)
    meta, weights = checkpoint.load_model(found)
    network = make(meta.model)
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise checkpoint.CheckpointError(f"{found.path}: the weights do not fit the model config: {error}") from None
    return meta, network.eval()
