"""What kind of machine this is: the class of CPU that decides which bytes an engine computes."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# From the most to the least capable: the first whose flags are all present names the class.
_X86_CLASSES = (
    ("amx-int8", {"amx_int8", "avx512f"}),
    ("avx512-vnni", {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"}),
    ("avx512", {"avx512f", "avx512bw", "avx512vl"}),
    ("avx2-vnni", {"avx2", "fma", "avx_vnni"}),
    ("avx2", {"avx2", "fma"}),
)


@functools.cache
def device_class() -> str:
    """The ISA class of this CPU, such as `avx512-vnni`; on other machines than x86 the machine's own name."""
    return classify(_cpu_flags(), platform.machine())


def classify(flags: set[str], machine: str) -> str:
    """The class for a set of CPU flags as Linux names them."""
    for name, needed in _X86_CLASSES:
        if needed <= flags:
            return name
    return "x86-baseline" if machine in ("x86_64", "AMD64") else machine or "unknown"


def engine_fingerprint(runtimes: Iterable[str]) -> str:
    """Everything that decides the numbers an engine gives: ISA class, runtimes and numpy with their versions."""
    names = [*sorted(set(runtimes)), "numpy"]
    return " ".join([device_class(), *(f"{name}-{installed_version(name)}" for name in names)])


def media_fingerprint(runtimes: Iterable[str]) -> str:
    """The engine's fingerprint and the encoder's: everything that decides the bytes of a file."""
    return f"{engine_fingerprint(runtimes)} pillow-{version('pillow')}"


def installed_version(module: str) -> str:
    """Version of a runtime's package; onnxruntime may have come as onnxruntime-gpu."""
    try:
        return version(module)
    except PackageNotFoundError:
        return version(f"{module}-gpu")


def _cpu_flags() -> set[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.partition(":")[2].split())
    except OSError:  # not Linux: the class falls back to the machine's name
        return set()
    return set()
