"""Which models run on something else than was chosen for this machine: they answer, and perhaps slowly."""

from __future__ import annotations

from serving.store import Model
from serving.torchserve import TorchServe
from serving.watch import control

PASSED_OVER = "passed over "  # with this begins what handlers/engine/choice.py says of a choice that it does not serve


def fallbacks(torchserve: TorchServe, models: list[Model]) -> dict[str, str]:
    """By model, why its engine passed a choice over; a model that does not tell is left out."""
    found: dict[str, str] = {}
    for model in models:
        try:
            health = control(torchserve, model.manifest.name, "health")
        except OSError:
            continue
        _, passed_over, why = str(health.get("reason")).partition(PASSED_OVER)
        if health.get("engine") == "ready" and passed_over:
            found[model.manifest.name] = passed_over + why
    return found
