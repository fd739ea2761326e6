"""The machine and the library versions that measured figures hold for."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from handlers import cgroups
from handlers.runtimes.device import Machine, machine
from handlers.runtimes.registry import RUNTIMES
from handlers.runtimes.runtime import NOT_INSTALLED, package_version

PACKAGES = ("torch", "onnx", "onnxscript", "numpy", "pillow")  # beside the runtimes


def environment(here: Machine | None = None) -> dict[str, Any]:
    """Device class, CPU, cores and limits, Python, system and the versions of the packages that are installed."""
    return {
        "device_class": (here or machine()).cpu,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": cgroups.threads(),
        "limits": cgroups.limits(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The version of every package that figures depend on, of those that are installed."""
    found = {package: package_version(package) for package in PACKAGES}
    found |= {runtime.module() or "": runtime.version() for runtime in RUNTIMES if runtime.installed}
    return {package: version for package, version in found.items() if version != NOT_INSTALLED}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
