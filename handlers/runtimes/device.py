"""What kind of machine this is: the class of CPU that decides which bytes an engine computes."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from handlers.runtimes import cuda

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
    return classify(_cpu_flags() - _capped_flags(os.environ.get("ONEDNN_MAX_CPU_ISA", "")), platform.machine())


def device_classes() -> list[str]:
    """The classes this machine can serve, best first: its GPU's capability, if it has one, then its CPU's."""
    gpu = cuda.compute_capability()
    return [device_class()] if gpu is None else [gpu, device_class()]


def classify(flags: set[str], machine: str) -> str:
    """The class for a set of CPU flags as Linux names them."""
    for name, needed in _X86_CLASSES:
        if needed <= flags:
            return name
    return "x86-baseline" if machine in ("x86_64", "AMD64") else machine or "unknown"


def thread_count(wanted: int) -> int:
    """How many threads `wanted` means: 0 stands for every core this process may use."""
    return wanted or len(os.sched_getaffinity(0))


def engine_fingerprint(runtimes: Iterable[str], threads: int) -> str:
    """Everything that decides the numbers an engine gives: ISA class, threads, runtimes and numpy with their versions.

    Threads count: a runtime divides the work among them, and some of its kernels depend on how.
    """
    parts = [device_class(), f"threads-{threads}"]
    if {"tensorrt", "onnxruntime-cuda"} & set(runtimes):
        parts.append(cuda.compute_capability() or "no-gpu")
    return " ".join([*parts, *(f"{name}-{installed_version(name)}" for name in [*sorted(set(runtimes)), "numpy"])])


def media_fingerprint(runtimes: Iterable[str], threads: int) -> str:
    """The engine's fingerprint and the encoder's: everything that decides the bytes of a file."""
    return f"{engine_fingerprint(runtimes, threads)} pillow-{version('pillow')}"


def installed_version(runtime: str) -> str:
    """Version of a runtime's package, under whichever of its names it was installed."""
    names = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu"), "onnxruntime-cuda": ("onnxruntime-gpu",)}
    for name in names.get(runtime, ("tensorrt", "tensorrt_rtx") if runtime == "tensorrt" else (runtime,)):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "not-installed"


# What oneDNN (the kernels of OpenVINO) leaves unused under each cap of ONEDNN_MAX_CPU_ISA: other kernels, other bytes.
_CAPS = {
    "AVX512_CORE_VNNI": {"amx_int8"},
    "AVX512_CORE": {"amx_int8", "avx512_vnni"},
    "AVX2_VNNI": {"amx_int8", "avx512f"},
    "AVX2": {"amx_int8", "avx512f", "avx_vnni"},
    "AVX": {"amx_int8", "avx512f", "avx_vnni", "avx2"},
    "SSE41": {"amx_int8", "avx512f", "avx_vnni", "avx2"},
}


def _capped_flags(cap: str) -> set[str]:
    return _CAPS.get(cap.upper(), set())


def _cpu_flags() -> set[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.partition(":")[2].split())
    except OSError:  # not Linux: the class falls back to the machine's name
        return set()
    return set()
