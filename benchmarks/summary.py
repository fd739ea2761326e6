"""Percentiles of latencies, medians with their spread. No numpy: the load generator starts with this."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence

RANKS = (50, 90, 95, 99, 100)
SERIES_POINTS = 30


@dataclasses.dataclass(frozen=True)
class Latency:
    """Latencies of some requests in milliseconds; NaN where there were none."""

    count: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure that was measured several times."""

    median: float
    lowest: float
    highest: float
    times: int

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.lowest:.3f} to {self.highest:.3f}, {self.times} times)"


def percentiles_ms(seconds: Iterable[float], ranks: Sequence[float]) -> list[float]:
    """Percentiles in milliseconds, linear between neighbours as numpy's are; NaN where there is nothing to rank."""
    ordered = sorted(seconds)
    if not ordered:
        return [math.nan] * len(ranks)
    found = []
    for rank in ranks:
        place = (len(ordered) - 1) * rank / 100
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        found.append(round((ordered[below] + (ordered[above] - ordered[below]) * (place - below)) * 1e3, 3))
    return found


def latency(seconds: Sequence[float]) -> Latency:
    """The summary of some latencies."""
    return Latency(len(seconds), *percentiles_ms(seconds, RANKS))


def spread(values: Sequence[float]) -> Spread:
    """Median and range. Raises `ValueError` where nothing was measured, or something that is no number."""
    if not values or any(math.isnan(value) for value in values):
        raise ValueError(f"the values are {list(values)}, wanted at least one and only numbers: nothing was measured")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def series(points: Sequence[tuple[float, float]], seconds: float) -> list[tuple[float, float, float]]:
    """(due, took) in seconds -> (second, median ms, worst ms) over equal stretches of time, without empty stretches."""
    bins: dict[int, list[float]] = {}
    width = seconds / SERIES_POINTS
    for due, took in points:
        bins.setdefault(min(int(due / width), SERIES_POINTS - 1), []).append(took)
    line = []
    for number in sorted(bins):
        middle, worst = percentiles_ms(bins[number], (50, 100))
        line.append((round((number + 0.5) * width, 3), middle, worst))
    return line
