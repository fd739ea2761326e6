"""The rows of a report's table of figures."""

from __future__ import annotations

import dataclasses

from handlers.certificate import BatchSpeed, Certificate, Device, JudgedCandidate, Number


@dataclasses.dataclass(frozen=True)
class Row:
    """A candidate at one batch size; one that failed has a single row, without figures."""

    candidate: str
    entry: JudgedCandidate
    figures: BatchSpeed | None

    @property
    def quality(self) -> dict[str, Number]:
        """Its figures of quality, by name."""
        return self.entry.quality or {}


def rows_of(device: Device) -> list[Row]:
    """One row per candidate and batch size."""
    return [Row(name, entry, speed) for name, entry in device.candidates.items() for speed in entry.speed or [None]]


def quality_names(certificate: Certificate) -> list[str]:
    """Every figure of quality that some candidate has, in order."""
    entries = [entry for device in certificate.devices.values() for entry in device.candidates.values()]
    return list(dict.fromkeys(name for entry in entries for name in entry.quality or {}))
