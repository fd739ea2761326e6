"""Bundles and archives with other limits, and generators that misbehave on demand, as the benchmarks have them."""

from __future__ import annotations

from benchmarks.sabotage import DIE, RAISE, SLOW, SLOW_SECONDS, STAND_STILL, renamed, rewritten, sabotaged

__all__ = ["DIE", "RAISE", "SLOW", "SLOW_SECONDS", "STAND_STILL", "renamed", "rewritten", "sabotaged"]
