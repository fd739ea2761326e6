"""Real servers and a wait with a bound, as the benchmarks have them: they need both without the tests."""

from __future__ import annotations

from benchmarks.server import JSON, STOP_SECONDS, Server, eventually, launcher, running

__all__ = ["JSON", "STOP_SECONDS", "Server", "eventually", "launcher", "running"]
