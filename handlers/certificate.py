"""The certificate of a bundle: its figures, and the machines they hold for. The only reader and writer of its file.

The field names are those of the file, in its order. Numbers keep their form: a tolerance of 1 stays 1, not 1.0.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

from handlers import records

FORMAT = "atelier-certificate/1"
Verdict = Literal["reference", "passed", "rejected", "failed"]
SERVED_VERDICTS = ("reference", "passed")
Number = int | float


@dataclasses.dataclass(frozen=True)
class Policy:
    """When a candidate is served: inside the budget, batch-invariant, and this much faster than the reference."""

    min_speedup: Number
    serving_batch: int  # the batch size that speeds are judged at
    budget: dict[str, Number]  # the least a variant must reach, by figure of quality


@dataclasses.dataclass(frozen=True)
class Difference:
    """Absolute differences between one tensor of the FP32 file and PyTorch's; true when they are tolerated."""

    tensor: str
    max_abs: Number
    mean_abs: Number
    tolerance: Number
    values: int  # that were compared

    def __bool__(self) -> bool:
        return self.values > 0 and self.max_abs <= self.tolerance  # NaN compares false


@dataclasses.dataclass(frozen=True)
class Parity:
    """The FP32 files compared with PyTorch over so many rows, by runtime."""

    rows: int
    runtimes: dict[str, tuple[Difference, ...]]


@dataclasses.dataclass(frozen=True)
class VariantFile:
    """The file of one role in one form: its size, also as a part of FP32's, and how it came about."""

    bytes: int
    size_ratio: Number
    how: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class FailedVariant:
    """A form that could not be made, with the reason."""

    failed: str


@dataclasses.dataclass(frozen=True)
class EngineEntry:
    """A TensorRT engine: its size, and the module and version it requires."""

    bytes: int
    module: str
    version: str


@dataclasses.dataclass(frozen=True)
class BatchSpeed:
    """Times of one candidate at one batch size; `speedup` is the reference's median time over its own.

    `spread` is where that ratio lay in the middle of so many pairs of blocks; older certificates have neither.
    """

    batch: int
    p50_ms: Number
    p95_ms: Number
    items_per_s: Number
    runs: int
    speedup: Number
    blocks: int = 0
    spread: tuple[Number, ...] = ()


@dataclasses.dataclass(frozen=True)
class JudgedCandidate:
    """A variant in a runtime on one device class; of one that failed, the verdict and its reason alone."""

    verdict: Verdict
    reason: str
    quality: dict[str, Number] | None
    batch_invariant: bool | None
    load_ms: Number | None
    peak_memory_mb: Number | None
    speed: tuple[BatchSpeed, ...]

    def at(self, batch: int) -> BatchSpeed:
        """The times at a batch size that was measured."""
        return next(speed for speed in self.speed if speed.batch == batch)


@dataclasses.dataclass(frozen=True)
class Device:
    """All candidates judged on one device class, the reference first."""

    environment: dict[str, Any]  # the machine and the versions that the figures hold for
    quick: bool  # whether timing was short, and the figures are noisier
    date: str
    candidates: dict[str, JudgedCandidate]
    eager: tuple[BatchSpeed, ...] = ()  # PyTorch eager beside the reference; none in older certificates
    final: str = ""  # how the fastest candidates came out side by side, where there were several


@dataclasses.dataclass(frozen=True)
class Golden:
    """Requests, and the sha256 of what was computed for each, by engine fingerprint and set of candidates."""

    items: tuple[dict[str, Any], ...]
    sha256: dict[str, dict[str, tuple[str, ...]]]

    def recorded(self, fingerprint: str, option: Mapping[str, str]) -> tuple[str, ...] | None:
        """The hashes of the candidates `option` (by role) on an engine, one for each item; None if it has no record."""
        return self.sha256.get(fingerprint, {}).get(golden_key(option))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """The contents of certificate.json."""

    format: str = FORMAT
    name: str
    step: int
    metrics: dict[str, Number]  # of the training, at that step
    date: str
    policy: Policy
    parity: Parity
    variants: dict[str, FailedVariant | dict[str, VariantFile]]  # variant -> role -> file
    engines: dict[str, str | dict[str, EngineEntry]]  # variant-capability -> role -> engine, or why there is none
    devices: dict[str, Device]  # by device class
    golden: Golden

    def document(self) -> dict[str, Any]:
        """As JSON values, in the order of the file."""
        return dataclasses.asdict(self)

    def encode(self) -> bytes:
        """The bytes of certificate.json."""
        return (json.dumps(self.document(), indent=1) + "\n").encode()


def decode(data: bytes, where: str) -> Certificate:
    """The certificate from the bytes of the file `where`. Raises `RecordError`, which names the place."""
    raw = records.parse(data, where, FORMAT)
    try:
        return records.read(Certificate, raw, where)
    except records.RecordError as error:
        raise records.RecordError(f"{error}; build the bundle again") from None


def golden_key(option: Mapping[str, str]) -> str:
    """The name under which the golden hashes of a set of candidates (by role) are kept."""
    return "+".join(sorted(option.values()))
