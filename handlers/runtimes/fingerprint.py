"""Everything that decides the numbers an engine gives, in one line: equal lines, equal bytes."""

from __future__ import annotations

from collections.abc import Iterable

from handlers.runtimes.device import Machine
from handlers.runtimes.registry import find
from handlers.runtimes.runtime import package_version


def engine_fingerprint(here: Machine, runtimes: Iterable[str], threads: int) -> str:
    """ISA class, threads, GPU where one computes, runtimes and numpy with their versions.

    Threads count: a runtime divides the work among them, and some of its kernels depend on how.
    """
    used = [find(name) for name in sorted(set(runtimes))]
    parts = [here.cpu, f"threads-{threads}"]
    if any(runtime.device == "gpu" for runtime in used):
        parts.append(here.gpu or "no-gpu")
    return " ".join([*parts, *(f"{r.name}-{r.version()}" for r in used), f"numpy-{package_version('numpy')}"])


def media_fingerprint(here: Machine, runtimes: Iterable[str], threads: int) -> str:
    """The engine's fingerprint and the encoder's: everything that decides the bytes of a file."""
    return f"{engine_fingerprint(here, runtimes, threads)} pillow-{package_version('pillow')}"
