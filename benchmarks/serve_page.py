"""The page of the serve benchmark: throughputs, latency against load, what each server takes, spreads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.blocks import CLIENTS
from benchmarks.overload import Point
from benchmarks.result import MAX_BEHIND_MS
from benchmarks.summary import spread

CLOSED = (
    f"{CLIENTS} clients, each with its next request after its last answer; one image a request, each with a seed of "
    "its own."
)
OPEN = (
    "Requests are due at random times (Poisson); latency counts from when one was due, of those answered with 200. "
    f"Where the load generator was more than {MAX_BEHIND_MS:g} ms behind at p99, the block is not valid and not shown."
)


def write(figures: Mapping[str, Any], throughputs: Mapping[str, float], curves: Mapping[str, Sequence[Point]]) -> Path:
    """Write it; returns its path."""
    beside: list[Sequence[Any]] = [("server", "images a second", "processors while idle", "memory MB")]
    beside += [(name, of["images_per_s"], of["idle_cores"], of["memory_mb"]) for name, of in figures["servers"].items()]
    return page.write(
        "serve",
        figures,
        [
            page.Section("Throughput", CLOSED, page.bars(throughputs, "images a second")),
            page.Section("What each takes", "After its warm-up. Memory is that of all its processes.", rows=beside),
            page.Section("Median latency against load", OPEN, _picture(curves, "p50_ms", "p50")),
            page.Section(
                "99th percentile of latency against load",
                OPEN,
                _picture(curves, "p99_ms", "p99"),
                rows=point_rows(curves),
            ),
            page.Section("Spread", "A ratio is that of two neighbouring blocks of load.", rows=_spreads(figures)),
        ],
    )


def _picture(curves: Mapping[str, Sequence[Point]], field: str, rank: str) -> str:
    lines = {name: [(at.offered_per_s, getattr(at, field)) for at in points] for name, points in curves.items()}
    return page.curves(lines, "requests offered a second", f"{rank} in milliseconds", log=True)


def point_rows(curves: Mapping[str, Sequence[Point]]) -> list[Sequence[Any]]:
    """Rows of a table of latency curves, the first one its headings."""
    head = ("server", "offered a second", "p50 ms", "p99 ms", "answered with 200", "generator behind, p99 ms")
    rows: list[Sequence[Any]] = [head]
    for name, points in curves.items():
        for at in points:
            if at.behind_p99_ms > MAX_BEHIND_MS:
                rows.append((name, at.offered_per_s, *["not valid"] * 3, at.behind_p99_ms))
            else:
                rows.append((name, at.offered_per_s, at.p50_ms, at.p99_ms, f"{at.served:.2%}", at.behind_p99_ms))
    return rows


def _spreads(figures: Mapping[str, Any]) -> list[Sequence[Any]]:
    rows: list[Sequence[Any]] = [("figure", "median", "lowest", "highest", "times")]
    for name, values in figures["spreads"].items():
        of = spread(values)
        rows.append((name, f"{of.median:.3f}", f"{of.lowest:.3f}", f"{of.highest:.3f}", of.times))
    return rows
