"""The rows of a report's table of figures."""

from __future__ import annotations

import dataclasses

from export.eager import NAME
from handlers.certificate import BatchSpeed, Certificate, Device, JudgedCandidate, Number

OTHERWISE = "what a person would run without a build"


@dataclasses.dataclass(frozen=True)
class Row:
    """A candidate at one batch size, or PyTorch eager, which has no entry; what failed has no figures."""

    candidate: str
    entry: JudgedCandidate | None
    figures: BatchSpeed | None
    of_eager: float | None = None  # times as fast as PyTorch eager at this batch size, where both were measured

    @property
    def quality(self) -> dict[str, Number]:
        """Its figures of quality, by name."""
        return self.entry.quality or {} if self.entry else {}

    @property
    def verdict(self) -> str:
        """The verdict and its reason; of PyTorch eager, what it is."""
        return f"{self.entry.verdict}: {self.entry.reason}" if self.entry else OTHERWISE


def rows_of(device: Device) -> list[Row]:
    """PyTorch eager, then the candidates: one row per batch size."""
    eager = {speed.batch: speed.speedup for speed in device.eager}
    rows = [Row(NAME, None, speed, 1.0) for speed in device.eager]
    for name, entry in device.candidates.items():
        for speed in entry.speed or [None]:
            known = speed is not None and speed.batch in eager
            rows.append(Row(name, entry, speed, speed.speedup / eager[speed.batch] if known and speed else None))
    return rows


def quality_names(certificate: Certificate) -> list[str]:
    """Every figure of quality that some candidate has, in order."""
    entries = [entry for device in certificate.devices.values() for entry in device.candidates.values()]
    return list(dict.fromkeys(name for entry in entries for name in entry.quality or {}))
