"""Open loops: three times the requests that can be served, and latency against load.

A block whose load generator was itself late (`Result.late`) is in no rate or latency; it is counted and named in the
output, and its errors count.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from benchmarks.blocks import Bench
from benchmarks.peers.process import Peer
from benchmarks.result import Result

CONNECTIONS = 512  # of an open loop: more than ours lets wait, so that it has to refuse
OVERLOAD = 3
ENGINE_NICE = -15  # of the engine that is compared with one of default priority


@dataclasses.dataclass(frozen=True)
class Point:
    """One open-loop block of a latency curve; NaN: nothing was answered with 200, or the generator was late."""

    offered_per_s: float
    p50_ms: float
    p99_ms: float
    served: float  # share of the requests that were answered with 200
    behind_p99_ms: float  # of the load generator

    @classmethod
    def of(cls, rate: float, result: Result) -> Point:
        """The point that a block gives."""
        served = result.counts.get("200", 0) / max(1, sum(result.counts.values()))
        figures = (math.nan,) * 3 if result.late else (result.p50_ms, result.p99_ms, round(served, 4))
        return cls(round(rate, 1), *figures, result.behind_p99_ms)


def overload(bench: Bench, ours: Peer, prioritized: Peer | None) -> dict[str, Any]:
    """Share of the capacity that is served at three times it, and how fast the rest is refused.

    `prioritized` is the same server with its engine at ENGINE_NICE, loaded in neighbouring blocks; the figures without
    a suffix are those of the default.
    """
    suffix = f"_nice_{ENGINE_NICE}"
    default, raised, ratios = list[tuple[float, Result]](), list[tuple[float, Result]](), list[float]()
    for _ in range(bench.pairs):
        default.append(_block(bench, ours))
        if prioritized is not None:
            raised.append(_block(bench, prioritized))
            ratios.append(raised[-1][0] / default[-1][0])
    figures = _figures(bench, default, "")
    if prioritized is not None:
        figures |= _figures(bench, raised, suffix)
        figures[f"throughput{suffix}_over_default"] = bench.note(f"throughput{suffix}_over_default", ratios, 3)
    return figures


def _block(bench: Bench, peer: Peer) -> tuple[float, Result]:
    capacity = bench.throughput(peer)
    return capacity, bench.load(peer, CONNECTIONS, rate=OVERLOAD * capacity)


def _figures(bench: Bench, blocks: Sequence[tuple[float, Result]], suffix: str) -> dict[str, Any]:
    valid = [(capacity, result) for capacity, result in blocks if not result.late]
    shares = [result.good_per_s / capacity for capacity, result in valid]
    refused = [result.refused_p99_ms for _, result in valid if result.counts.get("503")]
    behind = [result.behind_p99_ms for _, result in blocks]

    def note(name: str, values: Sequence[float], digits: int) -> float | None:
        return bench.note(f"{name}{suffix}", values, digits) if values else None

    return {
        f"overload_goodput{suffix}": note("overload_goodput", shares, 3),
        f"overload_503_p99_ms{suffix}": note("overload_503_p99_ms", refused, 1),
        f"overload_errors{suffix}": sum(result.counts.get("error", 0) for _, result in blocks),
        f"overload_unsent{suffix}": sum(result.counts.get("unsent", 0) for _, result in blocks),
        f"overload_behind_p99_ms{suffix}": note("overload_behind_p99_ms", behind, 1),
        f"overload_late_blocks{suffix}": len(blocks) - len(valid),
    }


def latency_curve(bench: Bench, peer: Peer, quick: bool) -> list[Point]:
    """Latency of an open loop from a tenth of the peer's own capacity to just over it."""
    points = []
    capacity = bench.throughputs()[peer.name]
    for share in (0.3, 0.6, 0.9) if quick else (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.05):
        points.append(Point.of(share * capacity, bench.load(peer, CONNECTIONS, bench.short, rate=share * capacity)))
    return points
