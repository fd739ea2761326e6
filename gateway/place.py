"""Where upstream is: said by the settings, or by the state file that its launcher writes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from gateway.settings import Settings

STATE = "state.json"


@dataclasses.dataclass(frozen=True)
class Place:
    """An address to ask ("unix:/path"), the names of the models there, and where the launcher tells how it is."""

    inference: str
    models: tuple[str, ...]
    status: str | None = None


def find(settings: Settings) -> Place | None:
    """The present place, or None where nothing is served (yet, or for the moment). It reads a small file."""
    if settings.upstream is not None:
        return Place(settings.upstream, settings.models)
    return _read(settings.run_dir / STATE)


def _read(path: Path) -> Place | None:
    try:
        state = json.loads(path.read_text())
        inference, models = state["inference"], state["models"]
        if not isinstance(inference, str) or not inference.startswith("unix:"):
            return None
        status = state.get("status")
        return Place(inference, tuple(str(name) for name in models), status if isinstance(status, str) else None)
    except (OSError, ValueError, KeyError, TypeError):
        return None
