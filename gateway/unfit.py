"""Settings that name what is not there: they are no mistake of a start, because models come and go, but told."""

from __future__ import annotations

import structlog

from gateway.models import Models
from gateway.settings import Settings

log = structlog.get_logger("gateway.settings")


class Unfit:
    """What the settings say of models that are not served; `tell` says it in the log whenever that changes."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self._settings, self._models = settings, models
        self._told: list[str] = []

    def found(self) -> list[str]:
        """A sentence for each; none while nothing is served, or not all of it is known yet."""
        served = self._models.names
        described = self._models.known()
        if not served or len(described) + len(self._models.problems) < len(served):
            return []
        there = f"there is {', '.join(sorted(served))}"
        lines = [
            f"setting aliases: {alias} stands for {of}, which is not served; {there}"
            for alias, of in self._models.aliases.items()
            if of not in served
        ]
        system = [name for name in self._settings.system if name not in served]
        lines += [f"setting system: {name} is not served; {there}" for name in system]
        sounds = [model for model in described if model.medium == "audio"]
        for voice, params in self._settings.voices.items():
            if sounds and not any(all(model.has(name) for name in params) for model in sounds):
                wanted = ", ".join(params)
                lines.append(f"setting voices: {voice} is {wanted}, which no model of sound takes; it is never offered")
        return lines

    def tell(self) -> None:
        """Log what is new since the last time."""
        now = self.found()
        for line in now:
            if line not in self._told:
                log.warning("a setting fits nothing", reason=line)
        self._told = now
