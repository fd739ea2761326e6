"""TorchServe's entry point, the same for every generator: it imports this file by name and calls `handle`."""

from __future__ import annotations

from typing import Any

from handlers.proxy import worker


def handle(items: Any, context: Any) -> None:
    """Called once with None to load; from then on the worker answers in place of TorchServe's own loop."""
    if items is not None:
        raise RuntimeError("TorchServe called the handler itself: the archive must be in its async mode")
    worker.load(context)
