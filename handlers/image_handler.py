"""TorchServe's entry point for image generators in the batch lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handlers.service import BatchService

_services: list[BatchService] = []


def handle(items: Sequence[Mapping[str, Any]] | None, context: Any) -> list[bytes] | None:
    """Called once with None to load, then with a batch. TorchServe wants exactly this name and no class here."""
    if items is None:
        _services.append(BatchService.from_context(context))
        return None
    return _services[0].handle(items, context)
