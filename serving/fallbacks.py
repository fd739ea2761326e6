"""Which models run on something else than was chosen for this machine: they answer, and perhaps slowly."""

from __future__ import annotations

from serving.store import Model
from serving.torchserve import TorchServe
from serving.watch import control


def fallbacks(torchserve: TorchServe, models: list[Model]) -> dict[str, str]:
    """By model, why its engine passed a choice over; a model that does not tell is left out."""
    found: dict[str, str] = {}
    for model in models:
        try:
            why = control(torchserve, model.manifest.name, "health").get("passed_over")
        except OSError:
            continue
        if why:
            found[model.manifest.name] = str(why)
    return found
