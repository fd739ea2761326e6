"""TorchServe's entry point, the same for every generator: it imports this file by name and calls `handle`."""

from __future__ import annotations

from typing import Any

from handlers import service


def handle(items: Any, context: Any) -> None:
    """Called once with None to load; from then on the service answers in place of TorchServe's own loop."""
    if items is not None:
        raise RuntimeError("TorchServe called the handler itself: the archive must be in its async mode")
    service.load(context)
