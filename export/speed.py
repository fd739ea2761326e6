"""Speeds side by side, in a bounded time: pairs of blocks, more of them where a verdict lies within their noise.

Measured one after the other, candidates meet different noise. So a candidate is timed in pairs of neighbouring blocks
with the reference, and the fastest ones in rounds of blocks among each other. A ratio has a spread over its blocks
(`Spread`): what lies within it is measured again, up to `Effort.most_blocks`, and is undecided after that.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np

from export.measure import Contestant, Inputs
from handlers.certificate import BatchSpeed

PAUSE_SECONDS = 0.02  # lets the last runtime's threads stop spinning before the next block
HOPELESS = 0.8  # of the wanted speed: whose best block of three is below it is not looked at further
HOPELESS_BLOCKS = 3
MIN_BLOCKS = 2  # however short the time


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to look at a candidate; see `compare_speed`."""

    blocks: int = 5  # pairs for each batch size
    block_seconds: float = 0.25
    most_blocks: int = 15  # pairs where the wanted speed lies within the spread of fewer
    seconds: float = 40.0  # after which no pair begins, but for the first ones at the batch size that decides
    search_seconds: float = 120.0  # for choosing the calibration of one graph in one form, and nodes that stay FP32


QUICK = Effort(3, 0.06, 9, 8.0, 20.0)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The speed that a candidate has to reach, in times the reference's, and the batch size that decides."""

    batch: int
    speedup: float


@dataclasses.dataclass(frozen=True)
class Measured:
    """Speeds and costs of one candidate."""

    speeds: tuple[BatchSpeed, ...]
    load_ms: float
    peak_memory_mb: float

    def at(self, batch: int) -> BatchSpeed:
        """Its figures at a batch size that was measured."""
        return next(speed for speed in self.speeds if speed.batch == batch)

    def speedup(self, batch: int) -> float:
        """Times faster than the reference at a batch size that was measured."""
        return self.at(batch).speedup


def spread(ratios: Sequence[float]) -> tuple[float, float]:
    """Where the median lies for all we know: without the lowest and highest fifth of the blocks."""
    ordered = sorted(ratios)
    cut = len(ordered) // 5
    return ordered[cut], ordered[-1 - cut]


def clear(ratios: Sequence[float], bound: float) -> bool:
    """Whether a bound is so far outside the spread (by its width) that more blocks would change nothing."""
    low, high = spread(ratios)
    margin = high - low
    return bound <= low - margin or high + margin < bound


def hopeless(ratios: Sequence[float], wanted: float) -> bool:
    """Whether even the best block is clearly behind."""
    return len(ratios) >= HOPELESS_BLOCKS and max(ratios) < HOPELESS * wanted


def compare_speed(
    candidate: Contestant,
    reference: Contestant,
    inputs: Mapping[int, Inputs],
    effort: Effort,
    wanted: Wanted | None = None,
) -> Measured:
    """Time `candidate` against `reference` for the batch sizes in `inputs` (batch size -> arrays).

    With a `wanted` speed its batch size comes first; the others are left out of a candidate that is hopeless there, and
    when the time of `effort` is up.
    """
    stop = time.monotonic() + effort.seconds
    speeds: dict[int, BatchSpeed] = {}
    first = wanted.batch if wanted else None
    for batch in sorted(inputs, key=lambda batch: batch != first):
        if speeds and wanted and time.monotonic() >= stop:
            break
        bound = wanted.speedup if wanted and batch == first else None
        times, ratios = _pairs(candidate, reference, inputs[batch], effort, bound, stop)
        speeds[batch] = _figures(batch, times, ratios)
        if bound is not None and hopeless(ratios, bound):
            break
    return Measured(tuple(speeds[batch] for batch in inputs if batch in speeds), *candidate.costs())


def glance(candidate: Contestant, reference: Contestant, arrays: Inputs, effort: Effort) -> float:
    """Times the reference's speed in one pair of blocks: noisy, good for an order."""
    for contestant in (reference, candidate):
        contestant.run(arrays, 0.0)  # warm-up at this shape
    return _pair(candidate, reference, arrays, effort)[1]


def _pair(candidate: Contestant, reference: Contestant, arrays: Inputs, effort: Effort) -> tuple[list[float], float]:
    """The candidate's seconds of each run in a block, and the reference's median time over its own."""
    medians = []
    for contestant in (reference, candidate):
        time.sleep(PAUSE_SECONDS)
        block = contestant.run(arrays, effort.block_seconds)
        medians.append(float(np.median(block)))
    return block, medians[0] / medians[1]  # the candidate's block, which came second


def _pairs(
    candidate: Contestant, reference: Contestant, arrays: Inputs, effort: Effort, bound: float | None, stop: float
) -> tuple[list[float], list[float]]:
    """The candidate's seconds of each run, and by pair of blocks the reference's median time over its own."""
    for contestant in (reference, candidate):
        contestant.run(arrays, 0.0)  # warm-up at this shape
    times: list[float] = []
    ratios: list[float] = []
    while len(ratios) < effort.most_blocks:
        if len(ratios) >= MIN_BLOCKS and time.monotonic() >= stop:
            break
        if bound is not None and hopeless(ratios, bound):
            break
        if len(ratios) >= effort.blocks and (bound is None or clear(ratios, bound)):
            break
        block, ratio = _pair(candidate, reference, arrays, effort)
        times += block
        ratios.append(ratio)
    return times, ratios


def _figures(batch: int, times: Sequence[float], ratios: Sequence[float]) -> BatchSpeed:
    p50, p95 = np.percentile(times, [50, 95]) * 1e3
    low, high = spread(ratios)
    return BatchSpeed(
        batch=batch,
        p50_ms=round(p50, 4),
        p95_ms=round(p95, 4),
        items_per_s=round(batch / p50 * 1e3, 1),
        runs=len(times),
        speedup=round(float(np.median(ratios)), 3),
        blocks=len(ratios),
        spread=(round(low, 3), round(high, 3)),
    )
