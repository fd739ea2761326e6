"""The kind of machine: the class of CPU, and the GPU, that decide which bytes an engine computes."""

from __future__ import annotations

import dataclasses
import functools
import os
import platform
from pathlib import Path
from typing import Literal

from handlers import cgroups
from handlers.runtimes import cuda

# From the most to the least capable: the first whose flags are all present names the class.
_X86_CLASSES = (
    ("amx-int8", {"amx_int8", "avx512f"}),
    ("avx512-vnni", {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"}),
    ("avx512", {"avx512f", "avx512bw", "avx512vl"}),
    ("avx2-vnni", {"avx2", "fma", "avx_vnni"}),
    ("avx2", {"avx2", "fma"}),
)


@dataclasses.dataclass(frozen=True)
class Machine:
    """The kinds of processors that graphs are computed on."""

    cpu: str  # the ISA class, such as `avx512-vnni`; on other machines than x86 the machine's own name
    gpu: str | None = None  # the first GPU's capability, such as `sm89`

    def device_class(self, device: Literal["cpu", "gpu"]) -> str:
        """The class that certificates name for what is computed on a device of that kind."""
        return self.cpu if device == "cpu" else self.gpu or "no-gpu"

    @property
    def classes(self) -> list[str]:
        """The device classes this machine can serve, best first."""
        return [self.cpu] if self.gpu is None else [self.gpu, self.cpu]


@functools.cache
def machine() -> Machine:
    """This machine."""
    capped = _capped_flags(os.environ.get("ONEDNN_MAX_CPU_ISA", ""))
    return Machine(classify(_cpu_flags() - capped, platform.machine()), cuda.compute_capability())


def classify(flags: set[str], machine: str) -> str:
    """The class for a set of CPU flags as Linux names them."""
    for name, needed in _X86_CLASSES:
        if needed <= flags:
            return name
    return "x86-baseline" if machine in ("x86_64", "AMD64") else machine or "unknown"


def thread_count(wanted: int) -> int:
    """How many threads `wanted` means: 0 stands for as many as can compute at once here (`handlers/cgroups.py`)."""
    return wanted or cgroups.threads()


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
